"""Results on stdout: what was written and the figures, one function for a command."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mriforge.errors import EXIT_OK
from mriforge.events import to_json

_MOST_FRAMES = 40
_PATHS = (
    "output",
    "json",
    "csv",
    "report",
    "ssim_map",
    "difference_map",
    "uncertainty",
    "spread",
    "null_space",
)


def show_result(command: str, result: Mapping[str, Any], options: Any) -> int:
    """Prints a result; returns the exit code."""
    if command == "models":
        _show_models(result, options)
    elif command == "evaluate":
        _show_evaluation(result)
    elif command == "demo":
        _show_demo(result)
    else:
        _show_plain(result)
    sys.stdout.flush()
    return EXIT_OK


def _show_plain(result: Mapping[str, Any]) -> None:
    """Figures one per line, then the files."""
    for name, value in _flat(result):
        if name not in _PATHS:
            print(f"{name.replace('_', ' ')}: {_figure(value)}")
    _show_paths(result)


def _show_paths(result: Mapping[str, Any]) -> None:
    for name in _PATHS:
        if isinstance(result.get(name), str):
            print(f"written: {result[name]}")


def _show_evaluation(result: Mapping[str, Any]) -> None:
    """What was compared with a reference, and what was judged without one."""
    if "organs" in result:
        _show_organs(result)
        return
    if "psnr" in result:
        _show_comparison(result)
    if "no_reference" in result:
        _show_quality(result["no_reference"])
    _show_paths(result)


def _show_quality(found: Mapping[str, Any]) -> None:
    """A line for each method, the lower the better, and why a figure is missing."""
    methods = found["methods"]
    names = [n for n in ("niqe", "piqe", "brisque", "mscn_distance")
             if any(n in m for m in methods.values())]  # fmt: skip
    rows = [
        [name, *(_figure(m.get(n)) for n in names), str(m["slices"])] for name, m in methods.items()
    ]
    print_table([f"{found['plane']} slices", *names, "n"], rows)
    if "note" in found:
        print(found["note"])


def _show_comparison(result: Mapping[str, Any]) -> None:
    """The means and each frame; with other methods, one table of all and the paired tests."""
    names = [n for n in ("psnr", "ssim", "nrmse", "mae", "diff_sd") if n in result]
    others = result.get("compare") or {}
    if others:
        rows = [[name, *(_figure(m[n]) for n in names)] for name, m in others.items()]
        print_table(["method", *names], [*rows, ["image", *(_figure(result[n]) for n in names)]])
        for name, method in others.items():
            for figure in ("psnr", "ssim"):
                statement = (method.get(f"{figure}_test") or {}).get("statement")
                if statement:
                    print(f"image against {name}, {figure.upper()}: {statement}")
    else:
        frames = result.get("frames") or []
        rows = [["all", *(_figure(result[n]) for n in names)]]
        if 1 < len(frames) <= _MOST_FRAMES:
            rows += [[str(i), *(_figure(f[n]) for n in names)] for i, f in enumerate(frames)]
        print_table(["frame", *names], rows)


def _show_organs(result: Mapping[str, Any]) -> None:
    """A line for each organ and their mean; tests against other methods."""
    names = ["dice", "jaccard", "msd_mm", "hd95_mm"]
    rows = []
    for organ, scores in [*result["organs"].items(), ("mean", result["overall"])]:
        cells = [_figure(scores[name]["mean"]) for name in names]
        state = [w for w in ("missed", "invented") if scores.get(w)]
        rows.append([organ.replace("_", " "), *cells, ", ".join(state)])
    print_table(["organ", *names, ""], rows)
    for name, other in (result.get("compare") or {}).items():
        print(f"found against {name}, Dice: {other['tests']['dice']['overall']['statement']}")
    _show_paths(result)


def _show_models(result: Mapping[str, Any], options: Any) -> None:
    entries = result["models"]
    if options.json:
        single = options.action == "show"
        print(to_json(entries[0] if single else entries, indent=2))
        return
    if options.action == "show":
        for entry in entries:
            print("\n".join(outline(entry)))
        return
    rows = []
    for entry in entries:
        about = entry.get("title") or entry.get("source") or ""
        rows.append([entry["name"], entry["kind"], f"{entry.get('parameters', 0):,}", about])
    print_table(["name", "kind", "parameters", ""], rows)
    if options.action == "verify":
        print(f"{len(entries)} models verified: every checksum is right.")
    if options.action == "remove":
        print("removed.")
    _show_paths(result)


def outline(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Lines of ``name: value``; what is nested stands indented below its name."""
    for name, value in values.items():
        inner = value if isinstance(value, Mapping) else None
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            inner = {f"{number}": one for number, one in enumerate(value, 1)}
        if inner:
            yield f"{indent}{name}:"
            yield from outline(inner, indent + "  ")
            continue
        if isinstance(value, list):
            value = ", ".join(one if isinstance(one, str) else to_json(one) for one in value)
        yield f"{indent}{name}: {value if isinstance(value, str) else to_json(value)}".rstrip()


def _show_demo(result: Mapping[str, Any]) -> None:
    """The demo hands over text that is ready to print: ``table``, then ``next``."""
    for name in ("table", "next"):
        value = result.get(name)
        for line in [value] if isinstance(value, str) else value or []:
            print(line)
    _show_paths(result)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns of aligned text: first column left, the others right, the last one as it is."""
    rows = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *rows]) for i in range(len(head))]
    for row in [list(head), *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        if not head[-1]:
            cells[-1] = row[-1]
        print("  ".join(cells).rstrip())


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.extend(_flat(value, f"{prefix}{name} "))
        elif not (isinstance(value, list) and (len(value) > 8 or _tables(value))):
            found.append((prefix + name, value))
    return found


def _tables(values: list[Any]) -> bool:
    """Whether a list holds rows of figures, which are for files and not for a terminal."""
    return any(isinstance(value, Mapping) for value in values)


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(_figure(item) for item in value)
    return "-" if value is None else str(value)
