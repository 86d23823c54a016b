"""Every file of a tree is found, once for each way to it, or a person is told."""

import os

import pytest

from leanclips.compression.walk import walk
from leanclips.errors import StudyError


@pytest.fixture
def tree(tmp_path):
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
def test_links_are_followed_and_the_order_is_that_of_the_names(tree, monkeypatch, backwards):
    real = os.walk

    def walked(*told, **options):
        for name, folders, files in real(*told, **options):
            folders.sort(reverse=backwards)
            yield name, folders, files

    monkeypatch.setattr(os, "walk", walked)
    found = walk(tree)
    assert named(found.files, tree) == ["b.txt", "train/a.txt", "val/a.txt"]
    assert named(found.folders, tree) == [".", "empty", "empty/er", "train", "val"]
    assert named(found.others, tree) == ["gone.txt", "pipe"]


@pytest.mark.parametrize("target", ["in", "in/train", ".", "in/val"])
def test_a_link_that_leads_back_is_not_followed(tree, target):
    (tree / "train" / "back").symlink_to(tree.parent / target)
    found = walk(tree)
    assert named(found.files, tree) == ["b.txt", "train/a.txt", "val/a.txt"]
    assert {"train/back", "val/back"} <= set(named(found.others, tree))


def test_two_links_that_lead_to_each_other_end(tree):
    (tree / "empty" / "train").symlink_to(tree / "train")
    (tree / "train" / "empty").symlink_to(tree / "empty")
    assert named(walk(tree).files, tree) == ["b.txt", "empty/train/a.txt", "train/a.txt",
                                             "val/a.txt"]


def test_leanclips_own_folders_are_none_of_the_tree(tree):
    for name in (".leanclips", ".aside-x"):
        (tree / name).mkdir()
        (tree / name / "c.txt").write_text("c")
    assert len(walk(tree).files) == 3


def test_a_file_that_may_not_be_read_is_told(tree, monkeypatch):
    """Root may read everything, so the system's answer is made up."""
    monkeypatch.setattr(os, "access", lambda path, how: "train" not in str(path))
    with pytest.raises(StudyError, match="train/a.txt: cannot be read .permission denied"):
        walk(tree)


def test_a_folder_that_may_not_be_read_is_told(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("train"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StudyError, match="train: cannot be read .Permission denied"):
        walk(tree)
