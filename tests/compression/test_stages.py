"""A variant is made clip by clip, each once, and made again only where something changed."""

import json
import shutil
from dataclasses import replace

import pytest

from leanclips.clips import Role, load_clips, of_role, write_table
from leanclips.compression.ffmpeg import OPENH264, X264_FALLBACK, Encoding
from leanclips.compression.inspect import probe
from leanclips.compression.stages import find_constant_crf, make_variant, paired
from leanclips.errors import StudyError
from leanclips.files import file_sha256
from leanclips.records import REPORT, read_csv
from leanclips.study import External, Optimized, load_study


def times(folder):
    """The time of change of every clip in a folder."""
    return {path.name: path.stat().st_ctime_ns for path in folder.glob("*.mp4")}


@pytest.fixture
def opened(finished_study):
    """Layout, settings and clips of a tiny study whose variants are made."""
    study = load_study(finished_study.study)
    return finished_study, study, load_clips(finished_study, study)


@pytest.mark.parametrize("variant, reason", [
    ("source", "crop"), ("originals", "optimized"), ("optimized", "optimized"),
    ("constant", "constant")])
def test_the_report_tells_the_truth_about_every_file(opened, variant, reason):
    layout, _, clips = opened
    report = read_csv(layout.report(variant))
    wanted = clips if variant == "source" else of_role(clips, Role.TARGET, Role.HELDOUT)
    assert tuple(report.columns) == REPORT
    assert list(report["clip"]) == [clip.id for clip in wanted]
    assert set(report["reason"]) - {"above-tolerance"} == {reason}
    for row in report.itertuples():
        path = layout.clip(variant, row.clip)
        found = probe(path, whole=True)
        assert (row.frames, row.width, row.height) == (found.frames, found.width, found.height)
        assert (row.bytes_out, row.sha256) == (path.stat().st_size, file_sha256(path))
        assert variant == "source" or row.bytes_out <= row.bytes_in or reason == "constant"


def test_the_control_takes_the_bytes_of_the_optimized_set(opened):
    layout = opened[0]
    totals = {variant: read_csv(layout.report(variant))["bytes_out"].sum()
              for variant in ("optimized", "constant")}
    assert totals["constant"] == pytest.approx(totals["optimized"], rel=0.02)
    assert read_csv(layout.report("constant"))["crf"].nunique() == 1
    control = json.loads(layout.control("constant").read_text())
    assert control["wanted_bytes"] == totals["optimized"]
    assert control["sets"][-1][1] == totals["constant"]


def test_a_second_time_makes_no_clip(opened):
    layout, study, clips = opened
    before = {variant: times(layout.clip(variant, "x").parent)
              for variant in ("source", "originals", "optimized", "constant")}
    report = layout.report("optimized").read_bytes()
    make_variant(layout, study, clips, "source", 1)
    make_variant(layout, study, clips, "originals", 1)
    make_variant(layout, study, clips, "optimized", 1)
    make_variant(layout, study, clips, "constant", 1)
    assert before == {variant: times(layout.clip(variant, "x").parent) for variant in before}
    assert layout.report("optimized").read_bytes() == report


@pytest.mark.parametrize("harm", [
    lambda layout: layout.clip("optimized", "a-001").unlink(),
    lambda layout: layout.clip("optimized", "a-001").write_bytes(b"half a clip"),
    lambda layout: layout.clip_record("optimized", "a-001").unlink(),
    lambda layout: layout.clip_record("optimized", "a-001").write_text("{"),
    lambda layout: layout.clip_record("optimized", "a-001").write_text('{"key": 1}')])
def test_only_what_is_missing_or_damaged_is_made_again_with_the_same_bytes(opened, harm):
    layout, study, clips = opened
    before, report = times(layout.report("optimized").parent), layout.report("optimized")
    content, table = layout.clip("optimized", "a-001").read_bytes(), report.read_bytes()
    harm(layout)
    make_variant(layout, study, clips, "optimized", 1)
    after = times(report.parent)
    assert {name for name in before if after[name] != before[name]} == {"a-001.mp4"}
    assert layout.clip("optimized", "a-001").read_bytes() == content
    assert report.read_bytes() == table


def test_another_target_makes_every_clip_again(opened):
    layout, study, clips = opened
    before = times(layout.report("optimized").parent)
    cheaper = study.model_copy(update={"variants": study.variants | {
        "optimized": Optimized(target=40)}})
    make_variant(layout, cheaper, clips, "optimized", 1)
    after = times(layout.report("optimized").parent)
    assert all(after[name] != before[name] for name in before)
    assert read_csv(layout.report("optimized"))["bytes_out"].sum() < 0.9 * read_csv(
        layout.report("source"))["bytes_out"].sum()


def test_a_label_that_was_corrected_shows_without_a_new_encode(opened):
    layout, study, clips = opened
    before = times(layout.report("optimized").parent)
    clips = [replace(clip, label=clip.label.upper()) for clip in clips]
    make_variant(layout, study, clips, "optimized", 1)
    assert times(layout.report("optimized").parent) == before
    assert set(read_csv(layout.report("optimized"))["label"]) == {"A", "B"}


def test_a_clip_with_another_number_of_frames_than_its_row_is_told(opened):
    layout, study, clips = opened
    clips[0] = replace(clips[0], frames=7)
    with pytest.raises(StudyError, match="the clip has 6 frames where clips.csv says 7"):
        make_variant(layout, study, clips, "source", 1)


def test_a_file_that_changed_since_it_was_listed_is_told(opened, make_clip):
    layout, study, clips = opened
    (layout.study / "mine").mkdir()
    layout.clips_root_note.write_text(f"{layout.study / 'mine'}\n")
    make_clip(layout.study / "mine" / clips[0].file, seed=99)
    with pytest.raises(StudyError, match="tape0_0.mp4: the clip is not the one that clips.csv"):
        make_variant(layout, study, clips, "source", 1)


@pytest.mark.slow
def test_a_control_that_cannot_be_met_is_told(opened):
    layout, _, clips = opened
    report = read_csv(layout.report("optimized"))
    report["bytes_out"] = 10
    report.to_csv(layout.report("optimized"), index=False)
    layout.control("constant").unlink()
    with pytest.raises(StudyError, match="no constant CRF takes the bytes of 'optimized'"):
        find_constant_crf(layout, of_role(clips, Role.TARGET)[:2], "constant", "optimized",
                          Encoding("h264"), 1)


def test_a_stopped_search_for_the_control_goes_on_where_it_was(opened):
    layout, _, clips = opened
    chosen = of_role(clips, Role.TARGET, Role.HELDOUT)
    control = layout.control("constant")
    whole = json.loads(control.read_text())
    control.write_text(json.dumps(whole | {"sets": whole["sets"][:-1]}))
    crf = find_constant_crf(layout, chosen, "constant", "optimized", Encoding("h264"), 1)
    assert crf == whole["sets"][-1][0] and json.loads(control.read_text()) == whole


def test_what_a_killed_process_left_aside_goes(opened):
    layout, study, clips = opened
    (layout.report("source").parent / ".aside-dead").mkdir()
    make_variant(layout, study, clips, "source", 1)
    assert not list(layout.work.glob("clips/**/.aside-*"))


def test_a_square_of_its_own_is_cut_for_the_clip_that_has_one(tiny_study):
    from leanclips.clips import Roi

    study = load_study(tiny_study.study)
    clips = load_clips(tiny_study, study)
    clips[0] = replace(clips[0], roi=Roi(4, 2, 33))
    write_table(tiny_study.table, clips)
    make_variant(tiny_study, study, load_clips(tiny_study, study), "source", 2)
    widths = read_csv(tiny_study.report("source"))["width"]
    assert widths[0] == 32 and set(widths[1:]) == {80}


@pytest.fixture
def vendor(opened, ffmpeg):
    """The study with a variant that another tool made."""
    layout, study, clips = opened
    (layout.study / "theirs").mkdir()
    for clip in of_role(clips, Role.TARGET, Role.HELDOUT):
        ffmpeg("-i", layout.clip("source", clip.id), "-c:v", "libx264", "-crf", 33,
               layout.study / "theirs" / f"{clip.id}.mkv")
    study = study.model_copy(update={"variants": study.variants | {
        "vendor": External(folder="theirs")}})
    return layout, study, clips


def test_another_tools_files_are_a_variant_like_any_other(vendor):
    layout, study, clips = vendor
    make_variant(layout, study, clips, "vendor", 2)
    report = read_csv(layout.report("vendor"))
    assert set(report["reason"]) == {"external"} and report["crf"].isna().all()
    for row in report.itertuples():
        theirs = layout.study / "theirs" / f"{row.clip}.mkv"
        assert row.sha256 == file_sha256(theirs) and row.bytes_out == theirs.stat().st_size
        assert 0 < row.quality < 100
        assert layout.made_clip("vendor", row.clip).suffix == ".mkv"


def test_another_tools_files_that_fail_the_contract_are_listed(vendor, make_clip):
    layout, study, clips = vendor
    make_clip(layout.study / "theirs" / "a-001.mkv", frames=3)
    make_clip(layout.study / "theirs" / "a-002.mkv", "text")
    with pytest.raises(StudyError, match="2 of 12 files of 'vendor' cannot stand for") as raised:
        make_variant(layout, study, clips, "vendor", 2)
    listed = read_csv(layout.report("vendor").with_name("broken.csv"))
    assert list(listed["clip"]) == ["a-001", "a-002"] and "broken.csv" in str(raised.value)
    assert "frames instead of 6" in listed["detail"][0]
    assert not layout.report("vendor").exists()
    for name in ("a-001", "a-002"):  # replaced, as it says
        shutil.copyfile(layout.clip("source", name), layout.study / "theirs" / f"{name}.mkv")
    make_variant(layout, study, clips, "vendor", 2)
    assert len(read_csv(layout.report("vendor"))) == 12


def test_another_tools_file_that_is_missing_is_told(vendor):
    layout, study, clips = vendor
    (layout.study / "theirs" / "a-003.mkv").unlink()
    with pytest.raises(StudyError, match=r"1 of 12 clips have no file \(a-003\)"):
        make_variant(layout, study, clips, "vendor", 2)


def test_what_lies_beside_another_tools_file_is_not_taken_for_it(vendor):
    layout, study, clips = vendor
    theirs, chosen = study.variants["vendor"], of_role(clips, Role.TARGET, Role.HELDOUT)
    (layout.study / "theirs" / "a-001.txt").write_text("its log")
    assert {path.suffix for path in paired(layout, theirs, chosen)} == {".mkv"}
    (layout.study / "theirs" / "older").mkdir()
    shutil.copyfile(layout.study / "theirs" / "a-001.mkv",
                    layout.study / "theirs" / "older" / "a-001.mp4")
    with pytest.raises(StudyError, match="older/a-001.mp4: stands for the same clip as .*01.mkv"):
        paired(layout, theirs, chosen)


def test_the_encoder_of_the_crops_stands_in_the_report_and_decides_whether_they_are_made_again(
        opened, ffmpeg_without):
    layout, study, clips = opened
    before, first = times(layout.report("source").parent), layout.clip("source", clips[0].id)
    bytes_before = first.read_bytes()
    assert set(read_csv(layout.report("source"))["detail"]) == {OPENH264}
    ffmpeg_without("libopenh264")
    make_variant(layout, study, clips, "source", 2)
    after = times(layout.report("source").parent)
    assert all(after[name] != before[name] for name in before)
    assert set(read_csv(layout.report("source"))["detail"]) == {X264_FALLBACK}
    assert first.read_bytes() != bytes_before


def test_the_control_without_x264_is_one_sentence(opened, ffmpeg_without):
    layout, _, clips = opened
    layout.control("constant").unlink()
    ffmpeg_without("libx264")
    with pytest.raises(StudyError, match="this FFmpeg has no libx264"):
        find_constant_crf(layout, of_role(clips, Role.TARGET)[:2], "constant", "optimized",
                          Encoding("h264"), 1)
