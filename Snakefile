# What runs when. How is the stages' business: each rule calls one verb of leanclips.
#
# A rule's output is a mark (work/done/<stage>). Whether a stage is up to date is decided by the key
# in its record: `leanclips run` marks the stages that are, and Snakemake runs the others.
import os
from pathlib import Path

from leanclips.clips import has_pretraining, load_clips
from leanclips.layout import Layout
from leanclips.pipeline import RUN_OF
from leanclips.study import ORIGINALS, SOURCE, Constant, load_study

layout = Layout(Path(os.environ[RUN_OF]))  # --config would read it as YAML
study = load_study(layout.study)
clips = load_clips(layout, study)
rendered = [layout.done("render")] if study.synthetic is not None else []
LEANCLIPS = '"$PYTHON" -m leanclips.cli'


def done(stage):
    return touch(layout.done(stage))


def times(stage):
    return layout.stage_times / f"{stage}.tsv"


def matched(wildcards):
    """The variant whose bytes a constant one matches."""
    variant = study.variants.get(wildcards.variant)
    return [layout.done(f"encode-{variant.bytes_of}")] if isinstance(variant, Constant) else []


def encoded(wildcards):
    stage = "crop" if wildcards.variant == SOURCE else f"encode-{wildcards.variant}"
    source = [] if wildcards.variant == SOURCE else [layout.done(f"features-{SOURCE}")]
    return [layout.done(stage), *source]


def pretrained(wildcards):
    starts = has_pretraining(study, clips, wildcards.variant)
    return [layout.done("pretrain")] if starts else []


wildcard_constraints:
    variant="|".join([*study.all_variants, ORIGINALS]),
    seed=r"\d+",


rule all:
    input:  # the runs build on all other stages
        [layout.done(f"finetune-{variant}-{seed}")
         for variant in study.all_variants for seed in study.finetuning.seeds],
        layout.done(f"encode-{ORIGINALS}"),


rule render:
    output: done("render")
    benchmark: times("render")
    threads: workflow.cores
    shell: LEANCLIPS + " render {layout.study:q} --jobs {threads}"


rule crop:
    input: rendered
    output: done("crop")
    benchmark: times("crop")
    threads: workflow.cores
    shell: LEANCLIPS + " crop {layout.study:q} --jobs {threads}"


rule encode:
    input: layout.done("crop"), matched,
    output: done("encode-{variant}")
    benchmark: times("encode-{variant}")
    threads: workflow.cores
    shell: LEANCLIPS + " encode {layout.study:q} {wildcards.variant} --jobs {threads}"


rule features:
    input: encoded
    output: done("features-{variant}")
    benchmark: times("features-{variant}")
    threads: workflow.cores
    priority: 2  # what takes all cores comes before what leaves some idle
    shell: LEANCLIPS + " features {layout.study:q} {wildcards.variant} --jobs {threads}"


rule pretrain:
    input: layout.done(f"features-{SOURCE}")
    output: done("pretrain")
    benchmark: times("pretrain")
    threads: workflow.cores
    shell: LEANCLIPS + " pretrain {layout.study:q}"


rule finetune:  # it is tested on all variants
    input: [layout.done(f"features-{variant}") for variant in study.encoded], pretrained,
    output: done("finetune-{variant}-{seed}")
    benchmark: layout.stage_times / "finetune" / "{variant}-{seed}.tsv"
    priority: lambda wildcards: 1 if wildcards.variant == SOURCE else 0  # the longest first
    shell:
        LEANCLIPS + " finetune {layout.study:q} --variant {wildcards.variant}"
        " --seed {wildcards.seed}"
