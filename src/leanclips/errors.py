"""The one exception that people see."""

import errno

REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space there") | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS), "check the permissions there")


class StudyError(Exception):
    """Something a person can mend: what is wrong, where, and what to do about it.

    The command line prints it as one sentence and exits with status 2.
    """

    def __init__(self, what: str, where: object, remedy: str):
        self.what, self.where, self.remedy = what, str(where), remedy
        super().__init__(f"{self.where}: {what}; {remedy}.")

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows in place of a page of traceback."""
        return [f"StudyError: {self}"]

    def __reduce__(self):
        # Worker processes send exceptions back by pickling them.
        return type(self), (self.what, self.where, self.remedy)


class ClipError(StudyError):
    """A clip that cannot be used as it is, whatever the rest of the set."""


def of_system(error: OSError) -> str:
    """What the operating system refused, in a sentence, with the remedy where its word has one."""
    what = error.strerror or str(error) or type(error).__name__
    said = f"{error.filename or 'the system'}: {what}"
    remedy = REMEDIES.get(error.errno)
    return f"{said}; {remedy}." if remedy else f"{said}."
