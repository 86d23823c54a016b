"""A study.yml that cannot work is told in one sentence, naming file and setting."""

from pathlib import Path

import pytest

from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.study import TAKEN, Constant, Optimized, Study, load_study

ROOT = Path(__file__).parents[1]


def study_yml(folder: Path, text: str) -> Path:
    (folder / "study.yml").write_text(text, encoding="utf-8")
    return folder


def test_a_title_is_enough_and_the_defaults_are_the_case_study_s(tmp_path):
    study = load_study(study_yml(tmp_path, "title: Mine\n"))
    assert study.all_variants == ("source", "optimized", "constant")
    assert study.variants == {"optimized": Optimized(target=93),
                              "constant": Constant(bytes_of="optimized")}
    assert (study.pretraining.batch, study.pretraining.epochs) == (24, 35)
    assert (study.finetuning.batch, study.finetuning.epochs) == (4, 30)
    assert study.finetuning.seeds == tuple(range(1, 11))
    assert study.network.embedding == (1024, 768, 512)


@pytest.mark.parametrize("text, problem", [
    ("", "holds no settings"),
    ("- a\n", "holds no settings"),
    ("title: [", "is not readable YAML"),
    ("about: x\n", "title: is missing"),
    ("title: a\nepochs: 3\n", "epochs: there is no such setting; "),
    ("title: a\nbackbone: {nmae: a}\n", r"backbone.nmae: there is no such .* \(is it 'name'\?"),
    ("title: a\nsynthetic: {targt: 3}\n", r"synthetic.targt: .* \(is it 'target'\?"),
    ("title: a\nfinetuning: {seeds: []}\n", "finetuning.seeds: .* at least one seed"),
    ("title: a\nfinetuning: {seeds: [1, 1]}\n", "finetuning.seeds: .* each once"),
    ("title: a\nfinetuning: {validation: 1}\n", "finetuning.validation: .* less than 1"),
    ("title: a\npretraining: {split: fair}\n", "pretraining.split: .*'group', 'official'"),
    ("title: a\nmargin: 5\n", "margin: .* less than 1"),
    ("title: a\nvariants: {Best: {target: 93}}\n", "variant name 'Best'"),
    ("title: a\nvariants: {source: {target: 93}}\n", "variant name 'source'"),
    ("title: a\nvariants: {rendered: {target: 93}}\n", "variant name 'rendered'"),
    ("title: a\nvariants: {views: {target: 93}}\n", "variant name 'views' .* none of source, "),
    ("title: a\nvariants: {../x: {target: 93}}\n", "variant name '../x'"),
    ("title: a\nvariants: {constant: {bytes_of: best}}\n", "bytes_of must name an optimized"),
    ("title: a\nvariants: {best: {target: 193}}\n", "variants.best.target: .* 99.9"),
    ("title: a\nvariants: {best: {traget: 93}}\n", "variants.best: must hold one of target, "),
    ("title: a\nvariants: {best: 93}\n", "variants.best: should hold settings by name"),
    ("title: a\ngroup_pattern: '(.+)_'\n", "group_pattern: .*<group>"),
    ("title: a\ngroup_pattern: '(?P<group>'\n", "group_pattern: "),
])
def test_a_bad_study_is_told_by_file_and_setting(tmp_path, text, problem):
    with pytest.raises(StudyError, match=problem) as error:
        load_study(study_yml(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'study.yml'}: ")
    assert "\n" not in str(error.value)


def test_no_variant_s_folder_is_another_thing_s():
    layout = Layout(Path("data"))
    others = {layout.report("originals").parent, layout.rendered, layout.pretrain,
              layout.views(1).parent}
    for name in TAKEN:
        others -= {layout.report(name).parent, layout.run(name, 1).parent}
    assert not others


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(StudyError, match="there is no such study; .* 'leanclips new'"):
        load_study(tmp_path)


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    path = study_yml(tmp_path, "title: a\n") / "study.yml"
    with pytest.raises(StudyError, match=f"study.yml: is a file; name the folder, {tmp_path}"):
        load_study(path)


def test_yaml_cannot_run_code(tmp_path):
    with pytest.raises(StudyError, match="is not readable YAML"):
        load_study(study_yml(tmp_path, "title: !!python/object/apply:os.getcwd []\n"))


def test_a_study_cannot_be_changed_by_the_way():
    with pytest.raises(ValueError, match="frozen"):
        Study(title="a").title = "b"


@pytest.mark.parametrize("name", ["jhmdb", "paper"])
def test_the_studies_that_come_along_are_good(name):
    assert load_study(ROOT / "data" / name).title


def test_the_paper_study_has_the_case_study_s_protocol():
    study = load_study(ROOT / "data" / "paper")
    assert (study.backbone.name, study.backbone.weights) == ("resnet152", "IMAGENET1K_V1")
    assert (study.backbone.size, study.sampling.frames) == (224, 28)
    assert (study.pretraining.split, study.pretraining.validation) == ("official", 0.15)
    assert (study.pretraining.batch, study.pretraining.epochs) == (24, 35)
    assert (study.finetuning.batch, study.finetuning.epochs) == (4, 30)
    assert study.finetuning.validation == 0.24 and len(study.finetuning.seeds) == 10
    assert study.pretraining.rate == study.finetuning.rate == 1e-3
