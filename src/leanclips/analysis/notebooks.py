"""Executed run notebooks as pages of the book."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

from leanclips.errors import StudyError

WIDGET = "application/vnd.jupyter.widget-view+json"
HIDDEN = "remove-cell"  # the tag of cells that a notebook needs and its page does not
HEADING = re.compile(r"^(#{1,5} )", flags=re.MULTILINE)
TITLE = re.compile(r"^# ", flags=re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```[ \t]*$)", flags=re.MULTILINE | re.DOTALL)
PYTHON = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}


def page(notebook: Path, title: str, intro: str, provenance: str) -> str:
    """The notebook as JSON with the page's own title and provenance around it.

    Hidden cells, progress lines and what only a running kernel can show (widgets) are left
    out. Without a notebook the page is its frame.
    """
    shown = _read(notebook).cells if notebook.is_file() else []
    cells = [_plain(cell) for cell in shown if HIDDEN not in cell.metadata.get("tags", [])]
    frame = (new_markdown_cell(f"# {title}\n\n{intro}", id="page-title"),
             new_markdown_cell(f"## Provenance\n\n{provenance}", id="page-provenance"))
    book = new_notebook(cells=[frame[0], *_below_title(cells), frame[1]], metadata=PYTHON)
    return nbformat.writes(book) + "\n"


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError) as error:
        raise StudyError(f"is not a notebook ({error})", path,
                         "delete it and run the study again") from None


def _plain(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    cell = nbformat.from_dict(cell)
    cell.metadata = nbformat.from_dict({})
    if cell.cell_type == "code":
        cell.outputs = [output for output in cell.outputs if _shows(output)]
    return cell


def _shows(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name == "stdout"
    return WIDGET not in output.get("data", {})


def _below_title(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """A title of the notebook's own, and all headings with it, one level below the page's."""
    texts = [cell for cell in cells if cell.cell_type == "markdown"]
    if any(TITLE.search(FENCED.sub("", cell.source)) for cell in texts):
        for cell in texts:
            cell.source = "".join(
                part if part.startswith("```") else HEADING.sub(r"#\1", part)
                for part in FENCED.split(cell.source))
    return cells
