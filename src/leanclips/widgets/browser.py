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
    """A list of clips, one of which is shown (`current`, an id).

    The script asks `{"do": name, "with": arguments}` for one of `asks`, methods of the widget. They
    answer by `tell`. A problem becomes a sentence in the widget.
    """

    _css = (HERE / "widgets.css").read_text(encoding="utf-8")
    asks: tuple[str, ...] = ()

    def __init__(self, clips: Sequence[Clip]):
        super().__init__()
        self.clips, self.current = list(clips), clips[0].id
        self.on_msg(lambda widget, asked, buffers: self.ask(asked["do"], *asked["with"]))

    def ask(self, name: str, *arguments: object) -> None:
        if name not in self.asks:
            raise ValueError(f"the browser asks for '{name}'")
        try:
            getattr(self, name)(*arguments)
        except (StudyError, OSError) as error:
            self.tell("problem", text=sentence(error))

    def tell(self, what: str, buffers: Sequence[bytes] = (), **facts: object) -> None:
        """Send `facts`, JSON, and `buffers` to the script's function `what`."""
        self.send({"what": what, **facts}, list(buffers))

    @property
    def clip(self) -> Clip:
        return self.clips[self.place]

    @property
    def place(self) -> int:
        """That of the current clip in the list."""
        return next(place for place, clip in enumerate(self.clips) if clip.id == self.current)

    def step(self, by: int) -> None:
        """Show the clip `by` places on; the list's ends stop."""
        self.show(self.clips[min(max(self.place + by, 0), len(self.clips) - 1)].id)

    def find(self, text: str) -> None:
        """Name the first clips whose id, class or recording holds `text`."""
        wanted = text.strip().casefold()
        found = [clip for clip in self.clips
                 if wanted in f"{clip.id} {clip.label} {clip.group}".casefold()]
        self.tell("found", of=text, clips=[[clip.id, f"{clip.label}, recording {clip.group}"]
                                           for clip in found[:MOST_FOUND]])

    def show(self, clip_id: str | None = None) -> None:
        """Show a clip: by default again the one that was shown last."""
        raise NotImplementedError
