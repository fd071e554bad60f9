#!/usr/bin/env python3
"""The lists of files in the CMake files, made from the files that are there.

    python Testing/extension/lists.py            say which lists are out of date; exit code 1 if any
    python Testing/extension/lists.py --write    bring them up to date

Slicer's macro for scripted modules ships what is listed and nothing else: a file that is forgotten
is missing on every user's machine and on no developer's. Each list stands in its CMake file
between the two comment lines BEGIN and END. Standard library only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "  # Written by Testing/extension/lists.py"
END = "  # End of the list"
NOT_SHIPPED = {"CMakeLists.txt", "Testing", "__pycache__", ".DS_Store"}


@dataclass(frozen=True)
class FileList:
    """One list of one CMake file.

    Attributes:
        cmake: the CMake file, relative to the checkout.
        variable: the variable that the list is assigned to.
        folder: whose files are listed, relative to the checkout; names are relative to it.
        python: whether the Python files are listed, or all others.
    """

    cmake: str
    variable: str
    folder: str
    python: bool

    def files(self, root: Path = ROOT) -> list[str]:
        """What the list has to hold, sorted."""
        folder = root / self.folder
        found = []
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            hidden = any(part.startswith(".") or part in NOT_SHIPPED for part in inside.parts)
            if path.is_file() and not hidden and (path.suffix == ".py") == self.python:
                found.append(inside.as_posix())
        return sorted(found)

    def listed(self, root: Path = ROOT) -> list[str]:
        """What the list holds now."""
        _, lines, _ = self._parts(root)
        return [line.strip().strip('"') for line in lines]

    def write(self, root: Path = ROOT) -> None:
        """Brings the list up to date; the rest of the CMake file stays as it is."""
        before, _, after = self._parts(root)
        names = [f'  "{name}"' if " " in name else f"  {name}" for name in self.files(root)]
        text = "\n".join([*before, *names, *after]) + "\n"
        (root / self.cmake).write_text(text, encoding="utf-8", newline="\n")

    def differences(self, root: Path = ROOT) -> list[str]:
        """One sentence for each file that is not listed, or listed and not there."""
        there, listed = self.files(root), self.listed(root)
        where = f"{self.cmake} ({self.variable})"
        notes = [f"{self.folder}/{n} is not listed in {where}" for n in there if n not in listed]
        notes += [
            f"{self.folder}/{n}, listed in {where}, is gone" for n in listed if n not in there
        ]
        notes += [f"{n} is twice in {where}" for n in sorted(set(listed)) if listed.count(n) > 1]
        return notes

    def _parts(self, root: Path) -> tuple[list[str], list[str], list[str]]:
        """Lines before the list with BEGIN, those of the list, and those after it with END."""
        lines = (root / self.cmake).read_text(encoding="utf-8").splitlines()
        try:
            start = lines.index(f"set({self.variable}")
            begin = lines.index(BEGIN, start)
            end = lines.index(END, begin)
        except ValueError:
            raise SystemExit(
                f"{self.cmake} has no list for {self.variable}: set({self.variable}, then the "
                f"lines '{BEGIN.strip()}' and '{END.strip()}'."
            ) from None
        return lines[: begin + 1], lines[begin + 1 : end], lines[end:]


LISTS = (
    FileList("mriforge/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", "mriforge", True),
    FileList("mriforge/CMakeLists.txt", "MODULE_PYTHON_RESOURCES", "mriforge", False),
    FileList("mriforge/CMakeLists.txt", "MRIFORGE_MODELS", "Resources/Models", False),
    FileList("MRIForgeLib/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", "MRIForgeLib", True),
    FileList("MRIForgeLib/CMakeLists.txt", "MODULE_PYTHON_RESOURCES", "MRIForgeLib", False),
    FileList("SuperResMRI/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", "SuperResMRI", True),
    FileList("SuperResMRI/CMakeLists.txt", "MODULE_PYTHON_RESOURCES", "SuperResMRI", False),
    FileList("MTMRIRecon/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", "MTMRIRecon", True),
    FileList("MTMRIRecon/CMakeLists.txt", "MODULE_PYTHON_RESOURCES", "MTMRIRecon", False),
    FileList("ALAMOSegment/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", "ALAMOSegment", True),
    FileList("ALAMOSegment/CMakeLists.txt", "MODULE_PYTHON_RESOURCES", "ALAMOSegment", False),
)


def main(arguments: list[str]) -> int:
    """Checks or writes every list; returns the exit code."""
    if arguments not in ([], ["--write"]):
        print(__doc__)
        return 2
    notes = [note for each in LISTS for note in each.differences()]
    if arguments:
        for each in LISTS:
            each.write()
    print("\n".join(notes) if notes else "The lists are up to date.")
    return 1 if notes and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
