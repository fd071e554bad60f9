#!/usr/bin/env python3
"""The two commands of a developer's day, on a machine that has Python 3.11 or newer and no more.

    python3 Testing/dev.py demo [--out DIR ...]    the main job on real data, about 10 minutes
    python3 Testing/dev.py test [pytest options]   style check and tests; --long adds the slow ones
    python3 Testing/dev.py lint [--fix]            style check alone
    python3 Testing/dev.py env [demo|test]         make the environment, print its Python
    python3 Testing/dev.py wheelhouse OUT [...]    all packages for computers without internet

"demo" and "test" each make a virtual environment of their own in the checkout (.venv-demo,
.venv-test) and use it again until pyproject.toml or the Python changes. Nothing outside the
checkout is touched. Standard library only.

wheelhouse OUT   a new folder with MRIForge's own wheel, those of everything it needs, their
                 checksums (SHA256SUMS) and a page on how to install from it
    --python 3.12        Python of the computer without internet; 3D Slicer 5.12 has 3.12
    --platform NAME      its system: linux, windows or macos; default: this one
    --extras LIST        parts of pyproject.toml, separated by commas; default: all
    --own-only           MRIForge's own wheel alone

Settings (environment variables):
    MRIFORGE_PYTHON   the Python to build with, where the one that runs this file is too old
    MRIFORGE_TORCH    what to ask pip for instead of the tested torch, e.g. "torch==2.13.0+cpu"
    PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and pip's other settings are honoured.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST = (3, 11)
OWN = platform.python_version()
ROOT = Path(__file__).resolve().parent.parent
TESTED_TORCH = "torch==2.13.0"
EXTRAS = {"demo": "cli,report", "test": "all,dev,host"}
TOOLS = ["pip>=24", "uv>=0.8", "hatchling>=1.24"]
# A system by uv's name, and the tags of wheels that fit it.
PLATFORMS = {
    "linux": (
        "x86_64-manylinux_2_28",
        ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_26_x86_64"]
        + ["manylinux_2_24_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
        + ["manylinux_2_12_x86_64", "manylinux_2_5_x86_64", "linux_x86_64"],
    ),
    "windows": ("x86_64-pc-windows-msvc", ["win_amd64"]),
    "macos": ("aarch64-apple-darwin", ["macosx_14_0_arm64"]),
}
# File names of later ones are longer than Windows allows below Slicer's folder.
TORCH_IN_SLICER = {"windows": "torch>=2.4,<2.13"}
LINTED = [
    "mriforge",
    "MRIForgeLib",
    "SuperResMRI",
    "MTMRIRecon",
    "ALAMOSegment",
    "Resources",
    "Testing",
]
# The host loads Slicer's libraries and adapts Qt for the whole process: a process of its own.
SUITES = [["Testing/core"], ["Testing/adapter", "Testing/panels", "Testing/extension"]]
NO_TESTS = 5  # pytest's exit code when a selection matches nothing
FREE_GIB = 4.0
LAYOUT = 1  # raise to have every existing environment rebuilt
INSTALL_FAILED = 4


class Stop(Exception):
    """Ends the program with one paragraph of text and an exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def say(text):
    """Print one line at once, also into a pipe."""
    print(f"[dev] {text}", flush=True)


def clean_environ():
    """The user's environment without what would leak other packages into ours."""
    leaks = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    leaks |= {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV"}
    environ = {name: value for name, value in os.environ.items() if name not in leaks}
    return {**environ, "PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def version_of(command):
    """(major, minor) of a Python command given as a list, or None when it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [*command, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
        major, minor = done.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return int(major), int(minor)


def use_newer_python():
    """Start again with a Python that is new enough, where this one is not."""
    wanted = os.environ.get("MRIFORGE_PYTHON", "")
    if not wanted and sys.version_info >= OLDEST:
        return
    if wanted and Path(sys.executable).resolve() == Path(shutil.which(wanted) or wanted).resolve():
        if sys.version_info >= OLDEST:
            return
        raise Stop("MRIFORGE_PYTHON names a Python older than 3.11.")
    candidates = [[wanted]] if wanted else [[f"python3.{n}"] for n in (13, 12, 14, 11)]
    if not wanted and os.name == "nt":
        candidates = [["py", f"-3.{n}"] for n in (13, 12, 14, 11)] + candidates
    for command in candidates:
        found = version_of(command)
        if found is not None and found >= OLDEST:
            why = "" if wanted else f"Python {OWN} is too old: "
            say(f"{why}using {' '.join(command)}.")
            environ = {name: v for name, v in os.environ.items() if name != "MRIFORGE_PYTHON"}
            sys.exit(subprocess.call([*command, str(Path(__file__)), *sys.argv[1:]], env=environ))
    raise Stop(
        f"This is Python {OWN}; MRIForge needs 3.11 or newer. Install one from python.org or with "
        "the system's package manager, then run this command with it, or name it in the "
        "environment variable MRIFORGE_PYTHON."
    )


def folder_of(kind):
    """Folder of an environment: .venv-demo or .venv-test in the checkout."""
    return ROOT / (".venv-" + kind)


def python_of(folder):
    """The Python inside a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(kind):
    """What an environment was made from; another value means it has to be made again."""
    parts = [
        str(LAYOUT),
        EXTRAS[kind],
        torch_request(),
        str(ROOT),
        sys.version,
        platform.machine(),
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def torch_request():
    """The requirement that pip is given for torch."""
    return os.environ.get("MRIFORGE_TORCH", "").strip() or TESTED_TORCH


def is_ready(kind):
    """Whether the environment is whole, current and still runs."""
    stamp = folder_of(kind) / "mriforge-env.json"
    try:
        made_from = json.loads(stamp.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if made_from != fingerprint(kind):
        return False
    return version_of([str(python_of(folder_of(kind)))]) is not None


def make_venv(folder):
    """Create an empty virtual environment with pip in it."""
    arguments = [sys.executable, "-m", "venv", "--clear", str(folder)]
    done = subprocess.run(
        arguments, env=clean_environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode == 0:
        return
    if shutil.which("virtualenv"):
        say("The venv module does not work here; using virtualenv.")
        shutil.rmtree(folder, ignore_errors=True)
        command = ["virtualenv", "-q", "-p", sys.executable, str(folder)]
        if subprocess.call(command, env=clean_environ()) == 0:
            return
    if "ensurepip" in done.stdout or "No module named venv" in done.stdout:
        raise Stop(
            "This Python cannot make virtual environments. On Debian or Ubuntu run "
            "'sudo apt install python3-venv', elsewhere install Python from python.org; "
            "then run this command again.",
            INSTALL_FAILED,
        )
    raise Stop(
        f"The environment {folder} could not be made:\n{done.stdout.strip()}", INSTALL_FAILED
    )


def pip_install(python, arguments):
    """Run pip install, showing its output. Returns None, or what went wrong in one sentence."""
    return pip(python, ["install", "--progress-bar", "off", *arguments])


def pip(python, arguments):
    """Run pip, showing its output. Returns None, or what went wrong in one sentence."""
    command = [str(python), "-m", "pip", *arguments]
    tail = []
    with subprocess.Popen(
        command,
        cwd=str(ROOT),
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            if not line.startswith("Requirement already satisfied"):
                print("    " + line.rstrip(), flush=True)
            tail = [*tail[-199:], line]
    return None if process.returncode == 0 else diagnose("".join(tail))


def diagnose(output):
    """What to do about a failed installation, from pip's words."""
    if "No space left" in output or "Errno 28" in output:
        return "The disk is full. Free about 8 GB in the checkout's and the temporary folder."
    signs = ("NewConnectionError", "NameResolutionError", "Failed to establish", "ReadTimeout")
    signs += ("ConnectTimeout", "ConnectionError", "ProxyError", "Temporary failure", "unreachable")
    if any(sign in output for sign in signs):
        return (
            "The package index cannot be reached. Connect to the internet, or set PIP_INDEX_URL "
            "(and HTTPS_PROXY) to what your institution uses, then run this command again."
        )
    if "SSLError" in output or "CERTIFICATE_VERIFY_FAILED" in output:
        return (
            "The package index's certificate is not trusted here. Set PIP_CERT to your "
            "institution's certificate file, then run this command again."
        )
    if "No matching distribution" in output or "Could not find a version" in output:
        return (
            f"A package has no version for Python {OWN} on {platform.system()} "
            f"{platform.machine()}. Try Python 3.12 through the environment variable "
            "MRIFORGE_PYTHON; behind a mirror, check PIP_INDEX_URL."
        )
    if "WinError 206" in output or "file name or extension is too long" in output.lower():
        return (
            "A path is too long for Windows. Move the checkout to a short one such as "
            "C:\\mriforge, or switch on long paths in Windows, then run this command again."
        )
    if "Permission" in output or "Errno 13" in output:
        return "A folder is not writable. Use a checkout in a folder of your own."
    return "pip failed; its last lines above say why."


def installed_torch(python):
    """(version of torch or "", whether torchvision is there) in an environment."""
    code = (
        "import json\nfrom importlib import metadata\n"
        "def v(n):\n    try: return metadata.version(n)\n    except Exception: return ''\n"
        "print(json.dumps([v('torch'), v('torchvision')]))"
    )
    done = subprocess.run([str(python), "-c", code], env=clean_environ(), stdout=subprocess.PIPE)
    try:
        torch, vision = json.loads(done.stdout)
    except ValueError:
        return "", False
    return torch, bool(vision)


def install_torch(python):
    """Torch before everything else, so that its build is chosen once. Returns its version."""
    wish = torch_request()
    say(f"Installing {wish} (the largest part: 0.2 GB for CPU builds, up to 3 GB with CUDA).")
    problem = pip_install(python, [wish])
    if problem and "no version for" in problem and wish == TESTED_TORCH:
        say("The tested version is not offered for this machine; taking the newest that is.")
        problem = pip_install(python, ["torch"])
    if problem:
        raise Stop("torch could not be installed. " + problem, INSTALL_FAILED)
    version, _ = installed_torch(python)
    if not version:
        raise Stop("torch was installed but cannot be found in the environment.", INSTALL_FAILED)
    return version


def build(kind):
    """Make the environment from nothing; it counts only once its stamp is written."""
    folder = folder_of(kind)
    say(f"Making {folder} with Python {OWN} (once; later runs use it again).")
    try:
        free = shutil.disk_usage(ROOT).free / 2**30
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise Stop(f"{folder} cannot be replaced ({error}). Close what uses it.") from error
    if free < FREE_GIB:
        raise Stop(
            f"Only {free:.1f} GB are free on the disk of {ROOT}; the environment needs "
            f"{FREE_GIB:.0f} GB, or 8 GB with a CUDA build of torch. Free some space, then run "
            "this command again.",
            INSTALL_FAILED,
        )
    make_venv(folder)
    python = python_of(folder)
    version = install_torch(python)
    constraints = folder / "constraints.txt"
    constraints.write_text(f"torch=={version}\n", encoding="utf-8")
    say(f"Installing MRIForge and the rest; torch stays at {version}.")
    problem = pip_install(python, ["-c", str(constraints), "--editable", f".[{EXTRAS[kind]}]"])
    if problem:
        raise Stop("MRIForge could not be installed. " + problem, INSTALL_FAILED)
    after, torchvision = installed_torch(python)
    if after != version:
        raise Stop(f"A package replaced torch {version} by {after or 'nothing'}.", INSTALL_FAILED)
    if torchvision:
        raise Stop(
            "A package brought torchvision along, which MRIForge must not need.", INSTALL_FAILED
        )
    stamp = {"fingerprint": fingerprint(kind), "torch": version, "python": OWN}
    (folder / "mriforge-env.json").write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def environment(kind):
    """The Python of an environment, which is made first where it is missing or outdated."""
    if not is_ready(kind):
        build(kind)
    return str(python_of(folder_of(kind)))


def run(*command, folder=ROOT):
    """Run a program, in the checkout if not told otherwise. Returns its exit code."""
    process = subprocess.Popen([str(part) for part in command], cwd=folder, env=clean_environ())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the program got it too and is tidying up
            continue


def demo(arguments):
    """The main job on real data."""
    return run(environment("demo"), "-m", "mriforge", "demo", *arguments, folder=None)


def lint(arguments):
    """The style check; with --fix it also corrects what it can."""
    python = environment("test")
    fix = "--fix" in arguments
    first = run(python, "-m", "ruff", "check", *(["--fix"] if fix else []), *LINTED)
    second = run(python, "-m", "ruff", "format", *([] if fix else ["--check"]), *LINTED)
    return first or second


def test(arguments):
    """The style check, then the tests; the result is good when both are."""
    style = lint([])
    suites = SUITES
    if "--long" in arguments:
        arguments = [a for a in arguments if a != "--long"] + ["-m", "long or not long"]
        suites = [*SUITES, ["Testing/long"]]
    if any((ROOT / a.split("::")[0]).exists() for a in arguments):
        suites = [[]]  # what to run is named
    codes = [run(environment("test"), "-m", "pytest", *arguments, *suite) for suite in suites]
    bad = [code for code in codes if code not in (0, NO_TESTS)]
    code = bad[0] if bad else min(codes)
    if style:
        print("[dev] The style check above failed; 'dev.py lint --fix' helps.", file=sys.stderr)
    return code or style


def env(arguments):
    """Make one environment and print the path of its Python."""
    kind = arguments[0] if arguments else "test"
    if kind not in EXTRAS:
        raise Stop("There are two environments: demo and test.", 2)
    print(environment(kind))
    return 0


def tools():
    """A Python with pip, uv and hatchling: this one, or that of an environment made for them."""
    own = [sys.executable, "-c", "import hatchling, pip, uv"]
    if subprocess.call(own, env=clean_environ(), stderr=subprocess.DEVNULL) == 0:
        return sys.executable
    folder = folder_of("tools")
    python = python_of(folder)
    if version_of([str(python)]) is None:
        say(f"Making {folder} (once).")
        make_venv(folder)
    problem = pip_install(python, TOOLS)
    if problem:
        raise Stop("The tools could not be installed. " + problem, INSTALL_FAILED)
    return str(python)


def pip_settings(python):
    """pip's own settings, {"index-url": [...], ...}, from its files and the environment."""
    command = [str(python), "-m", "pip", "config", "list"]
    done = subprocess.run(command, env=clean_environ(), stdout=subprocess.PIPE, text=True)
    found = {}
    lines = done.stdout.splitlines()
    # Settings for all commands, of one command, of the environment: the last one counts.
    for line in sorted(lines, key=lambda x: (x.startswith(":env:"), not x.startswith("global."))):
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ").split()
    return found


def resolved(python, requirements, version, platform_name):
    """Exact requirements, one for each package, for the Python and system that are wanted.

    pip evaluates conditions such as "only on Windows" for the computer it runs on; uv can do it
    for another.
    """
    settings = pip_settings(python)
    command = [str(python), "-m", "uv", "pip", "compile", "-", "--quiet", "--no-cache"]
    command += ["--no-config", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--index-strategy", "unsafe-best-match", "--no-python-downloads"]
    command += ["--python-version", version, "--python-platform", PLATFORMS[platform_name][0]]
    for ours, theirs in (
        ("--default-index", "index-url"),
        ("--index", "extra-index-url"),
        ("--find-links", "find-links"),
        ("--constraint", "constraint"),
    ):
        for value in settings.get(theirs, []):
            command += [ours, value]
    if settings.get("no-index", ["0"])[0].lower() in ("1", "true", "yes", "on"):
        command.append("--no-index")
    environ = clean_environ()
    if settings.get("cert"):
        environ["SSL_CERT_FILE"] = settings["cert"][0]
    done = subprocess.run(
        command, input="\n".join(requirements), env=environ, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise Stop(
            "Not all packages are there for that Python and system; the lines above say which. "
            "Where they name the network: set PIP_INDEX_URL (and HTTPS_PROXY, PIP_CERT).",
            INSTALL_FAILED,
        )
    lines = [line.strip() for line in done.stdout.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "mriforge ", "-"))]


def wanted_packages(own, extras, platform_name):
    """What a computer needs to run MRIForge, from the command line and in 3D Slicer."""
    chosen = f"[{extras}]" if extras else ""
    torch = os.environ.get("MRIFORGE_TORCH", "").strip()
    lines = (ROOT / "MRIForgeLib" / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    slicer = [line for line in lines.splitlines() if line and not line.startswith("#")]
    torch = torch or TORCH_IN_SLICER.get(platform_name, "torch>=2.4")
    return [f"mriforge{chosen} @ {own.resolve().as_uri()}", torch, *slicer]


GUIDE = """Packages for MRIForge {version} on a computer without internet
Python {python} on {platform}. SHA256SUMS holds the checksum of every file.

In 3D Slicer: install the extensions PyTorch and MRIForge from their files (Extensions Manager >
Install from file), set the environment variable MRIFORGE_WHEELS to this folder, start Slicer.
The first Apply asks, compares the checksums and installs from here.

Without Slicer, in an environment of your own:

    python -m pip install --no-index --find-links FOLDER "mriforge{extras}"
"""


def wheelhouse(arguments):
    """A folder of wheels for computers without internet."""
    system = {"Windows": "windows", "Darwin": "macos"}.get(platform.system(), "linux")
    asked = argparse.ArgumentParser(prog="dev.py wheelhouse", description=wheelhouse.__doc__)
    asked.add_argument("out", type=Path, help="a new folder")
    asked.add_argument("--python", default="3.12", help="version; 3D Slicer 5.12 has 3.12")
    asked.add_argument("--platform", choices=PLATFORMS, default=system, help="default: this one")
    asked.add_argument("--extras", default="all", help="parts of pyproject.toml")
    asked.add_argument("--own-only", action="store_true", help="MRIForge's own wheel alone")
    wish = asked.parse_args(arguments)
    out = wish.out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Stop(f"{out} is there already. Name a new or an empty folder.", 2)
    python = tools()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(out.parent), prefix=".wheelhouse-") as made:
        folder = Path(made) / "wheels"
        fill(folder, python, wish)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    say(f"{len(list(out.glob('*.whl')))} wheels, {size:.0f} MB, in {out}.")
    return 0


def fill(folder, python, wish):
    """Make and download the wheels, and write the lists beside them."""
    say("Building MRIForge's own wheel.")
    build_wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    problem = pip(python, [*build_wheel, str(ROOT)])
    if problem:
        raise Stop("The wheel could not be built. " + problem, INSTALL_FAILED)
    own = next(folder.glob("mriforge-*.whl"))
    if not wish.own_only:
        wanted = wanted_packages(own, wish.extras, wish.platform)
        exact = resolved(python, wanted, wish.python, wish.platform)
        say(f"Downloading {len(exact)} packages for Python {wish.python} on {wish.platform}.")
        command = ["download", "--no-deps", "--only-binary", ":all:", "--progress-bar", "off"]
        command += ["--python-version", wish.python, "--implementation", "cp"]
        for tag in PLATFORMS[wish.platform][1]:
            command += ["--platform", tag]
        problem = pip(python, [*command, "--dest", str(folder), *exact])
        if problem:
            raise Stop("Not everything could be downloaded. " + problem, INSTALL_FAILED)
    extras = f"[{wish.extras}]" if wish.extras else ""
    words = {"python": wish.python, "platform": wish.platform, "extras": extras}
    guide = GUIDE.format(version=own.name.split("-")[1], **words)
    (folder / "README.txt").write_text(guide, encoding="utf-8")
    sums = []
    for path in sorted(folder.glob("*.whl")):
        with path.open("rb") as file:
            digest = hashlib.sha256()
            for block in iter(lambda file=file: file.read(1 << 20), b""):
                digest.update(block)
        sums.append(f"{digest.hexdigest()}  {path.name}\n")
    (folder / "SHA256SUMS").write_bytes("".join(sums).encode("ascii"))


COMMANDS = {"demo": demo, "test": test, "lint": lint, "env": env, "wheelhouse": wheelhouse}


def main(arguments):
    """Run the command that the first argument names. Returns the exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__.strip())
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # pip's words may not fit the console's code page
            stream.reconfigure(errors="replace")
    try:
        use_newer_python()
        return COMMANDS[arguments[0]](arguments[1:])
    except Stop as stop:
        print(f"[dev] {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("[dev] Stopped. What was being installed is made again next time.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
