"""What the book needs from Sphinx: math and scripts that work with no network, themed figures."""

import re
from html import escape
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

# Interactive kernels come from a web service; sphinx-thebe adds these to every page all the same.
REMOTE_SCRIPTS = ("thebe", "unpkg.com")

# Browsers refuse to preload fonts for file:// pages and say so in the console; CSS loads them.
FONT_PRELOAD = re.compile(r'\s*<link rel="preload" as="font"[^>]*>')


class ThemedFigure(SphinxDirective):
    """`NAME-light.svg` and `NAME-dark.svg` as one figure; the theme's CSS shows one of them."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        figure = nodes.figure(classes=["themed-figure"])
        picture = nodes.container(classes=["picture"])
        for theme in ("light", "dark"):
            picture += nodes.image(uri=f"{self.arguments[0]}-{theme}.svg",
                                   alt=self.options["alt"], classes=[f"only-{theme}"])
        parsed = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, parsed)
        paragraph = parsed[0]
        caption = nodes.caption("", "", *paragraph.children)
        figure += [picture, caption]
        return [figure]


def inline_math(translator, node) -> None:
    translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def block_math(translator, node) -> None:
    translator.body.append('<div class="math-block">')
    translator.body.append(latex2mathml.converter.convert(node.astext(), display="block"))
    translator.body.append("</div>")
    raise nodes.SkipNode


def drop_remote_scripts(app, pagename, templatename, context, doctree) -> None:
    """Take out what would ask the network for something."""
    context["script_files"] = [
        script for script in context.get("script_files", [])
        if not any(part in f"{script} {getattr(script, 'attributes', {})}"
                   for part in REMOTE_SCRIPTS)]


def escape_title(app, pagename, templatename, context, doctree) -> None:
    """The theme puts the page's title into the printed page as if it were HTML."""
    context["pagetitle"] = escape(context.get("pagetitle") or "")


def drop_font_preloads(app, exception) -> None:
    for page in Path(app.outdir).rglob("*.html"):
        page.write_text(FONT_PRELOAD.sub("", page.read_text("utf-8")), "utf-8")


def setup(app) -> dict:
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.add_directive("themed-figure", ThemedFigure)
    app.connect("html-page-context", drop_remote_scripts, priority=900)
    app.connect("html-page-context", escape_title, priority=901)
    app.connect("build-finished", drop_font_preloads)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
