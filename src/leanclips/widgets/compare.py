"""Two variants of a clip, playing in step: wipe, difference, and the score of each frame."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from leanclips.compression.ffmpeg import compare
from leanclips.compression.inspect import inspect, probe
from leanclips.errors import StudyError
from leanclips.records import IN_ORDER, LAST
from leanclips.report.formats import NAMES, several
from leanclips.report.results import Encoded, Results, load
from leanclips.study import SOURCE
from leanclips.widgets.browser import ClipWidget, script


def changed(results: Results, first: str, second: str) -> pd.Series:
    """By test clip, where there are any: in how many seeds the primary classifier, trained on
    `first`, gives the clip of `second` another class than that of `first`.
    """
    classifier = results.study.primary_endpoint.classifier
    one, other = (results.answers[classifier, first, tested_on, LAST, IN_ORDER]
                  for tested_on in (first, second))
    counts = pd.Series((one != other).sum(axis=0), [clip.id for clip in results.tested])
    return counts[counts > 0]


class Compare(ClipWidget):
    """Choose two variants and the order of the clips; step through these."""

    _esm = script("compare")

    def __init__(self, encoded: Encoded, variant: str):
        super().__init__(encoded.compared)
        self.encoded, self.pair, self.order, self.by = encoded, (SOURCE, variant), "table", {}
        self.reports = {name: encoded.report(name).set_index("clip")
                        for name in encoded.study.encoded}
        self.metrics = {name: getattr(encoded.study.variants.get(name), "metric", "vmaf")
                        for name in self.reports}

    def choose(self, first: str, second: str, order: str) -> None:
        """Compare these variants, the clips in this order, from its first clip on."""
        one, other = self.reports[first], self.reports[second]
        by = {"savings": other["bytes_out"] / one["bytes_out"], "table": pd.Series(0, one.index),
              "quality": np.fmin(one["quality"], other["quality"])}.get(order)
        if by is None:
            by = -changed(load(self.encoded.layout), first, second)
        if by.empty:
            raise StudyError(f"no network changed its mind between {first} and {second}",
                             self.encoded.layout.study, "choose another order")
        clips = {clip.id: clip for clip in self.encoded.compared}
        self.clips = [clips[clip] for clip in by.sort_values(kind="stable").index]
        self.pair, self.order, self.by = (first, second), order, by
        self.show(self.clips[0].id)

    def show(self, clip_id: str | None = None) -> None:
        """Send both files of a clip and what is known of them."""
        self.current = clip_id or self.current
        study, mind = self.encoded.study, ""
        if self.order == "changed":
            mind = (f"The {NAMES[study.primary_endpoint.classifier]} trained on {self.pair[0]} "
                    f"changed its mind in {-self.by[self.current]} of "
                    f"{several(len(study.finetuning.seeds), 'seed')}.")
        rows = pd.DataFrame([self.reports[name].loc[self.current] for name in (*self.pair, SOURCE)])
        self.tell("clip", id=self.current, label=self.clips[self.place].label, place=self.place,
                  clips=len(self.clips), pair=self.pair, order=self.order, metrics=self.metrics,
                  mind=mind, reports=json.loads(rows.to_json(orient="records")))
        files = self._files(*self.pair)
        clip, codec = inspect(files[0]), probe(files[1]).codec
        self.tell("videos", [file.read_bytes() for file in files], of=self.current,
                  width=clip.width, height=clip.height, times=clip.times,
                  codecs=[clip.codec, codec])

    def scores(self, clip_id: str) -> None:
        """Score each frame of both files against the source's, unless that is the file itself."""
        if clip_id == self.current:
            metric, (source, *files) = self.metrics[self.pair[1]], self._files(SOURCE, *self.pair)
            curves = [None if file == source else
                      compare(file, source, metric, None)[0].round(4).tolist() for file in files]
            self.tell("scores", of=clip_id, curves=curves, metric=metric)

    def _files(self, *variants: str) -> list[Path]:
        return [self.encoded.layout.made_clip(name, self.current) for name in variants]
