"""What else is in a file comes along when it is encoded, or the original is kept and says why."""

import os
import re
import stat

import av
import pytest

from leanclips.compression.contract import broken, unsupported
from leanclips.compression.ffmpeg import CODECS, Encoding, encode
from leanclips.compression.inspect import inspect
from leanclips.compression.optimize import Reason, constant, optimize
from leanclips.compression.quality import Goal

DELIVERED = (Reason.OPTIMIZED, Reason.ABOVE)
PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=1,noise=alls=8"]
SOUND = ["-f", "lavfi", "-i", "sine=d=1:r=48000"]
H264 = ["-c:v", "libx264", "-crf", 5, "-pix_fmt", "yuv420p"]


def encoded(clip, suffix=None, codec="h264"):
    """Inspections of the clip and of its encode, which keeps the contract."""
    was, made = inspect(clip), clip.with_name(f"made{suffix or clip.suffix}")
    assert unsupported(was, codec, made.suffix) is None
    encode(clip, made, Encoding(codec), was.fps, (30,), was=was)
    now = inspect(made)
    assert broken(was, now, codec) == []
    return was, now


def kept(outcome, source, reason, detail):
    return ((outcome.reason, outcome.detail) == (reason, detail)
            and outcome.path.read_bytes() == source.read_bytes())


@pytest.fixture
def clip(tmp_path, ffmpeg):
    """A clip of a second with sound that came first."""
    ffmpeg(*PICTURES, *SOUND, "-map", 1, "-map", 0, *H264, tmp_path / "clip.mp4")
    return tmp_path / "clip.mp4"


# Times.

@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("sound", [True, False])
def test_the_first_frame_keeps_its_time(tmp_path, clip, ffmpeg, suffix, sound):
    late = tmp_path / f"late{suffix}"
    ffmpeg("-itsoffset", 0.5, "-i", clip, "-i", clip, "-map", "0:v", *(["-map", "1:a"] * sound),
           "-c", "copy", late)
    was, now = encoded(late)
    assert now.start == pytest.approx(was.start, abs=1e-3) == pytest.approx(0.5, abs=1e-3)
    ffmpeg("-i", clip, *(["-map", "0:v"] if not sound else []), "-c", "copy",
           tmp_path / f"early{suffix}")
    assert "first timestamp" in broken(was, inspect(tmp_path / f"early{suffix}"), "h264")


def test_a_clock_that_begins_anywhere_is_set_to_zero(tmp_path, clip, ffmpeg):
    ffmpeg("-i", clip, "-c", "copy", tmp_path / "clip.ts")
    was, now = encoded(tmp_path / "clip.ts", ".mp4")
    assert was.start > 1 and now.start < 0.1


@pytest.fixture
def gap(tmp_path, ffmpeg):
    """`gap(n)`: a clip with a gap of three seconds before frame n."""
    def make(n):
        ffmpeg(*PICTURES, "-vf", f"setpts='PTS+3/TB*gte(N,{n})'", "-fps_mode", "passthrough",
               "-enc_time_base:v", "1/90000", *H264, "-bf", 0, tmp_path / "gap.mp4")
        return tmp_path / "gap.mp4"

    return make


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("n", [12, 24])
def test_the_length_and_the_rate_with_a_gap_stay(gap, n, codec):
    was, now = encoded(gap(n), codec=codec)
    assert was.end == pytest.approx(4) == now.end == pytest.approx(now.stated)
    assert now.fps == pytest.approx(25 / 4, rel=1e-3)


def test_a_rate_that_would_change_is_a_reason(tmp_path, gap):
    """B-frames after a gap at the beginning: MP4 counts the gap twice."""
    outcome = optimize(gap(1), Goal(60), tmp_path / "out.mp4")
    assert kept(outcome, tmp_path / "gap.mp4", Reason.BROKEN,
                "7.000 s by the average rate instead of 4.000 s")


def test_a_long_last_frame_stays(tmp_path, clip, ffmpeg):
    long = tmp_path / "long.mp4"
    ffmpeg("-i", clip, "-map", "0:v", *H264, "-bf", 0, "-bsf:v",
           "setts=pts=PTS:dts=DTS:duration='if(eq(N,24),2/TB,DURATION)'", long)
    was, now = encoded(long)
    assert was.end == pytest.approx(2.96) == now.end == pytest.approx(now.stated)


@pytest.mark.slow
def test_real_cases_of_times(tmp_path, shared_cases):
    late = optimize(shared_cases / "start05_video_only.mp4", Goal(80), tmp_path / "late.mp4")
    assert late.reason in DELIVERED and inspect(late.path).start == 0.5
    gap = optimize(shared_cases / "lastgap.mp4", Goal(80), tmp_path / "gap.mp4")
    made = inspect(gap.path)
    assert gap.reason in DELIVERED and made.end == pytest.approx(5.002) == made.stated
    assert made.fps == pytest.approx(inspect(shared_cases / "lastgap.mp4").fps)


# Tracks.

@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_tracks_keep_their_order_names_and_languages(tmp_path, clip, ffmpeg, suffix):
    (tmp_path / "words.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    full = tmp_path / f"full{suffix}"
    ffmpeg("-i", clip, "-i", tmp_path / "words.srt", "-map", 1, "-map", 0, "-c", "copy", "-c:s",
           "srt" if suffix == ".mkv" else "mov_text", "-metadata:s:1", "language=deu",
           "-metadata:s:1", "title=Ton", "-metadata:s:2", "handler_name=Mine", full)
    encoded(full)
    with av.open(str(tmp_path / f"made{suffix}")) as made:
        assert [stream.type for stream in made.streams] == ["subtitle", "audio", "video"]
        tags = made.streams[1].metadata
        if suffix != ".mov":  # it has no German
            assert tags["language"] == "deu"
        assert "Ton" in (tags.get("title"), tags.get("name"))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_timecode_comes_along(tmp_path, clip, ffmpeg, suffix):
    ffmpeg("-i", clip, "-c", "copy", "-timecode", "01:02:03:04", tmp_path / f"coded{suffix}")
    was, now = encoded(tmp_path / f"coded{suffix}")
    assert [track.codec for track in now.tracks] == ["aac", "timecode"]
    assert now.tracks[1].packets == was.tracks[1].packets
    assert unsupported(was, "h264", ".mkv") == "a data track"


def test_telemetry_comes_along(tmp_path, clip, ffmpeg):
    """Subtitles under the name of a camera's telemetry stand for it."""
    (tmp_path / "words.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello\n")
    ffmpeg("-i", clip, "-i", tmp_path / "words.srt", "-map", 0, "-map", 1, "-c", "copy", "-c:s",
           "mov_text", tmp_path / "told.mp4")
    data = tmp_path / "data.mp4"
    data.write_bytes((tmp_path / "told.mp4").read_bytes().replace(b"tx3g", b"gpmd"))
    was, now = encoded(data)
    assert [track.kind for track in now.tracks] == ["audio", "data"]
    assert len(now.tracks[1].times) == len(was.tracks[1].times) > 0


def test_the_end_of_trimmed_sound_stays(tmp_path, shared_cases):
    """MP4 as FFmpeg writes it plays 624 samples more, so Matroska it is."""
    clip = shared_cases / "vp9opus_noise.webm"
    outcome = optimize(clip, Goal(80), tmp_path / "out.webm")
    assert outcome.reason in DELIVERED and outcome.path.suffix == ".mkv"
    for path in (clip, outcome.path):
        with av.open(str(path)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == 96000


# Tags.

TAGS = {"title": "Ein Titel", "creation_time": "2020-01-02T03:04:05Z", "make": "X", "model": "Y",
        "com.apple.quicktime.make": "X", "com.android.version": "11", "location": "+48.1000+011.5000/"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("keys", ["+use_metadata_tags", "+faststart"])
def test_tags_come_along_and_a_lost_one_is_named(tmp_path, clip, ffmpeg, suffix, keys):
    tagged = tmp_path / f"tagged{suffix}"
    ffmpeg("-i", clip, "-c", "copy", "-movflags", keys,
           *[part for name, value in TAGS.items() for part in ("-metadata", f"{name}={value}")],
           tagged)
    was, now = encoded(tagged)
    assert was.tags["title"] == "Ein Titel" and "creation_time" in was.tags
    if keys == "+use_metadata_tags":
        assert {"make", "com.apple.quicktime.make", "com.android.version"} <= set(now.tags)
    bare = tmp_path / f"bare{suffix}"
    ffmpeg("-i", tagged, "-c", "copy", "-map_metadata", -1, "-map_metadata:s:0", "0:s:0",
           "-map_metadata:s:1", "0:s:1", bare)
    assert any(loss.startswith("tags (") and "title" in loss
               for loss in broken(was, inspect(bare), "h264"))


# What frames carry.

def user_data(path):
    with av.open(str(path)) as container:
        return [bytes(side)[16:] for frame in container.decode(video=0)
                for side in frame.side_data if side.type.name == "SEI_UNREGISTERED"
                and not bytes(side)[16:].startswith(b"x26")]


def test_user_data_comes_along(tmp_path, clip, ffmpeg):
    ffmpeg("-i", clip, "-map", 0, "-c", "copy", "-bsf:v", "h264_metadata=sei_user_data="
           "086f3693-b7b3-4f2c-9653-21492feee5b8+hello", tmp_path / "told.mp4")
    was, now = encoded(tmp_path / "told.mp4")
    assert set(was.sides) == {"user-data SEI"} and not inspect(clip).sides
    assert broken(was, inspect(clip), "h264") == ["user-data SEI"]
    assert unsupported(was, "hevc") == unsupported(was, "av1") == "user-data SEI"


def test_a_real_case_of_user_data(tmp_path, shared_cases):
    outcome = optimize(shared_cases / "user_sei.mp4", Goal(80), tmp_path / "out.mp4")
    assert outcome.reason in DELIVERED
    assert user_data(outcome.path)[-1:] == user_data(shared_cases / "user_sei.mp4")[-1:] != []


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_closed_captions_come_along(tmp_path, clip, ffmpeg, codec):
    """Captions before each frame, as ATSC A/53 puts them into H.264."""
    ffmpeg("-i", clip, "-map", "0:v", *H264, "-bf", 0, "-threads", 1, tmp_path / "raw.h264")
    frames = iter(range(100))

    def told(found):
        pair = bytes((0xFC, 0x94, next(frames)))
        text = bytes.fromhex("b50031 47413934 03 41ff") + pair + b"\xff"
        return b"\0\0\1\6\4" + bytes([len(text)]) + text + b"\x80" + found[0]

    raw = tmp_path / "raw.h264"
    raw.write_bytes(re.sub(rb"\x00\x00\x01[\x65\x61\x41\x01]", told, raw.read_bytes()))
    ffmpeg("-r", 25, "-i", raw, "-c", "copy", tmp_path / "told.mp4")
    was, now = encoded(tmp_path / "told.mp4", codec=codec)
    assert set(was.sides) == {"closed captions"}
    assert unsupported(was, "av1") == "closed captions"


def test_a_sphere_comes_along_and_stereo_does_in_matroska(tmp_path, shared_cases, ffmpeg):
    clip = shared_cases / "spherical360.mp4"
    outcome = optimize(clip, Goal(80), tmp_path / "out.mp4")
    assert kept(outcome, clip, Reason.UNSUPPORTED, "stereo metadata")
    flat = tmp_path / "flat.mp4"
    flat.write_bytes(clip.read_bytes().replace(b"st3d", b"free"))
    assert set(encoded(flat)[1].sides) == {"spherical metadata"}
    ffmpeg("-i", clip, "-c", "copy", tmp_path / "both.mkv")
    assert set(encoded(tmp_path / "both.mkv")[1].sides) == {"spherical metadata", "stereo metadata"}
    encode(flat, tmp_path / "lost.mp4", Encoding("h264"), 30, (30,))
    assert broken(inspect(flat), inspect(tmp_path / "lost.mp4"), "h264") == ["spherical metadata"]


# The file itself.

@pytest.mark.parametrize("kind, reason", [("h264", DELIVERED), ("odd", [Reason.UNSUPPORTED])])
@pytest.mark.parametrize("mode", [0o600, 0o440, 0o755])
def test_a_delivered_file_is_as_old_as_its_source_and_no_more_open(tmp_path, make_clip, kind,
                                                                   reason, mode):
    source = make_clip(tmp_path / "clip.avi", kind, frames=8, size=(128, 96))
    source.chmod(mode)
    os.utime(source, ns=(10**18, 10**18 + 5))
    outcome = optimize(source, Goal(60), tmp_path / "out.avi")
    assert outcome.reason in reason
    found = outcome.path.stat()
    assert found.st_mtime_ns == 10**18 + 5
    assert stat.S_IMODE(found.st_mode) & ~mode == 0 != found.st_mode & 0o400


# Its own output again.

@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_what_leanclips_made_is_not_made_again(tmp_path, clip, ffmpeg, suffix):
    ffmpeg("-i", clip, "-c", "copy", tmp_path / f"source{suffix}")
    once = optimize(tmp_path / f"source{suffix}", Goal(80), tmp_path / f"once{suffix}")
    assert once.reason in DELIVERED and inspect(once.path).mark == Goal(80).mark == "vmaf 80"
    for target in (80, 93):
        outcome = optimize(once.path, Goal(target), tmp_path / f"again{suffix}")
        assert kept(outcome, once.path, Reason.ALREADY, "vmaf 80") and not outcome.tries
        assert outcome.quality.worst == 100


def test_it_is_made_again_for_less_for_another_goal_or_when_asked(tmp_path, clip):
    once = optimize(clip, Goal(80), tmp_path / "once.mp4").path
    for goal, again in ((Goal(60), False), (Goal(80, height=96), False), (Goal(80), True),
                        (Goal(0.9, "ssim"), False)):
        outcome = optimize(once, goal, tmp_path / "again.mp4", again=again)
        assert outcome.reason is not Reason.ALREADY and outcome.tries
    assert inspect(optimize(once, Goal(50), tmp_path / "less.mp4").path).mark == "vmaf 50"


def test_the_control_bears_no_mark(tmp_path, clip):
    once = optimize(clip, Goal(80), tmp_path / "once.mp4").path
    assert inspect(constant(once, 40, tmp_path / "control.mp4").path).mark == ""


def test_another_tools_mark_is_no_reason(tmp_path, clip, ffmpeg):
    ffmpeg("-i", clip, "-c", "copy", "-movflags", "+use_metadata_tags", "-metadata",
           "leanclips=a note of mine", tmp_path / "noted.mp4")
    assert optimize(tmp_path / "noted.mp4", Goal(60), tmp_path / "out.mp4").reason in DELIVERED


@pytest.mark.slow
def test_real_clips_are_made_once(tmp_path, jhmdb_clips):
    for n, clip in enumerate(sorted(jhmdb_clips.glob("*/*.avi"))[::7][:4]):
        once = optimize(clip, Goal(90), tmp_path / f"{n}.mp4")
        again = optimize(once.path, Goal(90), tmp_path / "again" / f"{n}.mp4")
        assert (again.reason is Reason.ALREADY) == bool(once.crfs)
        assert again.path.read_bytes() == once.path.read_bytes()
