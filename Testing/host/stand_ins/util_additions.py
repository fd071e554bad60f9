"""What `slicer.util` of Slicer 5.12 has and that of the slicer-core wheel (5.10's) has not."""

import os
import queue
import shutil
import subprocess
import sys
import threading
import warnings

__all__ = [
    "_executePythonModule",
    "executePythonModule",
    "findChild",
    "launchConsoleProcess",
    "logProcessOutput",
    "pip_install",
    "pip_uninstall",
]

_POLL_MS = 100


def launchConsoleProcess(
    args,
    useStartupEnvironment=True,
    updateEnvironment=None,
    cwd=None,
    blocking=True,
    logCallback=None,
    completedCallback=None,
):
    """Start a program and return its Popen, whose stdout is text.

    With `blocking` the caller reads it with `logProcessOutput`. Without it a thread reads the
    output and a timer hands the lines to `logCallback` and the exit code to `completedCallback`.
    """
    from slicer.util import startupEnvironment

    environment = startupEnvironment() if useStartupEnvironment else os.environ.copy()
    environment.update(updateEnvironment or {})
    process = subprocess.Popen(
        args,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        cwd=cwd,
    )
    if not blocking:
        _follow(process, logCallback or print, completedCallback or (lambda code: None))
    return process


def logProcessOutput(proc, logCallback=None):
    """Print the output of a process until it ends; raises CalledProcessError for a bad end."""
    for line in proc.stdout:
        print(line.rstrip())
        if logCallback:
            logCallback(line.rstrip())
    if proc.wait() != 0:
        raise subprocess.CalledProcessError(proc.returncode, proc.args)


def executePythonModule(module, args, blocking=True, logCallback=None, completedCallback=None):
    """Run `PythonSlicer -m module args`; raises RuntimeError where there is no PythonSlicer."""
    import slicer

    if getattr(slicer, "app", None) is not None:
        program = shutil.which("PythonSlicer")
        if program is None:
            raise RuntimeError("PythonSlicer executable not found")
    else:
        program = os.path.join(os.path.dirname(sys.executable), "PythonSlicer")
    process = launchConsoleProcess(
        [program, "-m", module, *args],
        useStartupEnvironment=False,
        blocking=blocking,
        logCallback=logCallback,
        completedCallback=completedCallback,
    )
    if blocking:
        logProcessOutput(process, logCallback)


def _executePythonModule(module, args, blocking=True, logCallback=None, completedCallback=None):
    """Deprecated name that extensions of 5.10 use."""
    warnings.warn("use executePythonModule", DeprecationWarning, stacklevel=2)
    return executePythonModule(module, args, blocking, logCallback, completedCallback)


def findChild(widget, name, properties=None):
    """Return the first child of that name and with those dynamic properties (RuntimeError)."""
    from slicer.util import findChildren

    wanted = properties or {}
    for child in findChildren(widget, name=name or ""):
        if all(child.property(key) == value for key, value in wanted.items()):
            return child
    raise RuntimeError(f"no widget has the name {name!r} and the properties {wanted}")


def pip_install(requirements, **kwargs):
    """See `slicer.packaging.pip_install`."""
    from slicer import packaging

    return packaging.pip_install(requirements, **kwargs)


def pip_uninstall(requirements, **kwargs):
    """See `slicer.packaging.pip_uninstall`."""
    from slicer import packaging

    return packaging.pip_uninstall(requirements, **kwargs)


def _follow(process, on_line, on_end):
    import qt

    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line.rstrip())
        process.wait()
        lines.put(None)

    def poll():
        while not lines.empty():
            line = lines.get()
            if line is None:
                on_end(process.returncode)
                return
            on_line(line)
        qt.QTimer.singleShot(_POLL_MS, poll)

    threading.Thread(target=read, daemon=True).start()
    qt.QTimer.singleShot(0, poll)
