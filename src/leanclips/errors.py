"""The one exception that people see."""


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
