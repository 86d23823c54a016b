"""Every file of a tree is found, and has a place of its own where it is delivered."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.compression.tree import Tree, destinations, places_of, walk
from leanclips.errors import StudyError


@pytest.fixture
def links(tmp_path):
    """train/ with a file, val -> train, an empty folder, and all that is no file."""
    root = tmp_path / "in"
    (root / "train").mkdir(parents=True)
    (root / "empty" / "er").mkdir(parents=True)
    (root / "train" / "a.txt").write_text("a")
    (root / "val").symlink_to("train")
    (root / "b.txt").symlink_to(root / "train" / "a.txt")
    (root / "gone.txt").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    return root


def named(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize("backwards", [False, True])
def test_links_are_followed_and_the_order_is_that_of_the_names(links, monkeypatch, backwards):
    real = os.walk

    def walked(*told, **options):
        for name, folders, files in real(*told, **options):
            folders.sort(reverse=backwards)
            yield name, folders, files

    monkeypatch.setattr(os, "walk", walked)
    found = walk(links)
    assert named(found.files, links) == ["b.txt", "train/a.txt", "val/a.txt"]
    assert named(found.folders, links) == [".", "empty", "empty/er", "train", "val"]
    assert named(found.others, links) == ["gone.txt", "pipe"]


@pytest.mark.parametrize("target", ["in", "in/train", ".", "in/val"])
def test_a_link_that_leads_back_is_not_followed(links, target):
    (links / "train" / "back").symlink_to(links.parent / target)
    found = walk(links)
    assert named(found.files, links) == ["b.txt", "train/a.txt", "val/a.txt"]
    assert {"train/back", "val/back"} <= set(named(found.others, links))


def test_two_links_that_lead_to_each_other_end(links):
    (links / "empty" / "train").symlink_to(links / "train")
    (links / "train" / "empty").symlink_to(links / "empty")
    assert named(walk(links).files, links) == ["b.txt", "empty/train/a.txt", "train/a.txt",
                                             "val/a.txt"]


def test_leanclips_own_folders_are_none_of_the_tree(links):
    for name in (".out.leanclips", ".leanclips", ".aside-x"):
        (links / name).mkdir()
        (links / name / "c.txt").write_text("c")
    assert len(walk(links).files) == 3


def test_a_file_that_may_not_be_read_is_told(links, monkeypatch):
    """Root may read everything, so the system's answer is made up."""
    monkeypatch.setattr(os, "access", lambda path, how: "train" not in str(path))
    with pytest.raises(StudyError, match="train/a.txt: cannot be read .permission denied"):
        walk(links)


def test_a_folder_that_may_not_be_read_is_told(links, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("train"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StudyError, match="train: cannot be read .Permission denied"):
        walk(links)


ROOT, OUT = Path("in"), Path("out")


def placed(*names, codec=None):
    """Where each of these files may be delivered, below OUT."""
    files = [ROOT / name for name in names]
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(ROOT)}
    chosen = destinations(Tree(tuple(files), tuple(folders)), ROOT, OUT, codec)
    return {file.relative_to(ROOT).as_posix(): {
        path.relative_to(OUT).as_posix() for path in places_of(file, chosen[file], codec)}
        for file in files}


def test_a_file_alone_keeps_its_name_or_changes_its_suffix():
    assert placed("a.mp4", "b.avi", "c.txt", "d") == {
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
    for name, places in placed(*names, codec=codec).items():
        assert (name in longer) == (f"{name}.mp4" in places)


@pytest.mark.parametrize("names", [
    ["a.avi", "a.mp4", "a.avi.mp4"], ["a.avi", "a.mp4/b", "a.avi.mkv/b"]])
def test_what_meets_another_whatever_its_name_is_told(names):
    with pytest.raises(StudyError, match="would be delivered under the name of another file"):
        placed(*names)


def test_a_folder_that_is_there_is_not_delivered_into(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    assert destinations(Tree((ROOT / "a.avi",)), ROOT, tmp_path, None) == {
        ROOT / "a.avi": tmp_path / "a.avi.avi"}


@given(st.lists(st.lists(st.sampled_from(["a", "avi", "mp4", "m4v", "mkv", "txt"]), min_size=1,
                         max_size=4).map(".".join), min_size=1, max_size=8, unique=True),
       st.sampled_from([None, "h264", "hevc", "av1"]))
def test_no_two_files_ever_meet(names, codec):
    try:
        places = placed(*names, codec=codec)
    except StudyError:
        return
    assert sum(map(len, places.values())) == len(set().union(*places.values()))
