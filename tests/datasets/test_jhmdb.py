"""J-HMDB: the committed table is what the code makes, and fetching it is safe."""

import hashlib
import io
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from leanclips.clips import Clip, Role, check_roles, of_role, pretraining_clips, read_table
from leanclips.clips import write_table
from leanclips.datasets import jhmdb
from leanclips.errors import StudyError
from leanclips.splits import pretraining_split
from leanclips.study import Pretraining

TABLE = jhmdb.TABLE
CONTENT = {f"{label}/film_{label}_{number}.avi": f"{label} {number} ".encode() * 5000
           for label in ("run", "walk") for number in range(3)}
CLIPS = [Clip(f"clip-{number}", file, file.split("/")[0], "film", Role.TARGET,
              sha256=hashlib.sha256(data).hexdigest())
         for number, (file, data) in enumerate(sorted(CONTENT.items()))]


def archive(content: dict[str, bytes], top: str = "JHMDB_video/ReCompress_Videos/") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zip_file:
        for name, data in content.items():
            zip_file.writestr(top + name, data)
    return packed.getvalue()


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_table_holds_112_target_48_held_out_and_768_pretraining_clips():
    clips = read_table(TABLE)
    check_roles(clips, TABLE)
    assert Counter(clip.role for clip in clips) == {"pretrain": 768, "target": 112, "heldout": 48}
    assert Counter(clip.label for clip in of_role(clips, Role.HELDOUT)) == dict.fromkeys(
        jhmdb.TARGET_CLASSES, 12)
    assert len({clip.label for clip in of_role(clips, Role.PRETRAIN)}) == 17
    assert all(clip.frames and len(clip.sha256) == 64 for clip in clips)


def test_no_held_out_recording_is_trained_on():
    clips = read_table(TABLE)
    heldout = {clip.group for clip in of_role(clips, Role.HELDOUT)}
    trained_on = of_role(clips, Role.TARGET) + pretraining_clips(clips)
    assert not heldout & {clip.group for clip in trained_on}
    assert len(pretraining_clips(clips)) == 764


def test_the_committed_table_is_made_from_the_list_of_hashes(shared_clips, tmp_path):
    write_table(tmp_path / "clips.csv", jhmdb.table(shared_clips / "hashes.csv"))
    assert (tmp_path / "clips.csv").read_bytes() == TABLE.read_bytes()


@pytest.fixture
def official(tmp_path):
    """Official lists as the data set's README describes them: every third clip is a test clip."""
    folder = tmp_path / "splits"
    folder.mkdir()
    clips = read_table(TABLE)
    for label in {clip.label for clip in clips}:
        names = [Path(clip.file).name for clip in clips if clip.label == label]
        (folder / f"{label}_test_split1.txt").write_text(
            "".join(f"{name} {2 if n % 3 == 0 else 1}\n" for n, name in enumerate(names)))
    return folder


def test_official_lists_fill_the_column_fold(official, shared_clips):
    clips = jhmdb.table(shared_clips / "hashes.csv", official)
    folds = jhmdb.official_folds(official)
    assert len(folds) == 928 and {clip.file: clip.fold for clip in clips} == folds
    assert [replace(clip, fold="") for clip in clips] == read_table(TABLE)
    settings = Pretraining(split="official")
    aside = pretraining_split(pretraining_clips(clips), settings)
    assert aside == {clip.id for clip in pretraining_clips(clips) if clip.fold == "validation"}


def test_official_lists_that_will_not_do_are_told(official, shared_clips, tmp_path):
    with pytest.raises(StudyError, match="holds no list .*_test_split2.txt; unpack"):
        jhmdb.official_folds(official, 2)
    (official / "run_test_split1.txt").write_text("a.avi 1\nb.avi 3\n")
    with pytest.raises(StudyError, match="run_test_split1.txt line 2: is not a clip's name and 1"):
        jhmdb.official_folds(official)
    (official / "run_test_split1.txt").write_text("a.avi 1\n")
    with pytest.raises(StudyError, match="40 clips are in none of the official lists, the first"):
        jhmdb.table(shared_clips / "hashes.csv", official)


def test_the_clips_themselves_give_the_same_rows(jhmdb_clips, tmp_path):
    listed = {clip.file: clip for clip in read_table(TABLE)[::12]}
    for file in listed:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).symlink_to(jhmdb_clips / file)
    for clip in jhmdb.table(tmp_path):
        same = listed[clip.file]
        assert (clip.label, clip.group, clip.frames, clip.sha256) == (
            same.label, same.group, same.frames, same.sha256)


def test_a_folder_without_the_clips_is_told(tmp_path):
    with pytest.raises(StudyError, match="holds no class folders with .avi files"):
        jhmdb.table(tmp_path)


def test_the_recording_is_the_name_before_the_last_class():
    assert jhmdb.group_of("boom_clap_(x)_clap_u_nm_0", "clap") == "boom_clap_(x)"


def test_fetching_unpacks_the_listed_clips_and_nothing_else(tmp_path, server):
    server.files["a.zip"] = archive({**CONTENT, "run/other.avi": b"x", "run/._film.avi": b"x",
                                     "../../../run/evil.avi": b"x", "readme.txt": b"x"})
    assert jhmdb.fetch(tmp_path / "clips", CLIPS, server.url("a.zip")) == 6
    assert files(tmp_path) == {f"clips/{name}" for name in CONTENT}
    assert jhmdb.fetch(tmp_path / "clips", CLIPS, "http://127.0.0.1:1/") == 0


def test_a_name_in_the_archive_cannot_choose_where_it_is_written(tmp_path, server):
    server.files["a.zip"] = archive(CONTENT, top="../../")
    jhmdb.fetch(tmp_path / "clips", CLIPS, server.url("a.zip"))
    assert files(tmp_path) == {f"clips/{name}" for name in CONTENT}


def test_what_is_fetched_by_default_is_the_table_of_the_study(tmp_path, server):
    server.files["a.zip"] = archive(CONTENT)
    with pytest.raises(StudyError, match="it lacks the clip brush_hair/April_09_brush_hair"):
        jhmdb.fetch(tmp_path, url=server.url("a.zip"))


def test_fetching_replaces_a_wrong_clip(tmp_path, server):
    server.files["a.zip"] = archive(CONTENT)
    jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    (tmp_path / CLIPS[3].file).write_bytes(b"wrong")
    assert jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip")) == 1
    assert (tmp_path / CLIPS[3].file).read_bytes() == CONTENT[CLIPS[3].file]


def test_fetching_goes_on_after_an_interruption(tmp_path, server):
    server.files["a.zip"] = archive(CONTENT)
    server.stop_after = 100_000
    with pytest.raises(StudyError, match="stopped after 100000 of"):
        jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    server.stop_after = None
    assert jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip")) == 6
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("spoil, problem", [
    (lambda whole: whole[:-2000], "the archive is not good .* was removed; run the same"),
    (lambda whole: whole.replace(b"run 1 run 1", b"run 2 run 2", 1), "run/film_run_1.avi"),
    (lambda whole: b"<html>moved</html>", "File is not a zip file"),
    (lambda whole: archive({**CONTENT, "run/film_run_1.avi": b"x"}),
     "its run/film_run_1.avi is not the clip that clips.csv lists, the SHA-256 differs"),
    (lambda whole: archive(dict(list(CONTENT.items())[1:])),
     "it lacks the clip run/film_run_0.avi"),
])
def test_a_bad_archive_is_told_and_removed(tmp_path, server, spoil, problem):
    server.files["a.zip"] = spoil(archive(CONTENT))
    with pytest.raises(StudyError, match=problem):
        jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert not files(tmp_path) & {"JHMDB_video.zip", "JHMDB_video.zip.part", "run/film_run_1.avi"}
    server.files["a.zip"] = archive(CONTENT)
    jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert files(tmp_path) == set(CONTENT)


def test_a_disk_too_small_for_the_clips_keeps_the_archive(tmp_path, server, monkeypatch):
    server.files["a.zip"] = archive(CONTENT)

    def full(folder, size):
        raise StudyError("the disk has too little room", folder, "free some")

    with monkeypatch.context() as patch:
        patch.setattr(jhmdb, "need_space", full)
        with pytest.raises(StudyError, match="too little room"):
            jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert files(tmp_path) == {"JHMDB_video.zip"}
    jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert len(server.ranges) == 1
