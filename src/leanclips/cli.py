"""The command line: each verb of a study, and nothing else."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from leanclips.errors import StudyError, of_system
from leanclips.layout import ROOT, Layout, check_variant, short_name

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How small can training video get before it costs accuracy? Each verb below is one "
         "stage of a study; 'run' does all of them in order.",
)
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A folder with a study.yml.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Clips at a time (default: all cores).")]


def _open(study: Path):
    from leanclips.clips import load_clips
    from leanclips.study import load_study

    layout = Layout(study)
    return layout, load_study(study), load_clips(layout)


def _jobs(jobs: int | None) -> int:
    from leanclips.workers import cores

    return jobs or cores()


def _leaks(settings, clips) -> str:
    """What is said beside the numbers of a study whose pretraining leaks recordings."""
    from leanclips.leaks import pretraining_leaks

    return " (the pretraining leaks recordings)" if pretraining_leaks(clips, settings) else ""


@app.command()
def run(study: StudyFolder,
        clips: Annotated[Path | None, typer.Option(help="Folder of the clips.")] = None,
        jobs: Jobs = None,
        until: Annotated[str | None, typer.Option(
            help="Stop after this stage (render, crop, originals, pretrain or crosstest) or once "
                 "this file is made.")] = None) -> None:
    """Bring a whole study up to date, up to the book's pages.

    Example: leanclips run data/jhmdb --clips ../shared/clips/jhmdb
    """
    from leanclips import pipeline
    from leanclips.study import load_study

    layout = Layout(study)
    load_study(study)
    pipeline.remember_clips(layout, clips)
    pipeline.run(layout, jobs, [until] if until else [])


@app.command()
def new(folder: Annotated[Path, typer.Argument(help="The study's folder, to be made.")],
        clips: Annotated[Path, typer.Option(help="A folder with one folder of clips per class.")],
        group_pattern: Annotated[str | None, typer.Option(
            help="Regular expression with (?P<group>…) that finds the recording in a file's "
                 "name. Default: the name less a trailing number.")] = None,
        heldout: Annotated[float, typer.Option(help="Share of clips held out.")] = 0.24,
        pretrain: Annotated[list[str] | None, typer.Option(
            help="A class to pretrain on (repeat for more).")] = None) -> None:
    """Make a study of your own clips.

    Example: leanclips new data/mine --clips ~/videos
    """
    from leanclips.datasets.own import new_study

    for line in new_study(folder, clips, group_pattern=group_pattern, heldout=heldout,
                          pretrain=tuple(pretrain or ())):
        print(line)


@app.command()
def check(study: StudyFolder,
          clips: Annotated[Path | None, typer.Option(help="Folder of the clips.")] = None) -> None:
    """Say in plain words what is wrong with a study's clips, before anything runs.

    Example: leanclips check data/mine
    """
    from leanclips.datasets.own import check_study

    report = check_study(study, clips)
    for line in report.lines():
        print(line)
    if report.problems:
        raise typer.Exit(2)


@app.command()
def fetch(dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Only 'jhmdb'.")],
          folder: Annotated[Path, typer.Option(help="Where the clips go.")] = Path(
              "data/jhmdb/clips"),
          url: Annotated[str | None, typer.Option(help="Another place to download from.")] = None
          ) -> None:
    """Download a data set from its official site, resuming and checking every clip.

    Example: leanclips fetch jhmdb
    """
    from leanclips.datasets import jhmdb

    if dataset != "jhmdb":
        raise StudyError("this data set cannot be fetched", dataset, "use 'jhmdb'")
    jhmdb.fetch(folder, **({"url": url} if url else {}))
    print(f"The J-HMDB clips are complete in {folder}.")


@app.command()
def render(study: StudyFolder, jobs: Jobs = None) -> None:
    """Render the clips of a synthetic study.

    Example: leanclips render data/demo
    """
    from leanclips.datasets.rendering import render_all

    layout, settings, clips = _open(study)
    render_all(layout, settings, clips, _jobs(jobs))


@app.command()
def crop(study: StudyFolder, jobs: Jobs = None) -> None:
    """Cut the square region of every clip: the source variant.

    Example: leanclips crop data/demo
    """
    from leanclips.compression.variants import make_source

    layout, settings, clips = _open(study)
    make_source(layout, settings, clips, _jobs(jobs))


@app.command()
def encode(study: StudyFolder,
           variant: Annotated[str, typer.Argument(help="A variant of study.yml, or 'originals'.")],
           jobs: Jobs = None) -> None:
    """Re-encode the target and held-out clips as a variant says.

    Example: leanclips encode data/demo optimized
    """
    from leanclips.compression.variants import make_originals, make_variant
    from leanclips.study import ORIGINALS

    layout, settings, clips = _open(study)
    if variant == ORIGINALS:
        make_originals(layout, settings, clips, _jobs(jobs))
    elif variant in settings.variants:
        make_variant(layout, settings, clips, variant, _jobs(jobs))
    else:
        raise StudyError(f"there is no variant '{variant}' to encode", layout.settings,
                         f"use one of {', '.join([*settings.variants, ORIGINALS])}")


@app.command()
def optimize(source: Annotated[Path, typer.Argument(metavar="SRC", help="A clip or a folder.")],
             destination: Annotated[Path, typer.Argument(metavar="DST", help="A folder.")],
             target: Annotated[float | None, typer.Option(
                 help="What the worst second of each clip has to hold. Default: 93 (vmaf), "
                      "0.98 (ssim), 40 (xpsnr, dB).")] = None,
             metric: Annotated[str, typer.Option(help="vmaf (VMAF NEG), ssim or xpsnr.")] = "vmaf",
             codec: Annotated[str | None, typer.Option(
                 help="h264, hevc or av1. Default: the clip's own of these, or h264.")] = None,
             display_height: Annotated[int | None, typer.Option(
                 min=64, max=4320, help="Score the clip as shown at this height in pixels. "
                                        "Default: its own.")] = None,
             drift: Annotated[bool, typer.Option(
                 "--drift", help="Report how far the features of a network move.")] = False,
             max_drift: Annotated[float | None, typer.Option(
                 min=0, max=2, help="Largest mean cosine distance of the features that is "
                                    "allowed.")] = None,
             jobs: Jobs = None) -> None:
    """Make any folder of clips as small as it gets at a quality target.

    Clips that would not gain, or would lose something, are kept, each with its reason; other
    files are copied. DST/report.csv has a row for each. Stop it whenever you like: started
    again, it goes on where it was.

    Example: leanclips optimize ~/videos ~/videos-small --target 93
    """
    from leanclips.analysis.formats import several
    from leanclips.compression.codec import CODECS
    from leanclips.compression.quality import METRICS, Goal
    from leanclips.compression.tree import optimize_tree

    if metric not in METRICS or codec not in (None, *CODECS):
        raise StudyError(f"there is no '{codec if metric in METRICS else metric}'", "optimize",
                         f"use --metric {'|'.join(METRICS)} and --codec {'|'.join(CODECS)}")
    target = METRICS[metric].target if target is None else target
    if not 0 < target <= METRICS[metric].largest:
        raise StudyError(f"the target {target:g} is not on the scale of {metric}", "--target",
                         f"use a value above 0, at most {METRICS[metric].largest:g}")
    network = None
    if drift or max_drift is not None:
        from leanclips.recognition.drift import FeatureDrift
        from leanclips.recognition.precision import note_slow_precision

        note_slow_precision()
        network = FeatureDrift()
    done = optimize_tree(source, destination, Goal(target, metric, display_height, max_drift),
                         _jobs(jobs), codec, network)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(done.reasons.items()))
    saved = done.bytes_in - done.bytes_out
    print(f"{several(done.files, 'file')} ({reasons}): {done.bytes_in / 1e6:.1f} MB to "
          f"{done.bytes_out / 1e6:.1f} MB, {saved / max(done.bytes_in, 1):.1%} saved.\n"
          f"The report: {done.report}")
    if done.left_out:
        print(f"Left out: {several(len(done.left_out), 'link or special file')}, the first of them "
              f"{done.left_out[0]}", file=sys.stderr)


@app.command()
def features(study: StudyFolder,
             variant: Annotated[str, typer.Argument(help="'source' or a variant.")],
             jobs: Jobs = None) -> None:
    """Put a variant's clips through the frozen backbone.

    Example: leanclips features data/demo source
    """
    from leanclips.recognition.features import make_features

    layout, settings, clips = _open(study)
    check_variant(layout, settings.all_variants, variant)
    make_features(layout, settings, clips, variant, _jobs(jobs))


@app.command()
def pretrain(study: StudyFolder) -> None:
    """Train the network on the pretraining clips.

    Example: leanclips pretrain data/demo
    """
    from leanclips.recognition.runs import pretrain as train

    layout, settings, clips = _open(study)
    done = train(layout, settings, clips)
    if done is not None:
        score = done.result.classifiers["crnn"].last
        print(f"pretraining: {score.validation_accuracy:.1%} of the validation clips right"
              f"{_leaks(settings, clips)}")


@app.command()
def finetune(study: StudyFolder,
             variant: Annotated[str, typer.Option(help="'source' or a variant.")],
             seed: Annotated[int, typer.Option(min=0)]) -> None:
    """Execute notebooks/finetune.ipynb for one variant and seed.

    Example: leanclips finetune data/demo --variant optimized --seed 3
    """
    from leanclips import notebook
    from leanclips.records import read_result

    layout, settings, clips = _open(study)
    check_variant(layout, settings.all_variants, variant)
    folder = layout.run(variant, seed).resolve()
    notebook.execute(ROOT / "notebooks" / "finetune.ipynb", folder / "run.ipynb",
                     {"study": short_name(layout), "variant": variant, "seed": seed})
    scores = read_result(folder / "result.json").classifiers
    shown = ", ".join(f"{name} {result.last.validation_accuracy:.1%}"
                      for name, result in scores.items())
    print(f"finetune {variant}, seed {seed}: validation {shown}{_leaks(settings, clips)}",
          flush=True)


@app.command()
def views(study: StudyFolder, seed: Annotated[int, typer.Option(min=0)]) -> None:
    """Train and test on something else than the frames in order: is time needed?

    shuffled: each clip's frames in a random order; middle: the middle frame alone; mean: the
    mean over frames. Source clips, paired with the source run of the same seed.

    Example: leanclips views data/demo --seed 3
    """
    from leanclips.recognition.views import train_on_views

    layout, settings, clips = _open(study)
    table = train_on_views(layout, settings, clips, seed)
    crnn = table[(table["epoch"] == "last") & (table["classifier"] == "crnn")]
    right = (crnn["label"] == crnn["predicted"]).groupby(crnn["view"], sort=False).mean()
    shown = ", ".join(f"{view} {share:.1%}" for view, share in right.items())
    print(f"views, seed {seed}: held-out crnn {shown}{_leaks(settings, clips)}", flush=True)


@app.command()
def crosstest(study: StudyFolder, jobs: Jobs = None) -> None:
    """Test every trained classifier on every variant's held-out clips.

    Example: leanclips crosstest data/demo
    """
    from leanclips.recognition.crosstest import crosstest as test

    test(*_open(study), _jobs(jobs))


Shown = Annotated[Path | None, typer.Argument(
    metavar="[STUDY]", help="Your own study, shown beside the published one. Default: the "
                               "one shown last.")]


@app.command()
def results(study: Shown = None) -> None:
    """Write the book's pages: figures, tables and every number, from the run records.

    Example: leanclips results data/demo
    """
    from leanclips import bookmaking

    bookmaking.write_pages(study)
    print(f"The pages: {bookmaking.GENERATED}")


@app.command()
def book(study: Shown = None) -> None:
    """Build the HTML book, unless it is up to date, and print its path and its answer.

    Example: leanclips book data/demo
    """
    from leanclips import bookmaking

    page, headlines = bookmaking.make_book(study)
    for headline in headlines:
        print(f"\n{headline}")
    print(f"\nThe book: {page}")


@app.command()
def publish(study: StudyFolder) -> None:
    """Copy a study's run records (no clips, no weights) to its folder 'published'.

    Example: leanclips publish data/jhmdb
    """
    from leanclips.publish import publish as copy

    copied = copy(Layout(study))
    print(f"{copied} files are in {Layout(study).published}.")


def main() -> None:
    """Entry point: a StudyError is one sentence and exit status 2."""
    warnings.filterwarnings("ignore", module="papermill|jupyter_client|traitlets|zmq")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        app()
    except StudyError as error:
        print(f"leanclips: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # how Typer ends on Ctrl-C
            print("leanclips: stopped; what is finished is kept.", file=sys.stderr)
        raise
    except OSError as error:
        print(f"leanclips: {of_system(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
