"""The table of this study: `leanclips new data/ucf8 --clips UCF-101` calls `table`."""

import re
from dataclasses import replace
from pathlib import Path

from leanclips.clips import Clip, scan_folders
from leanclips.errors import StudyError
from leanclips.study import Study

CLASSES = ("Basketball", "Biking", "Diving", "JumpRope", "SkyDiving", "Surfing", "Swing",
           "WalkingWithDog")
NAME = re.compile(r"v_\w+_(?P<group>g\d+)_c\d+")


def table(root: Path, study: Study) -> list[Clip]:
    """The clips of the eight classes below `root`, UCF-101 in its official layout.

    A recording is `_gNN_` of a file's name, within its class. StudyError where a class is missing
    or a name is not official.
    """
    clips = [clip for clip in scan_folders(root, None) if clip.label in CLASSES]
    if missing := set(CLASSES) - {clip.label for clip in clips}:
        raise StudyError(f"has no clips of the class {min(missing)}", root,
                         "name the folder UCF-101, unpacked from UCF101.rar")
    recorded = []
    for clip in clips:
        stem = Path(clip.file).stem
        if (match := NAME.fullmatch(stem)) is None:
            raise StudyError("the name is not v_<Class>_g<recording>_c<clip>", clip.file,
                             "use the official file names")
        recorded.append(replace(clip, id=stem, group=f"{clip.label}/{match['group']}"))
    return recorded
