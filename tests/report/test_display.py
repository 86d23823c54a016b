"""One table and one figure, shown by a notebook and by the book."""

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from leanclips.clips import Clip, Role
from leanclips.report import figures
from leanclips.report.display import SYNTHETIC, Table, colours, introduce, markdown
from leanclips.study import Study

TABLE = Table.of("t", "a < b", pd.DataFrame({"name": ["<script>", "x|y"], "share": [0.5, 0.25]}),
                 {"Name": "{name}", "Share": "{share:.0%}", "Page": "[one](two)"})


def test_text_in_a_table_is_never_markup():
    html = TABLE._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "a &lt; b" in html
    assert "a < b" in repr(TABLE) and "25%" in repr(TABLE)
    assert r"| \<script\> | 50% |" in TABLE.markdown() and r"x\|y" in TABLE.markdown()


def test_the_book_and_a_notebook_show_the_same_cells():
    shown = TABLE.markdown("/tables")
    for row in TABLE.rows:
        assert row[1] in TABLE._repr_html_() and f"| {row[1]} |" in shown
    assert "[CSV](/tables/t.csv)" in shown and "CSV" not in TABLE.markdown()
    assert "| :-- | --: | :-- |" in shown and "[one](two)" in shown


def test_a_long_table_scrolls_by_keyboard_too_and_a_very_long_one_is_cut():
    def long(count):
        return Table("t", "", ("N",), tuple((str(n),) for n in range(count)), pd.DataFrame())

    assert 'tabindex="0"' in long(100)._repr_html_()
    assert "tabindex" not in long(5)._repr_html_() and "Shown" not in long(500)._repr_html_()
    assert "Shown: the first 500 of 10,000." in (cut := long(10_000)._repr_html_())
    assert len(cut) < 100_000 and len(repr(long(10_000))) < 10_000


def test_a_figure_is_small_equal_every_time_and_takes_the_colour_of_its_page(results):
    html, again = (figures.learning_curves(results)._repr_html_() for _ in range(2))
    assert html == again
    assert len(html) < 30_000
    assert "currentColor" in html and "#0102" not in html
    assert "<style" not in html  # its rules would reach the whole page
    assert 'aria-label="Learning curves.' in html


def test_a_figure_in_the_book_has_alt_text_caption_and_numbers(results):
    figure = figures.quality(results)
    shown = figure.markdown("/tiny/figures")
    assert shown.startswith("```{themed-figure} /tiny/figures/quality\n:alt: ")
    assert "[Numbers (CSV)](/tiny/figures/quality.csv)" in shown
    assert markdown(figure.caption) in shown


def test_a_variant_keeps_its_colour_whichever_others_are_shown():
    found = colours(["source", "optimized", "constant"])
    assert found["source"] == colours(["source"])["source"]
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("text", ["a|b", "*x*", "<b>", "[a](b)", "$x$", "{{x}}", "climb_stairs"])
def test_names_of_other_people_show_as_they_are(text):
    rendered = MarkdownIt().renderInline(markdown(text))
    assert rendered == text.replace("<", "&lt;").replace(">", "&gt;")


def test_a_synthetic_study_is_introduced_as_one():
    assert SYNTHETIC in introduce(Study(title="Demo", synthetic={}), []).data
    assert SYNTHETIC not in introduce(Study(title="Mine"), []).data


def test_a_study_that_leaks_recordings_is_introduced_as_one():
    clips = [Clip(f"p{n}", f"p{n}", "box", "tape", Role.PRETRAIN) for n in range(8)]
    leaking = Study(title="Mine", pretraining={"split": "random"})
    assert "leaks recordings" in introduce(leaking, clips).data
    assert "leaks" not in introduce(leaking, []).data  # no pretraining, no leak
    assert "leaks" not in introduce(Study(title="Mine"), []).data
