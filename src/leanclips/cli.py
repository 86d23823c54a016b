"""The command line: each verb of a study, and nothing else."""

import json
import logging
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from leanclips.errors import StudyError, sentence
from leanclips.layout import ROOT, Layout, check_variant, short_name, with_records

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How small can training video get before it costs accuracy? Each verb below is one "
         "stage of a study; 'run' does all of them in order.",
)
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A folder with a study.yml.")]
ClipsFolder = Annotated[Path | None, typer.Option(help="Folder of the clips.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Clips at a time (default: all cores).")]


def _open(study: Path):
    from leanclips.clips import load_clips
    from leanclips.study import load_study

    layout, settings = Layout(study), load_study(study)
    return layout, settings, load_clips(layout, settings)


def _needs_checkout(verb: str) -> None:
    if not (ROOT / "Snakefile").is_file():
        raise StudyError("needs the whole repository of leanclips (Snakefile, notebooks, book, "
                         "data), and only the package is installed", verb,
                         "clone the repository and run 'make study' there")


def _jobs(jobs: int | None) -> int:
    from leanclips.workers import cores

    return jobs or cores()


@app.command()
def run(study: StudyFolder, clips: ClipsFolder = None, jobs: Jobs = None,
        until: Annotated[str | None, typer.Option(
            help="Stop after this stage: render, crop, encode-VARIANT, features-VARIANT, pretrain "
                 "or finetune-VARIANT-SEED.")] = None) -> None:
    """Run all stages of a study that are missing or out of date, up to the book's pages.

    Example: leanclips run data/jhmdb --clips ../shared/clips/jhmdb
    """
    _needs_checkout("run")
    from leanclips import pipeline
    from leanclips.study import load_study

    layout = Layout(study)
    load_study(study)
    pipeline.remember_clips(layout, clips)
    pipeline.run(layout, jobs, [until] if until else [])


@app.command()
def new(folder: Annotated[Path, typer.Argument(help="The folder of the new study.")],
        clips: Annotated[Path, typer.Option(help="A folder with one folder of clips per class.")],
        group_pattern: Annotated[str | None, typer.Option(
            help="Regular expression with (?P<group>…) that finds the recording in a file's "
                 "name. Default: the name without a trailing number; in a class where that "
                 "tells too few, each clip.")] = None,
        group_by_content: Annotated[bool, typer.Option(
            "--group-by-content", help="Look, too: recordings that show the same scene become "
                                       "one.")] = False,
        heldout: Annotated[float | None, typer.Option(
            help="Hold out this share of the clips. Default: none, for cross-validation; 0.24 if "
                 "the folder has a study.yml that says holdout.")] = None,
        pretrain: Annotated[list[str] | None, typer.Option(
            help="A class to pretrain on (repeat for more).")] = None) -> None:
    """Make a study of your own clips.

    Example: leanclips new data/mine --clips ~/videos
    """
    from leanclips.datasets.own import new_study

    for line in new_study(folder, clips, group_pattern=group_pattern, heldout=heldout,
                          pretrain=tuple(pretrain or ()), group_by_content=group_by_content):
        print(line)


@app.command()
def check(study: StudyFolder, clips: ClipsFolder = None,
          forecast: Annotated[bool, typer.Option(
              "--forecast", help="Measure the time and disk that a run takes.")] = False) -> None:
    """Check a study's settings, its table and every clip, before anything runs.

    Example: leanclips check data/mine --forecast
    """
    from leanclips.datasets.own import check_study

    report = check_study(study, clips)
    for line in report.lines():
        print(line)
    if report.problems:
        raise typer.Exit(2)
    if forecast:
        from leanclips.datasets.forecast import forecast as measured

        print(measured(*_open(study), clips))


@app.command()
def render(study: StudyFolder, jobs: Jobs = None) -> None:
    """Render the clips of a synthetic study.

    Example: leanclips render data/demo
    """
    _needs_checkout("render")
    from leanclips.clips import renderer

    renderer().render_all(*_open(study), _jobs(jobs))


@app.command()
def crop(study: StudyFolder, jobs: Jobs = None) -> None:
    """Crop every clip to its square region: the source variant.

    Example: leanclips crop data/demo
    """
    from leanclips.compression.stages import make_variant
    from leanclips.study import SOURCE

    make_variant(*_open(study), SOURCE, _jobs(jobs))


@app.command()
def encode(study: StudyFolder,
           variant: Annotated[str, typer.Argument(help="A variant of study.yml, or 'originals'.")],
           jobs: Jobs = None) -> None:
    """Re-encode the target and held-out clips by the settings of a variant.

    Example: leanclips encode data/demo optimized
    """
    from leanclips.compression.stages import make_variant
    from leanclips.study import ORIGINALS

    layout, settings, clips = _open(study)
    check_variant(layout, (*settings.encoded[1:], ORIGINALS), variant)
    make_variant(layout, settings, clips, variant, _jobs(jobs))


@app.command()
def optimize(
        source: Annotated[Path, typer.Argument(metavar="SRC", help="A clip or a folder.")],
        destination: Annotated[Path, typer.Argument(
            metavar="DST", help="A folder; or, for a single clip, a file such as out.mp4.")],
        target: Annotated[float | None, typer.Option(
            help="Quality of the worst second of each clip, at least. Default: 93 (vmaf), "
                 "96 (vmaf1), 0.98 (ssim), 40 (xpsnr, dB).")] = None,
        metric: Annotated[str, typer.Option(
            help="vmaf (VMAF NEG), vmaf1 (VMAF v1), ssim or xpsnr.")] = "vmaf",
        codec: Annotated[str | None, typer.Option(
            help="h264, hevc or av1. Default: the clip's own of these, or h264.")] = None,
        display_height: Annotated[int | None, typer.Option(
            min=64, max=4320,
            help="Score the clip as shown at this height in pixels. Default: its own.")] = None,
        drift: Annotated[bool, typer.Option(
            "--drift", help="Report how far the features of a network move.")] = False,
        max_drift: Annotated[float | None, typer.Option(
            min=0, max=2,
            help="Largest mean cosine distance of the features that is allowed.")] = None,
        keyframes: Annotated[float, typer.Option(
            help="The longest time from a keyframe to the next, in seconds: the shorter, the "
                 "faster a loader gets at any frame, and the more bytes.")] = 2.0,
        preset: Annotated[str | None, typer.Option(
            help="The encoder's preset; with --codec. Default: medium (6 for av1).")] = None,
        max_bytes_share: Annotated[float, typer.Option(
            help="A clip that would keep more than this share of its bytes stays as it is."
        )] = 0.95,
        keep_names: Annotated[bool, typer.Option(
            "--keep-names", help="Give each file its old name, suffix included, as lists of "
                                 "annotations have it. clip.avi may be an MP4 then, which readers "
                                 "based on FFmpeg find by themselves.")] = False,
        again: Annotated[bool, typer.Option(
            "--again", help="Re-encode also the clips that leanclips made.")] = False,
        only_plan: Annotated[bool, typer.Option(
            "--plan", help="Write nothing: predict bytes, CRF and time from samples of a few "
                           "clips.")] = False,
        as_json: Annotated[bool, typer.Option(
            "--json", help="Print a line of JSON for each file, encode and result on stdout, and "
                           "all other text on stderr.")] = False,
        jobs: Jobs = None) -> None:
    """Make any folder of clips as small as it gets at a quality target.

    Clips that would not gain, or would lose something, are kept, each with its reason; other
    files are copied. DST/report.csv has a row for each file. A stopped run can be started again
    and continues where it was, by what is noted in the hidden folder .DST.leanclips beside DST.
    It holds the reports of a single file, too.

    Example: leanclips optimize ~/videos ~/videos-small --target 93
    """
    from leanclips.compression.ffmpeg import Encoding
    from leanclips.compression.quality import METRICS, Goal
    from leanclips.compression.tree import optimize_tree, plan

    if target is None and metric in METRICS:
        target = METRICS[metric].target
    goal = Goal(target or 0, metric, display_height, max_drift, max_bytes_share)
    network = None
    if drift or max_drift is not None:
        try:
            from leanclips.training.features import feature_drift
        except ImportError as error:
            raise StudyError(f"needs {error.name}", "--drift",
                             "pip install 'leanclips[study]'") from None
        network = feature_drift()
    out = sys.stderr if as_json else sys.stdout

    def tell(event: dict) -> None:
        if as_json:
            print(json.dumps(event, default=str), flush=True)

    what = (source, destination, goal, _jobs(jobs), Encoding(codec, keyframes, preset), network)
    if only_plan:
        return _show_plan(plan(*what, keep_names=keep_names, again=again), _jobs(jobs), tell, out)
    done = optimize_tree(*what, keep_names=keep_names, again=again, tell=tell)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(done.reasons.items()))
    files, saved = f"{done.files} file{'s' * (done.files != 1)}", done.bytes_in - done.bytes_out
    print(f"{files} ({reasons}): {done.bytes_in / 1e6:.1f} MB to {done.bytes_out / 1e6:.1f} MB, "
          f"{saved / max(done.bytes_in, 1):.1%} saved.\nThe report: {done.report}", file=out)
    for told, what, paths in (("Left out", "link{0} or special file{0}", done.left_out),
                              ("Not of this source any more", "file{0}", done.stale)):
        if paths:
            print(f"{told}: {len(paths)} {what.format('s' * (len(paths) > 1))}, the first of them "
                  f"{paths[0]}", file=sys.stderr)
    videos = done.files - done.reasons.get("not-video", 0)
    if 2 * (unreadable := done.reasons.get("unreadable", 0)) > videos:
        print(f"Most videos cannot be read: {unreadable} of {videos}, see the report.",
              file=sys.stderr)
        raise typer.Exit(1)


def _show_plan(planned, jobs: int, tell, out) -> None:
    """Print what is expected, clip by clip, and of the whole."""
    print("  MB now  predicted  seconds  CRF or reason    file", file=out)
    for clip in planned.clips:
        tell({"event": "plan"} | asdict(clip))
        print(f"{clip.bytes_in / 1e6:8.2f} {clip.bytes_out / 1e6:10.2f} {clip.seconds:8.1f}  "
              f"{clip.crf or clip.reason!s:16} {clip.file}", file=out)
    tell({"event": "summary"} | {name: value for name, value in asdict(planned).items()
                                 if name != "clips"})
    now, then = planned.bytes_in / 1e6, planned.bytes_out / 1e6
    print(f"A prediction from {len(planned.clips)} of {planned.videos} videos, about 10 s of each: "
          f"{now:.1f} MB to {then:.1f} MB, {1 - then / max(now, 1e-9):.1%} saved, in about "
          f"{planned.seconds / 60:.1f} minutes with --jobs {jobs}. Nothing was written.", file=out)


@app.command()
def features(study: StudyFolder,
             variant: Annotated[str, typer.Argument(help="'source' or a variant.")],
             jobs: Jobs = None) -> None:
    """Compute the features of a variant's clips with the frozen backbone.

    Example: leanclips features data/demo source
    """
    from leanclips.training.features import make_features

    layout, settings, clips = _open(study)
    check_variant(layout, settings.encoded, variant)
    make_features(layout, settings, clips, variant, _jobs(jobs))


@app.command()
def pretrain(study: StudyFolder) -> None:
    """Train the network on the pretraining clips.

    Example: leanclips pretrain data/demo
    """
    from leanclips.training.origins import stages
    from leanclips.training.pretrain import pretrain as train

    layout, settings, clips = _open(study)
    if any(stage.name == "pretrain" and stage.is_current
           for stage in stages(layout, settings, clips)):
        return print("pretraining: up to date")
    train(layout, settings, clips)


@app.command()
def finetune(study: StudyFolder,
             variant: Annotated[str, typer.Option(help="'source' or a variant.")],
             seed: Annotated[int, typer.Option(min=0)]) -> None:
    """Execute notebooks/finetune.ipynb for one variant and seed, unless its run is up to date.

    Example: leanclips finetune data/demo --variant optimized --seed 3
    """
    _needs_checkout("finetune")
    from leanclips import notebook
    from leanclips.pipeline import is_stage_of

    layout, settings, clips = _open(study)
    check_variant(layout, settings.all_variants, variant)
    what, folder = f"finetune {variant}, seed {seed}", layout.run(variant, seed).resolve()
    if not is_stage_of(layout):  # a run starts what is not up to date
        from leanclips.training.origins import run_stage

        if run_stage(layout, settings, clips, variant, seed).is_current:
            return print(f"{what}: up to date")
    notebook.execute(ROOT / "notebooks" / "finetune.ipynb", folder / "run.ipynb",
                     {"study": short_name(layout), "variant": variant, "seed": seed})
    print(f"{what}: {folder}", flush=True)


@app.command()
def book(study: Annotated[Path | None, typer.Argument(
        metavar="[STUDY]",
        help="Your own study, beside the published ones. Default: the last one.")] = None) -> None:
    """Build the HTML book, unless it is up to date, and print its path, answer and recommendation.

    Example: leanclips book data/demo
    """
    _needs_checkout("book")
    from leanclips.report.book import make_book

    page, headlines = make_book(study)
    for headline in headlines:
        print(f"\n{headline}")
    print(f"\nThe book: {page}")


@app.command()
def recommend(study: StudyFolder,
              margin: Annotated[float | None, typer.Option(
                  min=0.01, max=99, help="In points. Default: the study's own.")] = None) -> None:
    """Say which setting to use, what it costs, and what to run next, from a study's records.

    Example: leanclips recommend data/demo --margin 2
    """
    from leanclips.report import recommend, results

    found = results.load(with_records(study))
    print(*recommend.sentences(found, margin and margin / 100), sep="\n")


@app.command()
def export(study: StudyFolder,
           variant: Annotated[str, typer.Argument(help="'source' or a variant.")],
           folder: Annotated[Path, typer.Argument(metavar="DST", help="A new folder.")]) -> None:
    """Copy a variant's clips to a folder per class, with their folds in manifest.csv.

    Example: leanclips export data/demo optimized ~/demo-small
    """
    from leanclips.datasets.export import export as copy

    table = copy(*_open(study), variant, folder)
    print(f"{len(table)} clips and manifest.csv, which has their folds, are in {folder}.")


def main() -> None:
    """Entry point: what a person can solve is one sentence, with exit status 2."""
    warnings.filterwarnings("ignore", module="papermill|jupyter_client|traitlets|zmq")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        app()
    except (StudyError, OSError, ImportError) as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("leanclips"):
            raise
        print(f"leanclips: {sentence(error)}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # Typer's exit status after Ctrl-C
            print("leanclips: stopped; what is finished is kept.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
