"""Leaks: clips of one recording on both sides of a split, which flatter a validation accuracy."""

from collections.abc import Collection, Sequence

from leanclips.clips import Clip, pretraining_clips
from leanclips.splits import pretraining_split
from leanclips.study import Study

LEAKS = ("The split of the pretraining leaks recordings: it is validated on other clips of "
         "recordings that it is trained on, so that validation accuracy is too high. Held-out "
         "clips are not touched by this.")


def leaks_recordings(clips: Sequence[Clip], aside: Collection[str]) -> bool:
    """Whether a recording has clips among those set aside (ids) and among the others."""
    inside = {clip.group for clip in clips if clip.id in aside}
    return any(clip.group in inside for clip in clips if clip.id not in aside)


def pretraining_leaks(clips: Sequence[Clip], study: Study) -> bool:
    """Whether the study's pretraining does; False where it has none.

    Its split says so, not its name: `official` leaks where the fold column mixes recordings.
    """
    chosen = pretraining_clips(clips)
    return bool(chosen) and leaks_recordings(chosen, pretraining_split(chosen, study.pretraining))
