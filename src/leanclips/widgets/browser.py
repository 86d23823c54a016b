"""What the widgets share: a script in the browser asks by messages, Python answers.

Pictures travel in the binary parts of messages. They are no traits of the widget, so that no frame
of a clip is saved with a notebook.
"""

from collections.abc import Sequence
from pathlib import Path

import anywidget

from leanclips.clips import Clip
from leanclips.errors import StudyError, sentence

HERE = Path(__file__).parent
MOST_FOUND = 20


def script(name: str) -> str:
    """The ES module of a widget, after what all of them share."""
    return "\n".join((HERE / f"{part}.js").read_text(encoding="utf-8") for part in ("shared", name))


class ClipWidget(anywidget.AnyWidget):
    """A list of clips, of which `show(id)` shows one; without an id again the `current` one.

    The script asks `{"do": method, "with": arguments}`; methods answer by `tell`.
    """

    _css = (HERE / "widgets.css").read_text(encoding="utf-8")

    def __init__(self, clips: Sequence[Clip]):
        super().__init__()
        self.clips, self.current = list(clips), clips[0].id
        self.on_msg(lambda widget, asked, buffers: self.ask(asked["do"], *asked["with"]))

    def ask(self, method: str, *arguments: object) -> None:
        """Do what the script asks for; a problem becomes a sentence in the widget."""
        try:
            getattr(self, method)(*arguments)
        except (StudyError, OSError) as error:
            self.tell("problem", text=sentence(error))

    def tell(self, what: str, buffers: Sequence[bytes] = (), **facts: object) -> None:
        """Send `facts`, JSON, and `buffers` to the script's function `what`."""
        self.send({"what": what, **facts}, list(buffers))

    @property
    def place(self) -> int:
        """That of the current clip in the list."""
        return next(place for place, clip in enumerate(self.clips) if clip.id == self.current)

    def step(self, by: int) -> None:
        self.show(self.clips[min(max(self.place + by, 0), len(self.clips) - 1)].id)

    def find(self, text: str) -> None:
        """Name the first clips whose id, class or recording holds `text`."""
        named = [(clip.id, f"{clip.label}, recording {clip.group}") for clip in self.clips]
        found = [row for row in named if text.strip().casefold() in " ".join(row).casefold()]
        self.tell("found", of=text, clips=found[:MOST_FOUND])
