"""J-HMDB: the committed table is what the code makes; downloads resume; unpacking is safe."""

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.clips import (Clip, Role, check_roles, of_role, pretraining_clips, read_table,
                             write_table)
from leanclips.errors import StudyError
from leanclips.layout import ROOT
from leanclips.rounds import pretraining_split
from leanclips.study import Holdout, Pretraining

TABLE = ROOT / "data" / "jhmdb" / "clips.csv"
jhmdb, made = (SimpleNamespace(**run_path(str(TABLE.with_name(f"{name}.py"))))
               for name in ("fetch", "table"))
SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=7).map(
    lambda sizes: {f"group {number}": size for number, size in enumerate(sizes)})
DATA = bytes(range(256)) * 20_000
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
    check_roles(clips, Holdout(), TABLE)
    assert Counter(clip.role for clip in clips) == {"pretrain": 768, "target": 112, "heldout": 48}
    assert Counter(clip.label for clip in of_role(clips, Role.HELDOUT)) == dict.fromkeys(
        made.TARGET_CLASSES, 12)
    assert len({clip.label for clip in of_role(clips, Role.PRETRAIN)}) == 17
    assert all(clip.frames and len(clip.sha256) == 64 for clip in clips)


def test_no_recording_is_in_two_roles_once_pretraining_has_left_some_out():
    clips = read_table(TABLE)
    groups = [{clip.group for clip in part} for part in (
        of_role(clips, Role.TARGET), of_role(clips, Role.HELDOUT), pretraining_clips(clips))]
    assert len(set.union(*groups)) == sum(map(len, groups))
    assert len(pretraining_clips(clips)) == 696


@pytest.mark.slow
def test_the_committed_table_is_made_from_the_clips(jhmdb_clips, tmp_path):
    write_table(tmp_path / "clips.csv", made.table(jhmdb_clips))
    assert (tmp_path / "clips.csv").read_bytes() == TABLE.read_bytes()


@given(SIZES, st.integers(0, 40), st.integers(0, 50))
def test_chosen_groups_come_as_near_to_the_wanted_count_as_any_set_can(sizes, wanted, seed):
    chosen = made.choose_groups(sizes, wanted, np.random.default_rng(seed))
    every_set = [some for count in range(1, len(sizes)) for some in combinations(sizes, count)]
    nearest = min(abs(sum(sizes[name] for name in some) - wanted) for some in every_set)
    assert abs(sum(sizes[name] for name in chosen) - wanted) == nearest
    assert 0 < len(chosen) < len(sizes)


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


@pytest.fixture
def some_clips(jhmdb_clips, tmp_path):
    """A folder with every twelfth clip."""
    for clip in read_table(TABLE)[::12]:
        path = tmp_path / "some" / clip.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(jhmdb_clips / clip.file)
    return tmp_path / "some"


def test_official_lists_fill_the_column_fold(official, some_clips):
    clips = made.table(some_clips, splits_folder=official)
    folds = made.official_folds(official)
    assert len(folds) == 928 and all(clip.fold == folds[clip.file] for clip in clips)
    assert [replace(clip, fold="") for clip in clips] == made.table(some_clips)
    aside = pretraining_split(clips, Pretraining(split="official"))
    assert aside == {clip.id for clip in clips if clip.fold == "validation"}


def test_official_lists_that_do_not_fit_are_reported(official, some_clips):
    with pytest.raises(StudyError, match="holds no list .*_test_split1.txt; unpack"):
        made.official_folds(some_clips)
    (official / "run_test_split1.txt").write_text("a.avi 1\nb.avi 3\n")
    with pytest.raises(StudyError, match="run_test_split1.txt line 2: is not a clip's name and 1"):
        made.official_folds(official)
    (official / "run_test_split1.txt").write_text("a.avi 1\n")
    with pytest.raises(StudyError, match="3 clips are in none of the official lists, the first"):
        made.table(some_clips, splits_folder=official)


def test_a_folder_without_the_clips_is_reported(tmp_path):
    with pytest.raises(StudyError, match="holds no class folders with clips"):
        made.table(tmp_path)


def test_the_recording_is_the_name_before_the_last_class(tmp_path, make_clip):
    make_clip(tmp_path / "clap" / "boom_clap_(x)_clap_u_nm_0.avi", "mpeg4")
    clip, = made.table(tmp_path)
    assert (clip.group, clip.role, clip.file) == (
        "boom_clap_(x)", "pretrain", "clap/boom_clap_(x)_clap_u_nm_0.avi")


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


def test_what_the_script_fetches_is_the_table_of_the_study(tmp_path, server):
    server.files["a.zip"] = archive(CONTENT)
    done = subprocess.run([sys.executable, TABLE.with_name("fetch.py"), tmp_path,
                           "--url", server.url("a.zip")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    said = done.stderr.splitlines()[-1]
    assert said.startswith("fetch.py: ") and "it lacks the clip brush_hair/April_09_br" in said


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
def test_a_bad_archive_is_reported_and_removed(tmp_path, server, spoil, problem):
    server.files["a.zip"] = spoil(archive(CONTENT))
    with pytest.raises(StudyError, match=problem):
        jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert not files(tmp_path) & {"JHMDB_video.zip", "JHMDB_video.zip.part", "run/film_run_1.avi"}
    server.files["a.zip"] = archive(CONTENT)
    jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert files(tmp_path) == set(CONTENT)


def test_a_disk_too_small_for_the_clips_keeps_the_archive(tmp_path, server, monkeypatch):
    server.files["a.zip"] = archive(CONTENT)
    free = iter([1 << 30, 1000])  # for the archive, for the clips
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
        with pytest.raises(StudyError, match="the disk has 0 MiB free"):
            jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert files(tmp_path) == {"JHMDB_video.zip"}
    jhmdb.fetch(tmp_path, CLIPS, server.url("a.zip"))
    assert len(server.ranges) == 1


def test_a_file_arrives_whole_and_shows_its_progress(tmp_path, server, capsys):
    server.files["a.zip"] = DATA
    jhmdb.download(server.url("a.zip"), tmp_path / "there" / "a.zip")
    assert (tmp_path / "there" / "a.zip").read_bytes() == DATA
    assert not list(tmp_path.rglob("*.part"))
    assert "downloading a.zip: 5/5 MiB" in capsys.readouterr().err


def test_an_interrupted_download_goes_on_from_there(tmp_path, server):
    server.files["a.zip"] = DATA
    server.stop_after = 1_500_000
    with pytest.raises(StudyError, match=r"the download stopped after 1500000 of 5120000 bytes; "
                                         r"run the same command again"):
        jhmdb.download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip.part").stat().st_size == 1_500_000
    assert not (tmp_path / "a.zip").exists()
    server.stop_after = None
    jhmdb.download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_server_that_cannot_resume_sends_all_of_it_again(tmp_path, server):
    server.files["a.zip"], server.resumes = DATA, False
    (tmp_path / "a.zip.part").write_bytes(b"other bytes")
    jhmdb.download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_part_that_is_complete_already_is_taken(tmp_path, server):
    server.files["a.zip"] = DATA
    (tmp_path / "a.zip.part").write_bytes(DATA)
    jhmdb.download(server.url("a.zip"), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_part_longer_than_the_file_is_removed(tmp_path, server):
    server.files["a.zip"] = DATA
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    with pytest.raises(StudyError, match="is not of this file and was removed"):
        jhmdb.download(server.url("a.zip"), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_a_missing_page_is_reported_with_the_address(tmp_path, server):
    with pytest.raises(StudyError, match="none.zip: the server answers 404 .* --url"):
        jhmdb.download(server.url("none.zip"), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.zip", "no address", "gopher://x/a.zip"])
def test_an_address_that_leads_nowhere_is_reported(tmp_path, url):
    with pytest.raises(StudyError, match="cannot be reached"):
        jhmdb.download(url, tmp_path / "a.zip")


def test_a_file_on_this_machine_can_be_fetched(tmp_path):
    (tmp_path / "here.zip").write_bytes(DATA)
    jhmdb.download((tmp_path / "here.zip").as_uri(), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_disk_too_small_is_reported_before_the_download(tmp_path, server, monkeypatch):
    server.files["a.zip"] = DATA
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(StudyError, match="the disk has 1 MiB free and 4 MiB are needed"):
        jhmdb.download(server.url("a.zip"), tmp_path / "a.zip")
