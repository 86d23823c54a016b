"""The table of this study: `leanclips new data/jhmdb21 --clips CLIPS` calls `table`."""

from dataclasses import replace
from pathlib import Path

from leanclips.clips import Clip, scan_folders
from leanclips.errors import StudyError
from leanclips.study import Study


def table(root: Path, study: Study) -> list[Clip]:
    """All clips below `root`, which holds J-HMDB's class folders.

    The recording is the part of a file's name before the last `_<class>_`, whatever the class: a
    feature film may hold clips of several.
    """
    clips = []
    for clip in scan_folders(root, None):
        recording, _, rest = Path(clip.file).stem.rpartition(f"_{clip.label}_")
        if not (recording and rest):
            raise StudyError("the name is not <recording>_<class>_<what>", clip.file,
                             "use J-HMDB's file names")
        clips.append(replace(clip, group=recording))
    return clips
