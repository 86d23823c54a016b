"""What a clip tells before any encode: quantizers, scene cuts, times, damage."""

import pytest

from leanclips.compression.content import examine
from leanclips.compression.probe import timestamps
from leanclips.errors import ClipError


@pytest.mark.parametrize("crf", [20, 30, 40])
def test_the_quantizer_of_h264_is_read_from_its_bitstream(tmp_path, ffmpeg, crf):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 10, "-c:v",
           "libx264", "-qp", crf, "-x264-params", "ipratio=1:pbratio=1:bframes=0", "-pix_fmt",
           "yuv420p", tmp_path / "clip.mp4")
    assert examine(tmp_path / "clip.mp4").qp == pytest.approx(crf, abs=0.5)


def test_that_of_mpeg4_is_put_on_the_same_scale(tmp_path, ffmpeg):
    found = []
    for quantizer in (2, 4, 8):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96,noise=alls=8", "-frames:v", 10, "-c:v",
               "mpeg4", "-q:v", quantizer, tmp_path / "clip.avi")
        found.append(examine(tmp_path / "clip.avi").qp)
    assert found == pytest.approx([16, 22, 28], abs=0.5)  # 4 + 6 log2(2 q)


def test_a_decoder_that_tells_no_quantizer_leaves_it_open(tmp_path, ffmpeg):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", 5, "-c:v", "ffv1",
           tmp_path / "clip.mkv")
    assert examine(tmp_path / "clip.mkv").qp is None


def test_scene_cuts_are_found_where_they_are(tmp_path, ffmpeg):
    parts = []
    for n, source in enumerate(("testsrc2", "mandelbrot", "smptebars")):
        ffmpeg("-f", "lavfi", "-i", f"{source}=s=128x96:r=25", "-frames:v", 20, "-c:v", "ffv1",
               "-pix_fmt", "yuv420p", tmp_path / f"{n}.mkv")
        parts.append(f"file '{n}.mkv'\n")
    (tmp_path / "list").write_text("".join(parts))
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c:v", "libx264", tmp_path / "clip.mp4")
    assert examine(tmp_path / "clip.mp4").cuts == (20, 40)


@pytest.mark.parametrize("kind, suffix", [("h264", "mp4"), ("vfr", "mp4"), ("mpeg4", "avi")])
def test_times_and_bits_are_those_of_the_file(tmp_path, make_clip, kind, suffix):
    clip = make_clip(tmp_path / f"clip.{suffix}", kind, frames=20, size=(128, 96))
    found = examine(clip)
    assert found.times == pytest.approx(timestamps(clip), abs=1e-6)
    assert not found.damaged and not found.interlaced and not found.cuts
    assert 0.5 * clip.stat().st_size < found.bits * 20 * 128 * 96 / 8 <= clip.stat().st_size


def test_damage_in_the_middle_shows(tmp_path, make_clip):
    with pytest.raises(ClipError, match="cannot be read"):
        assert not examine(make_clip(tmp_path / "clip.mp4", "flipped")).damaged


def test_what_is_no_video_is_told(tmp_path, make_clip):
    with pytest.raises(ClipError, match="text.mp4: the clip cannot be read"):
        examine(make_clip(tmp_path / "text.mp4", "text"))
