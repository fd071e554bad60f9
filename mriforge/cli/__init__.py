"""The command line: ``mriforge COMMAND ...`` or ``python -m mriforge COMMAND ...``.

Every command is made from the options that it declares in :mod:`mriforge.jobs`; nothing is
computed here. Results go to stdout, progress and the one line of an error to stderr.
"""

from __future__ import annotations

import os
import sys
import traceback

from mriforge.errors import EXIT_FAILED, EXIT_OK
from mriforge.jobs.failures import understood
from mriforge.jobs.process import debugging, tune

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        arguments: without the program's name; default ``sys.argv[1:]``.
    """
    if arguments is None:
        # Only in a process of its own: the allocator's settings are the whole process's.
        tune()
        arguments = sys.argv[1:]
    arguments = list(arguments)
    try:
        from mriforge.cli.commands import run_command_line

        return run_command_line(arguments)
    except BrokenPipeError:
        # The reader of our output has gone (`mriforge models | head`): not an error of the job.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except BaseException as error:
        if isinstance(error, SystemExit):
            return int(error.code or EXIT_OK)
        explained = understood(error)
        if debugging() or "--debug" in arguments:
            traceback.print_exc()
        print(f"mriforge: {explained.one_line()}", file=sys.stderr, flush=True)
        return explained.exit_code
