"""The documentation names what there is, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mriforge import errors
from mriforge.jobs import COMMANDS
from mriforge.jobs.options import label, specs

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "Docs").rglob("*.md"))]
COMMON = {"--help", "--quiet", "--debug", "--version"}


def command_line() -> str:
    return (ROOT / "Docs" / "command-line.md").read_text(encoding="utf-8")


def flags_of(command: str) -> set[str]:
    found = set()
    for name, spec in specs(COMMANDS[command].load().Options).items():
        if not spec.positional:
            flag = label(name, spec)
            found |= {flag, "--no-" + flag[2:]} if spec.kind == "flag" else {flag}
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_described(command: str) -> None:
    sections = re.split(r"^## ", command_line(), flags=re.MULTILINE)
    section = next(s for s in sections if re.match(rf"{command}\b", s))
    lines = [line for line in section.splitlines() if "torchrun" not in line]
    named = set(re.findall(r"--[a-z0-9-]+[a-z0-9]", "\n".join(lines)))
    assert named <= flags_of(command) | COMMON
    flags = flags_of(command)
    missing = {f for f in flags - named if "--no-" + f[2:] not in named}
    assert {f for f in missing if not f.startswith("--no-")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_use_commands_and_options_that_exist(page: Path) -> None:
    for block in re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        for command, rest in re.findall(r"^mriforge ([a-z0-9]+)(.*)$", block, re.M):
            assert command in COMMANDS
            assert set(re.findall(r"--[a-z0-9-]+", rest)) <= flags_of(command) | COMMON


def test_exit_codes_are_those_of_the_code() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    table = command_line().split("## Exit codes")[1].split("##")[0]
    assert {int(code) for code in re.findall(r"^\| (\d) \|", table, re.M)} == codes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "Docs" / "architecture.md").read_text(encoding="utf-8")
    for package in ("mriforge", "MRIForgeLib"):
        for path in (ROOT / package).iterdir():
            room = path.name + "/" if path.is_dir() else path.name
            if not room.startswith("__") and path.suffix in ("", ".py"):
                assert f"`{room}`" in text, room


def test_readme_shows_the_two_commands_first() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index("dev.py demo") < text.index("dev.py test") < len(text) // 3


def test_every_picture_is_shown() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "Docs").glob("*.md"))
    unused = [path.name for path in (ROOT / "Docs/images").iterdir() if path.name not in text]
    assert not unused
