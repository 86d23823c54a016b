"""A Matroska file that was cut is not taken for a shorter clip."""

import pytest

from leanclips.compression.content import examine
from leanclips.compression.matroska import ends_early
from leanclips.compression.optimize import optimize
from leanclips.compression.probe import probe
from leanclips.compression.quality import Goal
from leanclips.errors import ClipError


@pytest.fixture(params=[".mkv", ".webm"])
def whole(request, tmp_path, ffmpeg):
    path = tmp_path / f"whole{request.param}"
    codec = ["libx264", "-g", 10] if request.param == ".mkv" else ["libvpx", "-g", 10]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48,noise=alls=8", "-frames:v", 60, "-pix_fmt",
           "yuv420p", "-c:v", *codec, path)
    return path


def test_a_whole_file_does_not_end_early(whole, make_clip, tmp_path):
    assert not ends_early(whole) and not examine(whole).damaged
    for kind, name in (("h264", "a.mp4"), ("text", "b.mkv"), ("empty", "c.mkv")):
        assert not ends_early(make_clip(tmp_path / name, kind))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_is_told_wherever_the_cut_is(whole, share):
    cut = whole.with_stem("cut")
    cut.write_bytes(whole.read_bytes()[:int(whole.stat().st_size * share)])
    assert ends_early(cut)
    for read in (probe, lambda path: optimize(path, Goal(60), path.with_name("out.mkv"))):
        with pytest.raises(ClipError, match="cut short or damaged"):
            read(cut)


def test_a_live_recording_states_no_size(whole, ffmpeg):
    live = whole.with_stem("live")
    ffmpeg("-i", whole, "-c", "copy", "-live", 1, live)
    assert not ends_early(live) and probe(live, whole=True).frames == 60
