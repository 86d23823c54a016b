# What runs when. How is the stages' business: each rule calls one verb of leanclips.
#
# Rules depend on small tables that hold hashes, and on the settings they use (params), never on
# study.yml itself (but for the last, which keeps it): editing one setting redoes only what depends
# on it.
import os
from pathlib import Path

from leanclips.clips import load_clips, pretraining_clips
from leanclips.layout import Layout
from leanclips.pipeline import RUN_OF
from leanclips.study import SOURCE, Constant, External, Optimized, load_study

layout = Layout(Path(os.environ[RUN_OF]))  # --config would read it as YAML
study = load_study(layout.study)
clips = load_clips(layout)
backbone = study.backbone.name
pretrained = [layout.pretrain / "result.json", layout.pretrain / "history.csv"]
pretrained = pretrained if pretraining_clips(clips) else []
runs = [layout.run(variant, seed) / "result.json"
        for variant in study.all_variants for seed in study.finetuning.seeds]
# A view is a frozen backbone's: beside a network that trains its backbone it says nothing.
views = [] if study.finetuning.finetune_backbone else [
    layout.views(seed) for seed in study.finetuning.seeds]
LEANCLIPS = '"$PYTHON" -m leanclips.cli'


def times(stage):
    return layout.stage_times / f"{stage}.tsv"


def parents(wildcards):
    """What a variant is made from: the crops; for the control, the variant it matches; for
    another tool's files, those."""
    variant = study.variants.get(wildcards.variant)
    more = [layout.report(variant.bytes_of)] if isinstance(variant, Constant) else []
    if isinstance(variant, External):
        more = sorted(path for path in (layout.study / variant.folder).rglob("*")
                      if path.is_file())
    return [layout.report(SOURCE), *more]


def settings_of(wildcards):
    return study.variants[wildcards.variant].model_dump_json()


wildcard_constraints:
    variant="|".join(study.all_variants),
    seed=r"\d+",


rule all:
    input: layout.ran_with


rule ran_with:
    input: layout.settings, runs, views, layout.crosstest, layout.report("originals"),
    output: layout.ran_with
    shell: "cp {input[0]:q} {output:q}"


if study.synthetic is not None:
    rule render:
        input: layout.table
        output: touch(layout.rendered / "rendered.txt")
        params: study.synthetic.model_dump_json()
        benchmark: times("render")
        threads: workflow.cores
        shell: LEANCLIPS + " render {layout.study:q} --jobs {threads}"


rule crop:
    input: layout.table, rules.render.output if study.synthetic is not None else [],
    output: layout.report(SOURCE)
    benchmark: times("crop")
    threads: workflow.cores
    shell: LEANCLIPS + " crop {layout.study:q} --jobs {threads}"


rule originals:
    input: layout.report(SOURCE)  # the same clips are there and sound
    output: layout.report("originals")
    params: [v.model_dump_json() for v in study.variants.values() if isinstance(v, Optimized)][:1]
    benchmark: times("originals")
    threads: workflow.cores
    shell: LEANCLIPS + " encode {layout.study:q} originals --jobs {threads}"


rule encode:
    input: parents
    output: layout.work / "clips" / "{variant}" / "report.csv"
    wildcard_constraints: variant="|".join(study.variants)  # source has a rule of its own
    params: settings_of
    benchmark: layout.stage_times / "encode-{variant}.tsv"
    threads: workflow.cores
    shell: LEANCLIPS + " encode {layout.study:q} {wildcards.variant} --jobs {threads}"


rule features:
    input:
        layout.work / "clips" / "{variant}" / "report.csv",
        lambda wildcards: [] if wildcards.variant == SOURCE else
            layout.feature_index(backbone, SOURCE),
    output: layout.work / "features" / backbone / "{variant}.csv"
    params: study.backbone.model_dump_json(), study.sampling.model_dump_json(),
    benchmark: layout.stage_times / "features-{variant}.tsv"
    threads: workflow.cores
    priority: 2  # what takes all cores comes before what leaves some idle
    shell: LEANCLIPS + " features {layout.study:q} {wildcards.variant} --jobs {threads}"


rule pretrain:
    input: layout.feature_index(backbone, SOURCE)
    output: layout.pretrain / "result.json", layout.pretrain / "history.csv",
    params: study.pretraining.model_dump_json(), study.network.model_dump_json(),
    benchmark: times("pretrain")
    threads: workflow.cores
    shell: LEANCLIPS + " pretrain {layout.study:q}"


rule finetune:
    input: layout.work / "features" / backbone / "{variant}.csv", pretrained,
    output:
        multiext(str(layout.work / "runs" / "{variant}" / "seed-{seed}") + "/",
                 "result.json", "history.csv", "predictions.csv", "model.safetensors",
                 "run.ipynb"),
    params: study.finetuning.model_dump_json(exclude={"seeds"}), study.network.model_dump_json(),
    benchmark: layout.stage_times / "finetune" / "{variant}-{seed}.tsv"
    # A network that trains its backbone takes the memory of many: one at a time.
    threads: workflow.cores if study.finetuning.finetune_backbone else 1
    shell: LEANCLIPS + " finetune {layout.study:q} --variant {wildcards.variant} --seed {wildcards.seed}"


rule views:
    input: layout.feature_index(backbone, SOURCE), pretrained,
    output: layout.work / "runs" / "views" / "seed-{seed}.csv"
    params: study.finetuning.model_dump_json(exclude={"seeds"}), study.network.model_dump_json(),
    benchmark: layout.stage_times / "views" / "{seed}.tsv"
    priority: 1  # the longest first
    shell: LEANCLIPS + " views {layout.study:q} --seed {wildcards.seed}"


rule crosstest:
    input:
        runs,
        [layout.feature_index(backbone, variant) for variant in study.all_variants],
    output: layout.crosstest
    benchmark: times("crosstest")
    threads: workflow.cores
    shell: LEANCLIPS + " crosstest {layout.study:q} --jobs {threads}"
