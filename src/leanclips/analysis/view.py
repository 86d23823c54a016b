"""What the pages of one study may quote: its tables, figures, numbers and sentences.

A sentence that depends on how the numbers fall is made here; all else is in the templates.
"""

import re
from dataclasses import dataclass
from shlex import quote

import numpy as np

from leanclips.analysis import compression_figures, figures, measures, order, tables
from leanclips.analysis.case_study import CASE_STUDY
from leanclips.analysis.formats import (MINUS, classifier_name, interval, known, listing,
                                        percent, points, several, width, within)
from leanclips.analysis.results import Results, controls, targets
from leanclips.analysis.statistics import (FEWEST_TO_DIFFER, Verdict, least_margin,
                                           recordings_needed)
from leanclips.analysis.style import Figure
from leanclips.analysis.tables import Table
from leanclips.clips import Role, of_role, pretraining_clips
from leanclips.layout import short_name
from leanclips.records import CLASSIFIERS
from leanclips.study import SOURCE, weights_path

TOGETHER = 0.5  # correlation
IN_WORDS = {Verdict.EQUIVALENT: "equivalent within ±{margin} points",
            Verdict.WORSE: "worse", Verdict.BETTER: "better",
            Verdict.UNDECIDED: "undecided, for the interval reaches beyond ±{margin} points",
            Verdict.FEW: "within ±{margin} points, but {recordings} held-out recordings are too "
                         "few to call it equivalent ({needed} could be enough)",
            Verdict.ONE_SEED: "not to be judged by one seed"}


@dataclass(frozen=True)
class View:
    """One study as the templates see it."""

    results: Results
    tables: dict[str, Table]
    figures: dict[str, Figure]
    comparisons: tuple[measures.Comparison, ...]

    @property
    def slug(self) -> str:
        """Its folder in the book; a published study and a run of it stay apart."""
        name = re.sub(r"[^A-Za-z0-9-]+", "-", self.results.name).strip("-") or "study"
        return f"{name}-published" if self.published else name

    @property
    def published(self) -> bool:
        return self.results.is_published

    @property
    def title(self) -> str:
        return self.results.study.title

    @property
    def part(self) -> str:
        return f"The study: {self.title}" if self.published else f"Your run: {self.title}"

    @property
    def folder(self) -> str:
        """As a command names it."""
        return quote(short_name(self.results.layout))

    @property
    def about(self) -> str:
        return self.results.study.about

    @property
    def study(self):
        return self.results.study

    @property
    def weights(self) -> str:
        """The backbone's, as prose names them."""
        path = weights_path(self.study.backbone)
        return f"the weights in {path.name}" if path else "ImageNet weights"

    @property
    def classes(self) -> list[str]:
        return list(self.results.classes)

    @property
    def pretrain(self):
        return self.results.pretrain

    @property
    def machine(self) -> dict[str, str]:
        return self.results.machine

    @property
    def total_seconds(self) -> float:
        return sum(sum(times) for times in self.results.seconds.values())

    @property
    def source_bytes(self) -> int:
        return measures.sizes(self.results, SOURCE).bytes_out

    @property
    def first_variant(self) -> str:
        """The variant that the headline speaks of: the first optimized one, if any."""
        return next(iter([*targets(self.study), *self.study.variants]))

    @property
    def margin(self) -> str:
        return within(self.study.margin)

    @property
    def picking(self) -> dict[str, tuple[float, float]]:
        return {name: measures.picking_bonus(self.results, name) for name in CLASSIFIERS}

    @property
    def source_accuracy(self) -> dict[str, float]:
        return {name: float(measures.scores(self.results, name, SOURCE, SOURCE).mean())
                for name in CLASSIFIERS}

    @property
    def parameters(self) -> dict[str, int]:
        run = next(iter(self.results.runs.values()))
        return {name: run.classifiers[name].trainable_parameters for name in CLASSIFIERS}

    @property
    def cross_names(self) -> list[str]:
        return [f"cross-{name}" for name in CLASSIFIERS]

    def compared(self, variant: str, tested: str) -> list[measures.Comparison]:
        return [c for c in self.comparisons if (c.variant, c.tested) == (variant, tested)]

    def words(self, verdict: Verdict) -> str:
        if verdict == Verdict.UNDECIDED and self.recordings < FEWEST_TO_DIFFER:
            return (f"undecided, for {self.recordings} held-out recordings are too few to tell a "
                    "difference")
        return IN_WORDS[verdict].format(margin=self.margin, recordings=self.recordings,
                                        needed=self.recordings_needed)

    @property
    def recordings(self) -> int:
        """How many were held out."""
        return len(set(measures.heldout_groups(self.results)))

    @property
    def seen_in_pretraining(self) -> int:
        """How many target clips are of recordings that pretraining saw too."""
        seen = {clip.group for clip in pretraining_clips(self.results.clips)}
        return sum(clip.group in seen for clip in of_role(self.results.clips, Role.TARGET))

    @property
    def recordings_needed(self) -> int:
        return recordings_needed(self.study.margin)

    @property
    def least_margin(self) -> float:
        return least_margin(self.recordings)

    @property
    def headline(self) -> str:
        """The answer in a sentence or two."""
        results, variant = self.results, self.first_variant
        found = self.compared(variant, measures.OWN)
        changes = listing([f"{points(c.difference.value)} points for the "
                           f"{classifier_name(c.classifier)} (90% interval "
                           f"{interval(c.difference.within90)})" for c in found])
        verdicts = [self.words(c.verdict) for c in found]
        verdict = f": {verdicts[0]}" if len(set(verdicts)) == 1 else ". " + "; ".join(
            f"{classifier_name(c.classifier)}: {words}"
            for words, c in zip(verdicts, found, strict=True))
        unsaid = results.synthetic and "synthetic" not in self.title.lower()
        leaks = " whose pretraining leaks recordings," if results.leaks else ""
        return (f"On {'synthetic clips, ' if unsaid else ''}\u201c{self.title}\u201d,{leaks} the "
                f"{variant} crops hold "
                f"{percent(measures.share_of_source(results, variant), 0)} of the source crops' "
                f"bytes; trained on them instead, accuracy on {len(results.heldout)} held-out "
                f"clips over {results.seed_count} changes by {changes}{verdict}.")

    @property
    def pairing_sentences(self) -> list[str]:
        """What pairing was worth, classifier by classifier."""
        lines = []
        for name in CLASSIFIERS:
            found = measures.pairing(self.results, name, self.first_variant)
            line = (f"{figures.title(name)}: the 90% interval of {self.first_variant} less "
                    f"source is {width(found.paired)} points wide, and would be "
                    f"{width(found.unpaired)} without pairing.")
            if found.correlation is not None:
                luck = ("a seed that is lucky for one is mostly lucky for the other"
                        if found.correlation >= TOGETHER else
                        "a seed that is lucky for one need not be for the other")
                line += (f" Over {self.results.seed_count} the two accuracies correlate at "
                         f"{found.correlation:.2f}: {luck}.".replace("-", MINUS))
            lines.append(line)
        return lines

    @property
    def control_sentence(self) -> str:
        """What the control does with the same bytes."""
        lines = []
        for control, optimized in controls(self.study).items():
            ratio = (measures.sizes(self.results, control).bytes_out
                     / measures.sizes(self.results, optimized).bytes_out)
            told = listing([f"{points(c.difference.value)} points for the "
                            f"{classifier_name(c.classifier)} ({self.words(c.verdict)})"
                            for c in self.compared(control, measures.OWN)])
            lines.append(f"The control *{control}* is plain x264 at one setting for all clips, "
                         f"with {percent(ratio)} of the bytes of *{optimized}*: {told}.")
        return " ".join(lines)

    @property
    def compression_sentences(self) -> list[str]:
        results, lines = self.results, []
        for name, target in targets(self.study).items():
            size = measures.sizes(results, name)
            lines.append(f"*{name}*: each clip made smaller until the worst second of the delivered "
                         f"file scores VMAF NEG {target:g} and hardly more, colours checked as "
                         f"well. It saves "
                         f"{percent(size.saving)} of the crops' bytes (the case study: "
                         f"{percent(CASE_STUDY.saving_crops, 0)}); "
                         f"{several(size.no_gain, 'clip')} kept the original bytes for lack of gain, "
                         f"{size.unreachable} because the target was out of reach.")
        for name, optimized in controls(self.study).items():
            lines.append(self._control_quality(name, optimized))
        return lines

    def _control_quality(self, name: str, optimized: str) -> str:
        report, target = self.results.report(name), targets(self.study).get(optimized)
        told = (f"*{name}*: CRF {known(report['crf'].median()):g} for every clip. Its worst clip "
                f"scores {known(report['quality'].min()):.1f}")
        if target is None:  # another tool's files: there is no target to fall short of
            return f"{told}."
        below = int((report["quality"] < target).sum())
        return (f"{told}; {below} of {several(len(report), 'clip')} lie below the target of "
                f"{target:g} that *{optimized}* holds for each clip it re-encodes.")

    @property
    def cross_sentences(self) -> list[str]:
        """How far the choice of training and of test clips moves the mean."""
        lines = []
        for classifier in CLASSIFIERS:
            grid = np.array([[measures.scores(self.results, classifier, a, b).mean()
                              for b in self.results.variants] for a in self.results.variants])
            trained, tested = np.ptp(grid.mean(axis=1)), np.ptp(grid.mean(axis=0))
            lines.append(f"{figures.title(classifier)}: what it was trained on moves the mean by "
                         f"up to {points(trained).lstrip('+')} points, what it is tested on by up "
                         f"to {points(tested).lstrip('+')}.")
        return lines

    @property
    def time_headline(self) -> str:
        return order.headline(self.results)

    @property
    def time_sentences(self) -> list[str]:
        return order.sentences(self.results)

    @property
    def recurrence_helps(self) -> bool:
        """Whether the CRNN beats the linear classifier by the margin, on source clips."""
        return self.source_accuracy["crnn"] - self.source_accuracy["linear"] > self.study.margin


def make(results: Results) -> View:
    """Compute everything that the pages of a study show."""
    drawn = [figures.answer(results), figures.accuracy_spread(results),
             figures.differences(results), figures.cross_matrix(results),
             figures.confusion(results), figures.learning_curves(results),
             compression_figures.overview(results), compression_figures.savings(results),
             compression_figures.quality(results), compression_figures.clip_sizes(results)]
    made = [tables.summary(results), tables.accuracies(results, "last"),
            tables.accuracies(results, "best"), tables.differences(results),
            *(tables.cross(results, classifier) for classifier in CLASSIFIERS),
            tables.compression(results), tables.data(results), tables.cost(results),
            tables.protocol(results), tables.runs(results)]
    if results.views is not None:
        drawn.append(order.figure(results))
        made.append(order.table(results))
    return View(results, {table.name: table for table in made},
                {figure.name: figure for figure in drawn},
                tuple(measures.comparisons(results)))
