"""What notebooks need around a study: find it, check parameters, make what is missing, execute."""

import ast
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_client.manager import AsyncKernelManager

from leanclips.clips import Clip, has_pretraining, load_clips
from leanclips.errors import StudyError
from leanclips.files import written_aside
from leanclips.layout import ROOT, Layout, check_variant, with_records
from leanclips.pipeline import is_stage_of, run
from leanclips.study import ORIGINALS, Study, encode_stage, load_study
from leanclips.workers import kill_children


def open_study(study: str) -> tuple[Layout, Study, list[Clip]]:
    """A study by its folder, relative to where we are or to the top of leanclips."""
    folder = Path(study)
    if not folder.is_dir() and (ROOT / study).is_dir():
        folder = ROOT / study
    layout, settings = Layout(folder.resolve()), load_study(folder)
    return layout, settings, load_clips(layout, settings)


def check_parameters(cells: list[str], *known: str) -> None:
    """StudyError if papermill, which only warns, was given a parameter that the notebook does not
    know. `cells` are the executed ones (IPython's `In`); papermill's begins with `# Parameters`.
    """
    for cell in (cell for cell in cells if cell.startswith("# Parameters")):
        given = {node.id for node in ast.walk(ast.parse(cell))
                 if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        if unknown := given - set(known):
            raise StudyError(f"there is no parameter '{min(unknown)}'", "notebook",
                             f"use {', '.join(known)}")


def prepare(layout: Layout, *names: str) -> None:
    """Bring these stages up to date, after any other run of the study.

    Within a run there is nothing to do: it holds the lock, and has made what its stages need.
    """
    if not is_stage_of(layout):
        run(layout, targets=names, wait=True)


def prepare_run(layout: Layout, study: Study, clips: list[Clip], variant: str, seed: int) -> None:
    """Make what a run needs: the features of all variants, for it is tested on all, and, where it
    trains the CRNN, the pretrained network.
    """
    check_variant(layout, study.all_variants, variant)
    if not isinstance(seed, int) or seed < 0:
        raise StudyError(f"'{seed}' is no seed", "notebook", "use a whole number from 0 on")
    pretrained = ["pretrain"] if has_pretraining(study, clips, variant) else []
    prepare(layout, *(f"features-{name}" for name in study.encoded), *pretrained)


def prepare_originals(layout: Layout, study: Study) -> None:
    """Make the clips as they come: a synthetic study renders them, others have them."""
    if study.synthetic is not None:
        prepare(layout, "render")


def prepare_encodes(layout: Layout, study: Study, variant: str) -> None:
    """Make every variant's clips, of which `variant` is one."""
    check_variant(layout, study.encoded[1:], variant)
    prepare(layout, *(encode_stage(name) for name in (*study.encoded, ORIGINALS)))


def prepare_results(layout: Layout, study: Study) -> Layout:
    """Make all run records; where nothing was run yet but records are published, take those."""
    found = with_records(layout.study)
    if not found.is_published:
        prepare(layout)
    return found


class IpcKernelManager(AsyncKernelManager):
    """Talks to its kernel through sockets in a folder of its own, which goes with it.

    The default, TCP ports picked at random, races when two notebooks start at once.
    """

    def __init__(self, **settings):
        super().__init__(**settings)
        self.sockets = TemporaryDirectory(prefix="leanclips-", dir="/tmp")
        self.transport, self.ip = "ipc", f"{self.sockets.name}/kernel"


def execute(notebook: Path, out: Path, parameters: Mapping[str, object]) -> None:
    """Execute a parameterized notebook by papermill and write it to `out` once it succeeded.

    A failed run leaves its notebook, with the traceback, beside it as `<name>.failed.ipynb`,
    and the StudyError names that file.
    """
    import papermill

    failed = out.with_suffix(".failed.ipynb")
    with written_aside(out) as aside:
        try:
            papermill.execute_notebook(
                str(notebook), str(aside), parameters=dict(parameters), cwd=str(ROOT),
                progress_bar=False, log_output=False, kernel_manager_class=IpcKernelManager,
                shutdown_kernel="immediate")
        except KeyboardInterrupt:
            kill_children()  # a kernel that is only starting would miss its sockets, aloud
            raise
        except Exception as error:
            if not aside.is_file():
                raise StudyError(f"the notebook cannot be executed ({error})", notebook,
                                 "check the installation with 'make test'") from error
            shutil.copyfile(aside, failed)
            last = str(error).strip().splitlines()[-1]
            raise StudyError(f"the notebook failed ({last})", failed,
                             "open it to see the traceback") from error
    failed.unlink(missing_ok=True)
