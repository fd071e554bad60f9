"""What can go wrong, as one small family of exceptions.

Each exception knows its ``kind`` (a stable word for programs), its exit code, and a ``hint``
(what the user can do about it). The command line and the worker turn them into one line of text
or one JSON event; nothing else in the package prints errors.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_MISSING_MODEL = 3
EXIT_MISSING_DEPENDENCY = 4
EXIT_OUT_OF_MEMORY = 5
EXIT_CANCELLED = 6

# Messages quote what a file says; a damaged one may say pages.
_LONGEST, _HEAD, _TAIL = 1500, 1000, 400


class MRIForgeError(Exception):
    """Base of all errors that a user can understand.

    Args:
        message: what is wrong and with which file, one sentence.
        hint: what to do about it, one sentence.
    """

    kind = "failed"
    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        message = (
            message if len(message) <= _LONGEST else f"{message[:_HEAD]} ... {message[-_TAIL:]}"
        )
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """With the hint: dialogs and tracebacks show this and nothing else."""
        return self.one_line()

    def one_line(self) -> str:
        """Message and hint on one line, as the command line prints it."""
        text = f"{self.message} {self.hint}".strip()
        return " ".join(text.split())


class BadInput(MRIForgeError):
    """A file, option or combination of them that cannot be used as it is."""

    kind = "bad-input"
    exit_code = EXIT_BAD_INPUT


class MissingModel(MRIForgeError):
    """A trained model that was named is not there, or its checksum does not match."""

    kind = "missing-model"
    exit_code = EXIT_MISSING_MODEL


class MissingDependency(MRIForgeError):
    """An optional Python package is needed for this job and is not installed."""

    kind = "missing-dependency"
    exit_code = EXIT_MISSING_DEPENDENCY


class OutOfMemory(MRIForgeError):
    """Neither the device nor the CPU has enough memory, even for the smallest tiles."""

    kind = "out-of-memory"
    exit_code = EXIT_OUT_OF_MEMORY


class Cancelled(MRIForgeError):
    """The user, or the program that started the job, asked it to stop."""

    kind = "cancelled"
    exit_code = EXIT_CANCELLED


class Failed(MRIForgeError):
    """Everything else: full disk, unwritable folder, numerical breakdown."""
