"""A variant's clips in a folder of their own: what is in it, and who can train on it."""

import re
import shutil
import sys

import pandas as pd
import pytest

from leanclips import cli
from leanclips.clips import load_clips, tested_clips
from leanclips.files import file_sha256
from leanclips.layout import ROOT
from leanclips.records import read_csv
from leanclips.rounds import rounds
from leanclips.study import load_study

FOLDS = "protocol: {kind: cross-validation, folds: 3}"


@pytest.fixture
def study(finished_study):
    """The layout of a study whose clips are made, cross-validated, with a variant of two others."""
    settings = finished_study.settings.read_text()
    settings = settings.replace("protocol: {kind: holdout, validation: 0.24}", FOLDS).replace(
        "sampling:", "  both: {together: [source, optimized]}\nsampling:", 1)
    finished_study.settings.write_text(settings)
    return finished_study


@pytest.fixture
def export(study, monkeypatch, capfd):
    """`export(variant, folder)`: exit status, stdout, stderr."""
    def run(variant, folder):
        monkeypatch.setattr(sys, "argv", ["leanclips", "export", str(study.study), variant,
                                          str(folder)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capfd.readouterr()

    return run


@pytest.mark.parametrize("variant", ["source", "optimized"])
def test_the_manifest_tells_what_is_in_the_tree(study, export, tmp_path, variant):
    code, out, _ = export(variant, tmp_path / "out")
    assert code == 0 and "12 clips and manifest.csv" in out
    settings, table = load_study(study.study), pd.read_csv(tmp_path / "out" / "manifest.csv")
    clips = {clip.id: clip for clip in load_clips(study, settings)}
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert files == {*table["file"], "manifest.csv"}
    assert len(table) == len(tested_clips(clips.values()))
    report = read_csv(study.report(variant)).set_index("clip")
    tested = {clip.id: one.number for one in rounds(list(clips.values()), settings.protocol, 1)
              for clip in one.test}
    for row in table.itertuples():
        path = tmp_path / "out" / row.file
        clip = clips[path.stem]
        assert (path.parent.name, row.label, row.recording) == (clip.label, clip.label, clip.group)
        assert path.read_bytes() == study.made_clip(variant, clip.id).read_bytes()
        assert (row.bytes, row.sha256) == (path.stat().st_size, file_sha256(path))
        assert (row.fold, row.seed) == (tested[clip.id], 1)
        assert row.quality == report.at[clip.id, "quality"] or variant == "source"
    assert table["quality"].isna().all() == (variant == "source")
    assert table.groupby("recording")["fold"].nunique().max() == 1


def test_under_holdout_the_held_out_clips_are_the_only_fold(study, export, tmp_path):
    settings = study.settings.read_text().replace(FOLDS, "protocol: {kind: holdout}")
    study.settings.write_text(settings)
    assert export("constant", tmp_path / "out")[0] == 0
    folds = pd.read_csv(tmp_path / "out" / "manifest.csv")["fold"]
    assert folds.value_counts().to_dict() == {0: 8, 1: 4}


def test_a_variant_without_clips_of_its_own_is_refused_in_one_sentence(export, tmp_path):
    code, _, err = export("both", tmp_path / "out")
    assert code == 2 and "there is no variant 'both'; use one of source, optimized, const" in err
    assert err.count("\n") == 1 and not (tmp_path / "out").exists()


def changed_clip(study):
    with study.made_clip("optimized", "a-002").open("ab") as file:
        file.write(b"\0")


def changed_target(study):
    study.settings.write_text(study.settings.read_text().replace("{target: 80}", "{target: 81}"))


@pytest.mark.parametrize("spoil, said", [
    (changed_clip, "the clip is not the one that its report tells of"),
    (changed_target, "target was 80.0 and is 81.0"),
    (lambda study: shutil.rmtree(study.work / "clips" / "optimized"), "run the study first"),
])
def test_clips_that_do_not_match_the_study_leave_nothing(study, export, tmp_path, spoil, said):
    spoil(study)
    (tmp_path / "new").mkdir()
    code, _, err = export("optimized", tmp_path / "new" / "out")
    assert code == 2 and said in err and err.count("\n") == 1
    assert not list((tmp_path / "new").iterdir())


def test_nothing_is_overwritten(export, tmp_path):
    (tmp_path / "mine").mkdir()
    assert export("source", tmp_path / "mine")[0] == 0  # it was empty
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*")}
    (tmp_path / "file").write_text("mine")
    for folder in ("mine", "file"):
        code, _, err = export("optimized", tmp_path / folder)
        assert code == 2 and "holds something already; name a new folder" in err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*")}


@pytest.mark.slow
def test_the_example_of_the_book_trains_on_it(export, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "book" / "run.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.S)[1]
    folder = re.search(r"leanclips export \S+ \S+ (\S+)", page)[1]
    assert export("optimized", folder)[0] == 0
    exec(compile(example, "run.md", "exec"), {})
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["fold 1", "fold 2", "fold 3"]
    assert sum(int(line.split()[4]) for line in lines) == 12
