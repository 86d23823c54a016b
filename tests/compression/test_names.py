"""No two files of a tree are delivered in one place, and none in that of a folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.compression.names import destinations, places_of
from leanclips.compression.walk import Tree
from leanclips.errors import StudyError

ROOT, OUT = Path("in"), Path("out")


def named(*names, codec=None):
    """Where each of these files may be delivered, below OUT."""
    files = [ROOT / name for name in names]
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(ROOT)}
    chosen = destinations(Tree(tuple(files), tuple(folders)), ROOT, OUT, codec)
    return {file.relative_to(ROOT).as_posix(): {
        path.relative_to(OUT).as_posix() for path in places_of(file, chosen[file], codec)}
        for file in files}


def test_a_file_alone_keeps_its_name_or_changes_its_suffix():
    assert named("a.mp4", "b.avi", "c.txt", "d") == {
        "a.mp4": {"a.mp4"}, "b.avi": {"b.avi", "b.mp4", "b.mkv"}, "c.txt": {"c.txt"}, "d": {"d"}}


@pytest.mark.parametrize("names, codec, longer", [
    (["a.avi", "a.mp4"], None, {"a.avi"}),
    (["a.avi", "a.wmv"], None, {"a.avi", "a.wmv"}),
    (["a.m4v", "a.mp4"], "hevc", {"a.m4v"}),
    (["a.m4v", "a.mp4"], "h264", set()),
    (["a.mov", "a.mp4"], "av1", {"a.mov"}),
    (["a.mov", "a.mp4"], "hevc", set()),
    (["a.mkv", "a.mov", "a.mp4"], "h264", set()),
    (["a.avi", "a.mp4/b.txt"], None, {"a.avi"}),
    (["a.avi", "a.avi.avi", "a.mp4"], None, {"a.avi", "a.avi.avi"})])
def test_what_might_meet_another_keeps_its_name_whole(names, codec, longer):
    for name, places in named(*names, codec=codec).items():
        assert (name in longer) == (f"{name}.mp4" in places)


@pytest.mark.parametrize("names", [
    ["a.avi", "a.mp4", "a.avi.mp4"], ["a.avi", "a.mp4/b", "a.avi.mkv/b"], [".leanclips"]])
def test_what_meets_another_whatever_its_name_is_told(names):
    with pytest.raises(StudyError, match="would be delivered under the name of another file"):
        named(*names)


def test_a_folder_that_is_there_is_not_delivered_into(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    assert destinations(Tree((ROOT / "a.avi",)), ROOT, tmp_path, None) == {
        ROOT / "a.avi": tmp_path / "a.avi.avi"}


@given(st.lists(st.lists(st.sampled_from(["a", "avi", "mp4", "m4v", "mkv", "txt"]), min_size=1,
                         max_size=4).map(".".join), min_size=1, max_size=8, unique=True),
       st.sampled_from([None, "h264", "hevc", "av1"]))
def test_no_two_files_ever_meet(names, codec):
    try:
        places = named(*names, codec=codec)
    except StudyError:
        return
    assert sum(map(len, places.values())) == len(set().union(*places.values()))
