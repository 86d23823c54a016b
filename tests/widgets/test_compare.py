"""Two variants in step: what the browser asks for, and what it is told."""

import numpy as np
import pytest

from leanclips import notebook
from leanclips.compression.ffmpeg import compare as frame_scores
from leanclips.records import IN_ORDER, LAST
from leanclips.report.results import Results, load, read_encoded
from leanclips.widgets.compare import Compare, changed


@pytest.fixture
def compare(finished_study) -> Compare:
    layout, study, clips = notebook.open_study(str(finished_study.study))
    widget = Compare(read_encoded(layout, study, clips), "optimized")
    widget.told = []
    widget.send = lambda facts, buffers: widget.told.append((facts, buffers))
    widget.ask("show")
    return widget


def last(compare: Compare, what: str) -> tuple[dict, list[bytes]]:
    return [told for told in compare.told if told[0]["what"] == what][-1]


def test_sends_both_files_and_what_is_known_of_them(compare):
    clip, (videos, files) = last(compare, "clip")[0], last(compare, "videos")
    layout = compare.encoded.layout
    assert files == [layout.made_clip(name, compare.current).read_bytes()
                     for name in ("source", "optimized")]
    assert len(videos["times"]) == 6 and videos["codecs"] == ["h264", "h264"]
    assert (videos["width"], videos["height"]) == (80, 80)
    left, right, source = clip["reports"]
    assert left == source and (left["variant"], right["variant"]) == ("source", "optimized")
    assert right["bytes_out"] == len(files[1])
    assert list(clip["metrics"]) == ["source", "optimized", "constant"]


def test_scores_each_frame_of_each_variant_against_the_source(compare):
    compare.ask("scores", compare.current)
    curves = last(compare, "scores")[0]["curves"]
    assert curves[0] is None
    files = [compare.encoded.layout.made_clip(name, compare.current)
             for name in ("optimized", "source")]
    assert curves[1] == pytest.approx(frame_scores(*files, "vmaf", None)[0], abs=1e-4)
    before = len(compare.told)
    compare.ask("scores", "another")
    assert len(compare.told) == before


def walked(compare: Compare) -> list[str]:
    """The clips that one sees by stepping on."""
    seen = [compare.current]
    for _ in compare.clips[1:]:
        compare.ask("step", 1)
        seen.append(compare.current)
    return seen


def test_sorts_by_savings_and_by_quality(compare):
    report = compare.encoded.report("constant").set_index("clip")
    other = compare.encoded.report("optimized").set_index("clip")
    compare.ask("choose", "optimized", "constant", "savings")
    ratio = report["bytes_out"] / other["bytes_out"]
    assert list(ratio[walked(compare)]) == sorted(ratio)
    compare.ask("choose", "optimized", "constant", "quality")
    lower = np.minimum(report["quality"], other["quality"])
    assert list(lower[walked(compare)]) == sorted(lower)
    compare.ask("choose", "source", "constant", "table")
    assert walked(compare) == [clip.id for clip in compare.encoded.compared]


def other_answers(layout, places: dict[int, slice]) -> Results:
    """The study's results, but that networks that see `optimized` answer otherwise: in these seeds
    of these test clips alone.
    """
    results = load(layout)
    classifier = results.study.primary_endpoint.classifier
    own = results.answers[classifier, "source", "source", LAST, IN_ORDER]
    other = results.answers[classifier, "source", "optimized", LAST, IN_ORDER] = own.copy()
    for place, seeds in places.items():
        other[seeds, place] = 1 - own[seeds, place]
    return results


def test_counts_the_seeds_in_which_the_network_changed_its_mind(finished_study):
    results = other_answers(finished_study, {1: slice(1), 3: slice(2)})
    tested = [clip.id for clip in results.tested]
    assert dict(changed(results, "source", "optimized")) == {tested[1]: 1, tested[3]: 2}
    assert changed(results, "source", "source").empty


def test_sorts_by_where_the_network_changed_its_mind(compare, monkeypatch):
    layout, before = compare.encoded.layout, compare.current
    results = other_answers(layout, {})
    monkeypatch.setattr("leanclips.widgets.compare.load", lambda layout: results)
    compare.ask("choose", "source", "optimized", "changed")
    assert "no network changed its mind" in last(compare, "problem")[0]["text"]
    assert compare.current == before and compare.order == "table"
    results = other_answers(layout, {1: slice(1), 3: slice(2)})
    compare.ask("choose", "source", "optimized", "changed")
    assert "changed its mind in 2 of 2 seeds" in last(compare, "clip")[0]["mind"]
    tested = [clip.id for clip in results.tested]
    assert walked(compare) == [tested[3], tested[1]]


def test_without_runs_only_that_order_is_refused(compare):
    for result in compare.encoded.layout.work.rglob("runs/*/*/result.json"):
        result.unlink()
    compare.ask("choose", "source", "optimized", "changed")
    assert "result.json" in last(compare, "problem")[0]["text"]
    compare.ask("choose", "source", "optimized", "savings")
    assert compare.order == "savings"


def test_another_tools_file_keeps_its_suffix(compare):
    other = compare.clips[1].id
    path = compare.encoded.layout.clip("optimized", other)
    path.rename(path.with_suffix(".mkv"))
    compare.ask("show", other)
    assert last(compare, "videos")[0]["of"] == other


def test_a_missing_file_is_a_sentence(compare):
    other = compare.clips[1].id
    compare.encoded.layout.clip("optimized", other).unlink()
    compare.ask("show", other)
    assert "the clip is missing" in compare.told[-1][0]["text"]


def test_no_clip_is_part_of_the_widgets_state(compare):
    state = compare.get_state()
    compare.ask("step", 1)
    assert compare.get_state() == state
