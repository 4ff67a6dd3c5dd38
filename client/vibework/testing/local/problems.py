"""The one error of this package: something on this machine stops the work, said in one line."""

from __future__ import annotations

EXIT_DIED = 1
EXIT_PROBLEM = 2


class LocalProblem(Exception):
    """Something outside the program stands in the way; the text is one line for the person who reads it."""

    def __init__(self, line: str, *, detail: str = "", exit_code: int = EXIT_PROBLEM) -> None:
        """Keep `line` for the reader and `detail`, such as the end of a log, to be shown with it."""
        super().__init__(line)
        self.detail = detail
        self.exit_code = exit_code
