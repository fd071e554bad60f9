"""The command line of MRIForge, run by 3D Slicer: for scripts, and for machines without a display.

    Slicer --no-splash --no-main-window --python-script batch.py -- superres IN OUT ...
    PythonSlicer batch.py superres IN OUT ...

Arguments, output and exit codes are those of `mriforge` (Docs/command-line.md). In the first form
everything after `--` is left alone by Slicer itself, which would take --help and --version as its
own. One option more:

    --install-dependencies    install what is missing (PyTorch and a few packages), then run the
                              command, if one is given; nothing is installed without it

No window is opened and no question asked. The script lies in Resources/Scripts of a checkout and in
MRIForgeLib/Resources/Scripts of the installed extension.
"""

# Slicer reads this file in the system's encoding: ASCII only.

import importlib.util
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

INSTALL = "--install-dependencies"
WORKS_WITHOUT_PACKAGES = {"--help", "--version"}
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_MISSING_DEPENDENCY = 4
EXIT_CANCELLED = 6


def application():
    """slicer.app inside of Slicer; None in PythonSlicer or another Python."""
    return getattr(sys.modules.get("slicer"), "app", None)


def packages_folder():
    """The folder that holds the packages mriforge and MRIForgeLib: of a checkout, or installed."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "mriforge" / "__init__.py").is_file():
            return folder
    raise FileNotFoundError(f"There is no folder 'mriforge' above {__file__}.")


def main(arguments):
    """Does what the arguments ask for and returns the exit code."""
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    sys.path.insert(0, str(packages_folder()))
    return run_here(arguments) if application() is None else run_outside(arguments)


def run_here(arguments):
    """Installs if that was asked for, then runs the command line in this process."""
    from mriforge.cli import main as command_line

    dependencies = known_dependencies()
    if INSTALL in arguments:
        if dependencies is None:
            print(f"batch: {INSTALL} needs Slicer or PythonSlicer to run it.", file=sys.stderr)
            return EXIT_BAD_INPUT
        install(dependencies)
        arguments = [argument for argument in arguments if argument != INSTALL]
        if not arguments:
            print("Everything that MRIForge needs is installed.")
            return 0
    if dependencies is not None and not WORKS_WITHOUT_PACKAGES & set(arguments):
        lacking = dependencies.missing()
        if lacking:
            print(
                f"batch: Not installed in this Python: {', '.join(lacking)}. Run this script once "
                f"with {INSTALL}, or install them in Slicer's module SuperResMRI.",
                file=sys.stderr,
            )
            return EXIT_MISSING_DEPENDENCY
    sys.argv = ["mriforge", *arguments]
    return command_line()


def known_dependencies():
    """The module that knows what may be missing; None in a Python that is not Slicer's.

    There, the command line itself says what is missing and how to install it.
    """
    try:
        from MRIForgeLib import dependencies
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "slicer":
            return None
        raise
    return dependencies


def install(dependencies):
    """Installs what is missing, without a question: the command line has been the answer.

    Raises:
        MRIForgeError: something could not be installed, and what to do about it.
    """
    missing = dependencies.missing()
    if dependencies.TORCH in missing and importlib.util.find_spec("PyTorchUtils") is not None:
        import PyTorchUtils

        PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False,
            torchVersionRequirement=dependencies.torch_requirement(sys.platform).removeprefix(
                "torch"
            ),
        )
    # torch brings some of the others.
    others = [each for each in dependencies.missing() if each != dependencies.TORCH]
    if others:
        import slicer.packaging

        slicer.packaging.pip_ensure(others, prompt_install=False, prompt_restart=False)
    dependencies.ensure("MRIForge", interactive=False)


def run_outside(arguments):
    """Runs this script by PythonSlicer, prints what it prints and returns its exit code.

    The job has the memory, the signals and the graphics card of a process of its own, where no
    package can open a window, and whatever happens to it, Slicer gets its exit code.
    """
    from MRIForgeLib.worker_process import python_slicer

    folders = [str(packages_folder()), *folder_of("PyTorchUtils")]
    folders += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [python_slicer(), str(Path(__file__).resolve()), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ) as process:
        pass_signals_on(process)
        print_lines(process)
        code = process.wait()
    return code if code >= 0 else EXIT_FAILED  # negative: killed by a signal


def folder_of(module):
    """The folder of a module of another extension, in a list; empty if it is not installed."""
    spec = importlib.util.find_spec(module)
    return [str(Path(spec.origin).parent)] if spec is not None and spec.origin else []


def pass_signals_on(process):
    """Ctrl+C, and the end that a scheduler asks for, reach the job, which then tidies up."""

    def handler(number, _frame):
        # Windows sends Ctrl+C to every process of the console.
        if os.name == "posix" and process.poll() is None:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def print_lines(process):
    """Prints each line of the process where it belongs, from this thread alone, to its end."""
    lines = queue.Queue()

    def read(name, pipe):
        for line in pipe:
            lines.put((name, line))
        lines.put((name, None))

    pipes = {"stdout": process.stdout, "stderr": process.stderr}
    for name, pipe in pipes.items():
        threading.Thread(target=read, args=(name, pipe), daemon=True).start()
    while pipes:
        name, line = lines.get()
        if line is None:
            del pipes[name]
        else:
            print(line, end="", file=getattr(sys, name), flush=True)


def guarded(arguments):
    """The exit code of main, whatever happens: an exception would leave Slicer open."""
    try:
        return main(arguments)
    except KeyboardInterrupt:
        return EXIT_CANCELLED
    except Exception as error:
        if os.environ.get("MRIFORGE_DEBUG", "0") != "0":
            traceback.print_exc()
        # The errors of mriforge explain themselves; mriforge may be what could not be imported.
        known = hasattr(error, "one_line")
        text = error.one_line() if known else f"{type(error).__name__}: {error}"
        print(f"batch: {text}", file=sys.stderr)
        return getattr(error, "exit_code", EXIT_FAILED)


if __name__ == "__main__":
    exit_code = guarded(sys.argv[1:])
    if application() is None:
        sys.exit(exit_code)
    # Slicer would stay open after the script's last line.
    import slicer

    slicer.util.exit(exit_code)
