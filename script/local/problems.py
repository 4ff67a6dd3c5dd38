"""The one error of this package: something on this machine stops the work, said in one line."""

from __future__ import annotations

EXIT_PROBLEM = 2


class LocalProblem(Exception):  # noqa: N818 - not an error of the program
    """Something outside the program stands in the way; the text is one line for the person who reads it."""

    def __init__(self, line: str, *, detail: str = "") -> None:
        """Keep `line` for the reader and `detail`, such as the end of a log, to be shown below it."""
        super().__init__(line)
        self.detail = detail
