"""What the book needs from Sphinx: no script from the network, figures in two themes."""

import json
import re
from html import escape
from pathlib import Path
from shutil import copy

import leanclips
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

# Scripts of web services, which extensions add to pages that do not use them.
REMOTE_SCRIPTS = ("thebe", "unpkg.com", "mathjax")

# The pages of the runs: no reading matter, so neither in the search nor between other pages.
RUNS = re.compile(r".+/runs/.+-runs")

# The notebook's widget that compares clips, and the page that holds it, too.
WIDGETS = Path(leanclips.__file__).parent / "widgets"
SEE, EXPORT = "see", "export default { render };"

# Browsers do not preload fonts for file:// pages and report an error; the CSS loads them.
FONT_PRELOAD = re.compile(r'\s*<link rel="preload" as="font"[^>]*>')
# The theme's controls whose names a screen reader lacks, or says otherwise than they are shown.
UNNAMED = re.compile(r'(>([^<>]*)</a><details[^>]*><summary)>')
MISNAMED = re.compile(r'(<button class="btn search-button-field[^>]*) aria-label="Search"')

POINT = ('<button type="button" class="point {3}" style="left: {0}%; top: {1}%" aria-label="{2}">'
         '<span aria-hidden="true">{2}</span></button>')


class ThemedFigure(SphinxDirective):
    """`NAME-light.svg` and `NAME-dark.svg` as one figure; the theme's CSS shows one of the two.

    What the points of `NAME-points.json` say is shown where the mouse or the focus is.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        figure = nodes.figure(classes=["themed-figure"])
        picture = nodes.container(classes=["picture"])
        for theme in ("light", "dark"):
            picture += nodes.image(uri=f"{self.arguments[0]}-{theme}.svg",
                                   alt=self.options["alt"], classes=[f"only-{theme}"])
        points = Path(self.env.srcdir, f"{self.arguments[0].lstrip('/')}-points.json")
        if points.is_file():
            for left, top, text in json.loads(points.read_text("utf-8")):
                side = "leftwards" if left > 50 else "rightwards"
                picture += nodes.raw("", POINT.format(left, top, escape(text), side), format="html")
        parsed = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, parsed)
        paragraph = parsed[0]
        caption = nodes.caption("", "", *paragraph.children)
        figure += [picture, caption]
        return [figure]


def drop_remote_scripts(app, pagename, templatename, context, doctree) -> None:
    """Remove scripts that would be loaded from the network."""
    context["script_files"] = [
        script for script in context.get("script_files", [])
        if not any(part in f"{script} {getattr(script, 'attributes', {})}"
                   for part in REMOTE_SCRIPTS)]


def escape_title(app, pagename, templatename, context, doctree) -> None:
    """Escape the page's title, which the theme inserts as HTML."""
    context["pagetitle"] = escape(context.get("pagetitle") or "")


def leave_runs_out_of_the_search(app, env) -> None:
    for name in filter(RUNS.fullmatch, env.found_docs):
        env.metadata[name]["nosearch"] = True


def say_what_pages_are_on(app, doctree) -> None:
    """Give a page the index entries of the setting `pages_on`, which the search finds first."""
    for subject, page in app.config.pages_on.items():
        if page == app.env.docname:
            section = next(doctree.findall(nodes.section))
            section.insert(0, addnodes.index(
                entries=[("single", subject, section["ids"][0], "main", None)]))


def leave_runs_out_of_the_order(app, pagename, templatename, context, doctree) -> None:
    """Previous and next: the nearest page that is none of the runs."""
    for direction, place in (("prev", 1), ("next", 2)):
        other = app.builder.relations.get(pagename, (None, None, None))[place]
        while other and RUNS.fullmatch(other):
            other = app.builder.relations[other][place]
        context[direction] = None if RUNS.fullmatch(pagename) or not other else {
            "link": app.builder.get_relative_uri(pagename, other),
            "title": app.builder.render_partial(app.env.titles[other])["title"]}


def add_widget(app, pagename, templatename, context, doctree) -> None:
    if pagename == SEE:
        app.add_css_file("widgets.css")
        app.add_js_file("see.js", loading_method="defer")


def write_widget(app, exception) -> None:
    """The widget's scripts as one; no module, which browsers refuse for file://."""
    if exception is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copy(WIDGETS / "widgets.css", static)
        parts = [WIDGETS / "shared.js", WIDGETS / "compare.js", Path(__file__).with_name("see.js")]
        script = "\n".join(path.read_text("utf-8") for path in parts).replace(EXPORT, "")
        (static / "see.js").write_text(f"(() => {{\n{script}}})();\n", "utf-8")


def mend_pages(app, exception) -> None:
    """Take from the theme's pages what browsers and screen readers stumble over."""
    for page in Path(app.outdir).rglob("*.html"):
        text = FONT_PRELOAD.sub("", page.read_text("utf-8"))
        text = UNNAMED.sub(r'\1 aria-label="Pages below: \2">', text)
        page.write_text(MISNAMED.sub(r"\1", text), "utf-8")


def setup(app) -> dict:
    app.add_directive("themed-figure", ThemedFigure)
    app.connect("html-page-context", drop_remote_scripts, priority=900)
    app.connect("html-page-context", escape_title, priority=901)
    app.add_config_value("pages_on", {}, "env")
    app.connect("doctree-read", say_what_pages_are_on)
    app.connect("env-updated", leave_runs_out_of_the_search)
    app.connect("html-page-context", leave_runs_out_of_the_order)
    app.connect("html-page-context", add_widget)
    app.connect("build-finished", write_widget)
    app.connect("build-finished", mend_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
