"""Which measure of quality foretells the loss of accuracy?

    python tests/benchmarks/foretell.py data/jhmdb21 data/ucf8

Of each finished study, every clip of every variant is scored by SSIM, XPSNR and VMAF v1 besides
VMAF NEG and the features' drift, which its reports have; the scores are kept in work/scores, so a
stopped run goes on. Two questions then, for each measure and classifier:

variants    rank correlation (Spearman), over the variants, of the mean score with the accuracy
            that is lost against the source (each network trained and tested on its own kind)
clips       rank correlation, over the clips of one variant, of the score with the share of seeds
            in which the clip's answer is another than the source's network gives to the source
            clip; the mean over variants

90% intervals from 2,000 resamples of the recordings. The sign is turned so that 1 is a perfect
forecast. Writes foretell.csv beside this file (the book shows it) and prints it. `--scores-only`
stops before the questions, for a study without runs.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from common import show
from scipy.stats import rankdata

from leanclips.clips import load_clips, tested_clips
from leanclips.compression.inspect import inspect
from leanclips.compression.quality import Goal, measure, timeline
from leanclips.layout import Layout
from leanclips.records import IN_ORDER, LAST, read_csv, write_csv
from leanclips.report import measures, results
from leanclips.study import SOURCE, load_study
from leanclips.workers import cores, run_all

OTHERS = ("ssim", "xpsnr", "vmaf1")
NAMES = {"vmaf_worst": "VMAF NEG, worst second", "vmaf_mean": "VMAF NEG, mean",
         "vmaf1_worst": "VMAF v1, worst second", "vmaf1_mean": "VMAF v1, mean",
         "ssim_worst": "SSIM, worst second", "ssim_mean": "SSIM, mean",
         "xpsnr_worst": "XPSNR, worst second", "xpsnr_mean": "XPSNR, mean",
         "drift": "feature drift", "bytes": "bytes"}
BAD_IF_HIGH = {"drift"}
RESAMPLES = 2_000
RANDOM_SEED = 20_261_128


def scored(layout: Layout, variant: str, clip: str) -> dict[str, object]:
    """The worst second and the mean of one clip, by each of the other metrics."""
    made, source = layout.made_clip(variant, clip), layout.made_clip(SOURCE, clip)
    was = inspect(source)
    row: dict[str, object] = {"clip": clip}
    for name in OTHERS:
        found = measure(made, source, timeline(was.times, was.cuts), Goal(50, name))
        row |= {f"{name}_worst": found.worst, f"{name}_mean": found.mean}
    return row


def scores(layout: Layout, variant: str) -> pd.DataFrame:
    """The rows of `scored` of all clips of a variant, read where they were written before."""
    path = layout.work / "scores" / f"{variant}.csv.gz"
    if not path.is_file():
        clips = [clip.id for clip in tested_clips(load_clips(layout, load_study(layout.study)))]
        rows = run_all(partial(scored, layout, variant), clips, cores(), f"scores of {variant}")
        write_csv(path, pd.DataFrame(rows))
    return read_csv(path)


def foretellers(found: results.Results, variant: str) -> pd.DataFrame:
    """What might foretell the loss, in the order of the test clips, higher is better."""
    report = found.report(variant).set_index("clip").loc[[clip.id for clip in found.tested]]
    table = scores(found.layout, variant).set_index("clip").loc[report.index]
    table = table.assign(vmaf_worst=report["quality"], vmaf_mean=report["quality_mean"],
                         drift=report["drift"], bytes=np.log(report["bytes_out"].astype(float)))
    return table[list(NAMES)].astype(float) * [-1 if name in BAD_IF_HIGH else 1 for name in NAMES]


def correlation(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Spearman's, along the last axis; 0 where one side does not vary."""
    a, b = (rankdata(each, axis=-1) for each in (ours, theirs))
    a, b = (each - each.mean(-1, keepdims=True) for each in (a, b))
    below = np.sqrt((a ** 2).sum(-1) * (b ** 2).sum(-1))
    return np.divide((a * b).sum(-1), below, out=np.zeros_like(below), where=below > 0)


def answered(found: results.Results, classifier: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The variants that the classifier was trained on; of each one and clip the loss of accuracy,
    and how often the answer changed: (variants, clips).
    """
    names = [name for name in found.study.variants
             if (classifier, name, name, LAST, IN_ORDER) in found.answers
             and found.layout.report(name).is_file()]
    before = measures.scores(found, classifier, SOURCE, SOURCE).mean(0)
    said = found.answers[classifier, SOURCE, SOURCE, LAST, IN_ORDER]
    lost = [before - measures.scores(found, classifier, name, name).mean(0) for name in names]
    changed = [(found.answers[classifier, name, name, LAST, IN_ORDER] != said).mean(0)
               for name in names]
    return names, np.array(lost), np.array(changed)


def of_study(folder: Path) -> pd.DataFrame:
    """A row for each classifier and foreteller."""
    found = results.load(Layout(folder))
    members = np.unique(found.recordings, return_inverse=True)[1]
    rng, rows = np.random.default_rng(RANDOM_SEED), []
    draws = rng.multinomial(members.max() + 1, np.full(members.max() + 1, 1 / (members.max() + 1)),
                            size=RESAMPLES)[:, members]  # how often each clip is drawn
    weights = np.vstack([np.ones(len(members)), draws])
    weights = weights / weights.sum(1, keepdims=True)
    for classifier in found.study.classifiers:
        names, lost, changed = answered(found, classifier)
        tables = [foretellers(found, name) for name in names]
        losses = weights @ lost.T
        for measure_of in NAMES:
            told = np.array([table[measure_of] for table in tables])
            over = correlation(weights @ told.T, -losses)
            each = [[correlation(told[v][drawn], -changed[v][drawn]) for v in range(len(names))]
                    for drawn in _drawn(draws[:200])]
            whole = np.mean([correlation(t, -c) for t, c in zip(told, changed, strict=True)])
            low, high = np.quantile(over[1:], [0.05, 0.95])
            clip_low, clip_high = np.quantile(np.mean(each, axis=1), [0.05, 0.95])
            rows.append({"study": found.study.title, "classifier": classifier,
                         "measure": NAMES[measure_of], "variants": len(names),
                         "over_variants": over[0], "low": low, "high": high,
                         "over_clips": whole, "clip_low": clip_low, "clip_high": clip_high})
    return pd.DataFrame(rows).round(3)


def _drawn(counts: np.ndarray) -> list[np.ndarray]:
    """The places of the clips of each resample."""
    return [np.repeat(np.arange(len(row)), row) for row in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", type=Path, nargs="+", help="folders of studies")
    parser.add_argument("--scores-only", action="store_true", help="score the clips, no more")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    chosen = parser.parse_args()
    if chosen.scores_only:
        for folder in chosen.studies:
            for variant in load_study(folder).variants:
                scores(Layout(folder), variant)
        return
    show(pd.concat([of_study(folder) for folder in chosen.studies]), chosen.out / "foretell.csv")


if __name__ == "__main__":
    main()
