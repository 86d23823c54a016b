"""The smallest equivalent size of a study: which setting to use, and what to run next.

Fixed-sequence testing (Maurer, Hothorn & Lehmacher 1995): variants are tested from the largest to
the smallest, until one is not equivalent. The first that costs the margin must pass a whole test.
"""

from dataclasses import dataclass

from leanclips.records import IN_ORDER, LAST
from leanclips.report import measures
from leanclips.report.formats import about, change, in_words, percent, within
from leanclips.report.results import Results
from leanclips.report.statistics import (FEWEST_TO_DIFFER, Estimate, Verdict, recordings_needed,
                                         verdict)
from leanclips.study import OWN, SOURCE, Optimized


@dataclass(frozen=True)
class Step:
    """One variant of the sequence; `share` is its bytes as a fraction of the source's."""

    variant: str
    setting: Optimized
    share: float
    difference: Estimate
    verdict: Verdict

    def __str__(self) -> str:
        one = self.difference
        return (f"target {self.setting.target:g}, {self.setting.codec} ({self.variant}): "
                f"{percent(self.share)} of the source crops' bytes, accuracy changed by "
                f"{change(one.value, one.low90, one.high90)}")


def recommend(results: Results, margin: float, codec: str = "h264"
              ) -> tuple[Step | None, Step | None]:
    """The smallest equivalent variant, and the one that ended the sequence, if any: by the primary
    endpoint's classifier, tested as it says, of the variants that it was trained on.
    """
    share, chosen, answer = measures.share_of_source(results), results.study.primary_endpoint, None
    for name, setting in sorted(results.study.variants.items(), key=lambda one: -share[one[0]]):
        tested = name if chosen.tested_on == OWN else SOURCE
        if (isinstance(setting, Optimized) and setting.codec == codec
                and (chosen.classifier, name, tested, LAST, IN_ORDER) in results.answers):
            found = measures.difference(results, chosen.classifier, name, chosen.tested_on)
            step = Step(name, setting, float(share[name]), found, verdict(found, margin))
            if step.verdict != Verdict.EQUIVALENT:
                return answer, step
            answer = step
    return answer, None


def sentences(results: Results, margin: float | None = None) -> list[str]:
    """The recommendation for H.264 and what it rests on; `margin` is by default the study's own."""
    margin, own = margin or results.study.margin, results.study.margin
    (answer, stop), chosen = recommend(results, margin), results.study.primary_endpoint
    other = "" if margin == own else f" (not the study's own margin, ±{within(own)})"
    return list(filter(None, (
        f"Recommended: {answer or 'none yet; no setting is shown to be equivalent'}.",
        f"Equivalent: within ±{within(margin)} points{other}, by the "
        f"{in_words(chosen.classifier)} tested on "
        f"{'its own kind' if chosen.tested_on == OWN else 'source clips'}.",
        f"Not shown to be equivalent ({stop.verdict}): {stop}." if stop else "",
        f"Run next: {what_next(results, margin, answer, stop)}", measures.restated(results))))


def what_next(results: Results, margin: float, answer: Step | None, stop: Step | None) -> str:
    """What would bring the answer further."""
    if stop is None:
        return (f"a target below {answer.setting.target:g}. All that were tested hold." if answer
                else "an optimized variant in H.264 with the primary classifier; there is none.")
    one, lost, clips = stop.difference, f"{stop.setting.target:g}", len(results.tested)
    if stop.verdict == Verdict.ONE_SEED:
        return "more seeds. A single seed does not show how seeds differ."
    if one.recordings < FEWEST_TO_DIFFER:
        return f"clips of {FEWEST_TO_DIFFER} recordings at least; fewer show no difference."
    if stop.verdict not in (Verdict.UNDECIDED, Verdict.FEW):
        return f"a target {f'between {answer.setting.target:g} and' if answer else 'above'} {lost}."
    room, least, shown = margin - abs(one.value), recordings_needed(margin), "is equivalent"
    if room <= 0:
        room, least, shown = abs(one.value), FEWEST_TO_DIFFER, "differs from the source"
    # The error shrinks with the root of the number of recordings (and seeds).
    needed = max(one.recordings * (one.detectable / room) ** 2, least)
    return (f"more clips. If target {lost} changes the accuracy as much as measured, about "
            f"{about(needed)} recordings ({about(needed * clips / one.recordings)} clips) would "
            f"show in 8 of 10 cases that it {shown}; here are {one.recordings} ({clips}).")
