"""What the pages of one study may quote: its tables, figures and numbers, and the answer."""

import re
from collections.abc import Iterator
from shlex import quote

from leanclips.layout import short_name
from leanclips.records import BEST, IN_ORDER, LAST
from leanclips.report import display, figures, measures, recommend, tables
from leanclips.report.display import Figure, Table
from leanclips.report.formats import change, in_words, percent, points, within
from leanclips.report.results import Results
from leanclips.report.statistics import FEWEST_TO_DIFFER, Verdict, least_margin, recordings_needed
from leanclips.study import CRNN, OWN, SOURCE, Constant, weights_path

IN_WORDS = {Verdict.EQUIVALENT: "equivalent within ±{margin} points",
            Verdict.WORSE: "worse", Verdict.BETTER: "better",
            Verdict.UNDECIDED: "undecided, as the 95% interval reaches beyond ±{margin} points",
            Verdict.FEW: "within ±{margin} points, but {recordings} recordings are too few to "
                         "call it equivalent ({needed} could be enough)",
            Verdict.ONE_SEED: "no verdict from one seed"}
TOO_FEW = "no verdict, because {recordings} recordings are too few to show a difference"
EARLIER = ("These records were made by an earlier version of leanclips, whose encodes differ from "
           "those of this version.")


class View:
    """One study as the templates see it.

    `slug` is its folder in the book, `folder` the one that commands name; `warnings` must stand
    wherever its numbers show. `recommended`, `stop`: see recommend. `time`: the comparisons of
    other inputs with the frames in order.
    """

    def __init__(self, results: Results):
        study, layout = results.study, results.layout
        self.results, self.study, self.title = results, study, study.title
        self.published, self.demo = layout.is_published, study.synthetic is not None
        self.tables = {one.name: one for one in _tables(results)}
        self.figures = {one.name: one for one in _figures(results)}
        slug = re.sub(r"[^A-Za-z0-9-]+", "-", layout.study.resolve().name).strip("-") or "study"
        self.slug = f"{slug}-published" if self.published else slug
        self.folder = quote(short_name(layout))
        self.weights = weights_path(study.backbone)
        self.warnings = display.warnings(self.demo, results.leaks)
        if results.earlier:
            self.warnings.append(EARLIER)
        self.restated = measures.restated(results)
        self.controls = {name: one.bytes_of for name, one in study.variants.items()
                         if isinstance(one, Constant)}
        self.margin = within(study.margin)
        self.recommended, self.stop = recommend.recommend(results, study.margin)
        self.recommendation = recommend.sentences(results)
        self.recordings = len(set(results.recordings))
        self.recordings_needed = recordings_needed(study.margin)
        self.least_margin = least_margin(self.recordings)
        self.majority = measures.majority(results)
        self.parameters = {name: rounds[0].trainable_parameters for name, rounds
                           in next(iter(results.runs.values())).classifiers.items()}
        self.source_accuracy = {name: float(measures.scores(results, name, SOURCE, SOURCE).mean())
                                for name in results.study.classifiers}
        self.time = list(self.tables["time"].data.query(
            "epoch == @LAST and input != @IN_ORDER").itertuples()) if results.inputs else []
        self.single_frame = {name: measures.accuracy(results, name, SOURCE, "middle")
                             for name in results.study.classifiers if "middle" in results.inputs}

    def change(self, found: tuple) -> str:
        """The difference in a row of comparisons, its interval and the verdict."""
        return (f"{change(found.difference, found.low90, found.high90)}: "
                f"{self.said(found.verdict)}")

    def said(self, verdict: Verdict) -> str:
        """The verdict as a sentence has it."""
        few = verdict == Verdict.FEW and self.recordings < FEWEST_TO_DIFFER
        return (TOO_FEW if few else IN_WORDS[verdict]).format(
            margin=self.margin, recordings=self.recordings, needed=self.recordings_needed)

    @property
    def answer(self) -> str:
        """The smallest equivalent size or, where none is shown, the largest, in 40 words."""
        one, who = self.recommended or self.stop, self.study.primary_endpoint.classifier
        if one is None:
            return "Not known: no optimized H.264 variant was tested with the primary classifier."
        size = f"{percent(one.share, 0)} of the source crops' bytes"
        start = (f"Down to {size}. Trained on such crops" if self.recommended else
                 f"No size is shown to be equivalent. At {size}")
        return (f"{start}, the {in_words(who)} changes its accuracy by "
                f"{points(one.difference.value)} points: {self.said(one.verdict)}.")

    @property
    def headline(self) -> str:
        """The primary endpoint and its verdict."""
        results, found = self.results, self.tables["differences"].data
        found = next(found[found.endpoint == "primary"].itertuples())
        share = measures.share_of_source(results)[found.variant]
        unsaid = self.study.synthetic and "synthetic" not in self.title.lower()
        return (f"On {'synthetic clips, ' if unsaid else ''}\u201c{self.title}\u201d,"
                f"{' whose pretraining leaks recordings,' if results.leaks else ''} the "
                f"{found.variant} crops hold {percent(share, 0)} of the source crops' bytes. "
                f"Trained on them instead, the {in_words(found.classifier)} changes its "
                f"accuracy on {len(results.tested)} {'' if found.tested == OWN else 'source '}"
                f"test clips over {results.seed_count} by {self.change(found)}. "
                f"{self.restated}").strip()


def _tables(results: Results) -> Iterator[Table]:
    yield from (make(results) for make in (
        tables.choices, tables.differences, tables.pairing, tables.compression, tables.quality,
        tables.data, tables.runs))
    yield from (tables.counts(results.clips), tables.accuracies(results, LAST))
    yield from (tables.cross(results, name) for name in results.study.classifiers)
    yield from (tables.per_clip(results, name) for name in results.study.encoded[1:])
    yield from (tables.runs_of(results, name) for name in results.study.all_variants)
    if CRNN in results.study.classifiers and results.validates:
        yield tables.accuracies(results, BEST)
    if results.inputs:
        yield tables.inputs(results)


def _figures(results: Results) -> Iterator[Figure]:
    yield from (make(results) for make in (
        figures.frontier, figures.cross_matrix, figures.confusion, figures.quality))
    if CRNN in results.study.classifiers:
        yield figures.learning_curves(results)
