"""A study.yml that cannot work is told in one sentence, naming file and setting."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from leanclips.errors import StudyError
from leanclips.layout import Layout
from leanclips.study import (TAKEN, Constant, CrossValidation, Holdout, Optimized, Primary, Study,
                             load_study, settings_text)

ROOT = Path(__file__).parents[1]


def study_yml(folder: Path, text: str) -> Path:
    (folder / "study.yml").write_text(text, encoding="utf-8")
    return folder


def test_a_title_is_enough_and_the_defaults_are_the_case_study_s(tmp_path):
    study = load_study(study_yml(tmp_path, "title: Mine\n"))
    assert study.all_variants == ("source", "optimized", "constant")
    assert study.variants == {"optimized": Optimized(target=93),
                              "constant": Constant(bytes_of="optimized")}
    assert (study.pretraining.batch_size, study.pretraining.epochs) == (24, 35)
    assert (study.finetuning.batch_size, study.finetuning.epochs) == (4, 30)
    assert study.finetuning.seeds == tuple(range(1, 11))
    assert (study.network.embedding, study.network.decoder) == ((1024, 768, 512), (512, 256))
    assert study.protocol == CrossValidation(folds=5)
    assert study.classifiers == ("linear", "temporal", "crnn")
    assert study.inputs == ("shuffled", "middle", "mean")


@pytest.mark.parametrize("text, problem", [
    ("", "holds no settings"),
    ("- a\n", "holds no settings"),
    ("title: [", "is not readable YAML"),
    ("about: x\n", "title: is missing"),
    ("title: a\nepochs: 3\n", "epochs: there is no such setting; "),
    ("title: a\nbackbone: {nmae: a}\n", "backbone.nmae: there is no such setting; "),
    ("title: a\nsynthetic: {targt: 3}\n", "synthetic.targt: there is no such setting"),
    ("title: a\nfinetuning: {seeds: []}\n", "finetuning.seeds: .* at least 1 item"),
    ("title: a\nfinetuning: {seeds: [1, 1]}\n", "finetuning.seeds: .* each one once"),
    ("title: a\nfinetuning: {batch: 4}\n", "finetuning.batch: there is no such setting"),
    ("title: a\nfinetuning: {validation: 0.2}\n",
     "finetuning.validation: there is no such setting"),
    ("title: a\nprotocol: holdout\n", "protocol: should hold settings by name"),
    ("title: a\nprotocol: {kind: kfold}\n",
     "protocol: kind must be one of cross-validation, holdout; "),
    ("title: a\nprotocol: {folds: 5}\n", "protocol: kind must be one of"),
    ("title: a\nprotocol: {kind: holdout, folds: 5}\n", "protocol.folds: there is no such setting"),
    ("title: a\nprotocol: {kind: holdout, validatoin: 0.2}\n", "protocol.validatoin: there is no su"),
    ("title: a\nprotocol: {kind: holdout, validation: 1}\n", "protocol.validation: .* less than 1"),
    ("title: a\nprotocol: {kind: cross-validation, folds: 1}\n", "protocol.folds: .* equal to 2"),
    ("title: a\nprotocol: {kind: cross-validation, folds: 101}\n", "protocol.folds: .* to 100"),
    ("title: a\nclassifiers: []\n", "classifiers: .* at least 1 item"),
    ("title: a\nclassifiers: [linear, linear]\n", "classifiers: .* each one once"),
    ("title: a\nclassifiers: linear\n", "classifiers: should be a list"),
    ("title: a\nclassifiers: [svm]\n", "classifiers.0: should be 'linear', 'temporal' or 'crnn'"),
    ("title: a\ninputs: [mean, mean]\n", "inputs: .* each one once"),
    ("title: a\ninputs: [backwards]\n", "inputs.0: should be 'shuffled', 'middle' or 'mean'"),
    ("title: a\ndevice: tpu\n", "device: should be 'auto', 'cpu', 'cuda' or 'mps'"),
    ("title: a\nbackbone: {precision: fp16}\n", "backbone.precision: .*'auto', 'fp32' or 'bf16'"),
    ("title: a\nnetwork: {decoder: [512, 0]}\n", "network.decoder.1: .* equal to 1"),
    ("title: a\nprimary: {variant: vendor}\n", "primary: there is no variant 'vendor'"),
    ("title: a\nprimary: {variant: source}\n", "primary: there is no variant 'source'"),
    ("title: a\nprimary: {classifier: svm}\n", "primary.classifier: should be 'linear'"),
    ("title: a\nclassifiers: [linear]\nprimary: {classifier: crnn}\n",
     "primary: 'crnn' is not one of the classifiers"),
    ("title: a\nprimary: {tested_on: both}\n", "primary.tested_on: should be 'own' or 'source'"),
    ("title: a\npretraining: {split: fair}\n", "pretraining.split: .*'group', 'official'"),
    ("title: a\nmargin: 5\n", "margin: .* less than 1"),
    ("title: a\nvariants: {Best: {target: 93}}\n", "variant name 'Best'"),
    ("title: a\nvariants: {source: {target: 93}}\n", "variant name 'source'"),
    ("title: a\nvariants: {rendered: {target: 93}}\n", "variant name 'rendered'"),
    ("title: a\nvariants: {pretrain: {target: 93}}\n", "'pretrain' .* none of source, "),
    ("title: a\nvariants: {../x: {target: 93}}\n", "variant name '../x'"),
    ("title: a\nvariants: {constant: {bytes_of: best}}\n", "bytes_of must name an optimized"),
    ("title: a\nvariants: {best: {target: 193}}\n", "variants.best.target: .* 99.9"),
    ("title: a\nvariants: {best: {traget: 93}}\n", "variants.best: must hold one of target, "),
    ("title: a\nvariants: {best: 93}\n", "variants.best: should hold settings by name"),
    ("title: a\nvariants: {best: {target: 93}, both: {together: [source]}}\n", "at least 2 items"),
    ("title: a\nvariants: {best: {target: 93}, both: {together: [best, lost]}}\n",
     "variant 'both': together must name source or variants .*, and 'lost' is none"),
    ("title: a\nvariants: {best: {target: 93}, one: {together: [source, best]}, "
     "two: {together: [one, best]}}\n", "variant 'two': .* and 'one' is none"),
    ("title: a\nvariants: {best: {target: 93}, both: {together: [source, best]}, "
     "like: {bytes_of: both}}\n", "bytes_of must name an optimized"),
    ("title: a\ncrnn_variants: [source, lost]\n", "crnn_variants: there is no variant 'lost'"),
    ("title: a\ncrnn_variants: [source, source]\n", "crnn_variants: .* each one once"),
    ("title: a\ncrnn_variants: [optimized]\n", "crnn_variants must hold source"),
    ("title: a\ncrnn_variants: [source, constant]\nprimary: {classifier: crnn}\n",
     "primary: 'optimized' is not one of crnn_variants"),
    ("title: a\ngroup_pattern: '(.+)_'\n", "group_pattern: .*<group>"),
    ("title: a\ngroup_pattern: '(?P<group>'\n", "group_pattern: "),
])
def test_a_bad_study_is_told_by_file_and_setting(tmp_path, text, problem):
    with pytest.raises(StudyError, match=problem) as error:
        load_study(study_yml(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'study.yml'}: ")
    assert "\n" not in str(error.value)


def test_the_primary_endpoint_is_the_first_classifier_on_the_first_variant_with_a_target():
    study = Study(title="a", classifiers=("temporal", "linear"), variants={
        "vendor": {"folder": "theirs"}, "small": {"target": 80}, "optimized": {"target": 93}})
    assert study.primary_endpoint == Primary(classifier="temporal", variant="small",
                                             tested_on="own")


def test_the_primary_endpoint_is_as_the_study_names_it():
    study = Study(title="a", primary={"classifier": "crnn", "variant": "constant",
                                      "tested_on": "source"})
    assert study.primary_endpoint == study.primary
    only = Study(title="a", primary={"tested_on": "source"}).primary_endpoint
    assert (only.classifier, only.variant, only.tested_on) == ("linear", "optimized", "source")


def test_no_inputs_beside_the_frames_in_order_may_be_asked_for(tmp_path):
    assert load_study(study_yml(tmp_path, "title: a\ninputs: []\n")).inputs == ()


def test_no_variant_has_the_folder_of_another_thing():
    layout = Layout(Path("data"))
    others = {layout.report("originals").parent, layout.rendered, layout.pretrain}
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


@pytest.mark.parametrize("name", ["demo", "jhmdb", "jhmdb21", "paper", "ucf8"])
def test_the_studies_that_come_along_are_good(name):
    assert load_study(ROOT / "data" / name).title


def test_the_paper_study_has_the_case_study_s_protocol():
    study = load_study(ROOT / "data" / "paper")
    assert (study.backbone.name, study.backbone.weights) == ("resnet152", "IMAGENET1K_V1")
    assert (study.backbone.size, study.sampling.frames) == (224, 28)
    assert (study.pretraining.split, study.pretraining.validation) == ("official", 0.15)
    assert (study.pretraining.batch_size, study.pretraining.epochs) == (24, 35)
    assert (study.finetuning.batch_size, study.finetuning.epochs) == (4, 30)
    assert study.protocol == Holdout(validation=0.24) and len(study.finetuning.seeds) == 10
    assert study.pretraining.learning_rate == study.finetuning.learning_rate == 1e-3
    assert study.network.decoder == (512, 256)
    assert study.primary_endpoint.classifier == "crnn"


SOME = """\
title: a
variants: {t93: {target: 93}, t85: {target: 85}, both: {together: [source, t85]}}
crnn_variants: [source, t85]
"""


def test_the_crnn_may_be_trained_on_some_variants_only(tmp_path):
    study = load_study(study_yml(tmp_path, SOME))
    assert study.trained_on("crnn") == ("source", "t85")
    assert study.trained_on("linear") == study.all_variants == ("source", "t93", "t85", "both")
    assert study.classifiers_of("t85") == ("linear", "temporal", "crnn")
    assert study.classifiers_of("t93") == ("linear", "temporal")
    assert Study(title="a").trained_on("crnn") == ("source", "optimized", "constant")


def test_a_variant_trained_on_several_has_no_clips_and_the_kind_of_the_last(tmp_path):
    study = load_study(study_yml(tmp_path, SOME))
    assert study.encoded == ("source", "t93", "t85")
    assert (study.parts("both"), study.own_kind("both")) == (("source", "t85"), "t85")
    assert (study.parts("t93"), study.own_kind("t93")) == (("t93",), "t93")


@pytest.mark.parametrize("study", [
    Study(title="A 'study' # 1: ü", clips="/a b", group_pattern=r"(?P<group>.+)_\d: '\""),
    Study(title="B", protocol=Holdout(validation=0.3), margin=0.125, variants={
        "tiny": Optimized(target=60.5, codec="av1"), "same": Constant(bytes_of="tiny")})])
def test_a_written_study_yml_says_the_same_with_a_line_of_help_over_each_setting(tmp_path, study):
    text = settings_text(study)
    assert load_study(study_yml(tmp_path, text)) == study
    lines = text.splitlines()
    settings = [n for n, line in enumerate(lines) if not line.strip().startswith("#")
                and not line.strip().startswith(tuple(f"{name}: {{" for name in study.variants))]
    assert len(settings) > 30
    assert all(lines[n - 1].strip().startswith("# ") for n in settings)
    assert max(map(len, (line for line in lines if line.strip().startswith("#")))) <= 100


def test_the_schema_knows_what_the_settings_know():
    schema = Study.model_json_schema()
    for path in [*ROOT.glob("data/*/study.yml"), *ROOT.glob("data/*/published/study.yml")]:
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    for wrong in ({}, {"title": "a", "epochs": 3}, {"title": "a", "margin": 2},
                  {"title": "a", "variants": {"x": {"target": 93, "codec": "vp9"}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert "worst second" in schema["$defs"]["Optimized"]["properties"]["target"]["description"]
