"""The exception that people see, and one sentence for each error that they can solve."""

import errno

REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space there") | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS), "check the permissions there")


class StudyError(Exception):
    """A problem that the user can solve: what is wrong, where, and what to do about it.

    The command line prints it as one sentence and exits with status 2.
    """

    def __init__(self, what: str, where: object, remedy: str):
        self.what, self.where, self.remedy = what, str(where), remedy
        super().__init__(f"{self.where}: {what}; {remedy}.")

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows instead of a traceback."""
        return [f"StudyError: {self}"]

    def __reduce__(self):
        # Worker processes return exceptions by pickling them.
        return type(self), (self.what, self.where, self.remedy)


class ClipError(StudyError):
    """A clip that cannot be used; the other clips of the set can."""


def sentence(error: StudyError | OSError | ImportError) -> str:
    """What to tell a person of an error, in one sentence, with a remedy where one is known."""
    if isinstance(error, StudyError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return (f"the package '{(error.name or '').partition('.')[0]}' is not installed; install "
                "leanclips[study].")
    if isinstance(error, ImportError):
        remedy = ("install opencv-python-headless instead of opencv-python"
                  if "libGL" in str(error) else "install leanclips again")
        return f"a package cannot be loaded ({error}); {remedy}."
    what = error.strerror or str(error) or type(error).__name__
    remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
    return f"{error.filename or 'the system'}: {what}{remedy}."
