"""Tables and picture of the ratios that ``page.py`` collects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from measuring import ROOT

sys.path.insert(0, str(ROOT))

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
EVEN = 1.05
"""Ratios up to it, and down to its inverse, are called even."""
COLOURS = {"peer": "#1f77b4", "floor": "#7f7f7f", "growth": "#2ca02c"}
LEGEND = {
    "peer": "beside another program or way",
    "floor": "beside its arithmetic alone",
    "growth": "beside growth in proportion",
}


def number(value: float) -> str:
    """Three digits that count, without a power of ten where it can be read without."""
    if value == 0:
        return "0"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.0e}"


def figure_and_unit(value: float, unit: str) -> str:
    """A table's cell."""
    return f"{number(value)} {unit}".strip()


def rows_of(state: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """All ratios of one kind, each with the name of its benchmark."""
    return [
        {**row, "benchmark": name}
        for name, found in state["benchmarks"].items()
        for row in found["ratios"]
        if row["kind"] == kind
    ]


def table(rows: list[dict[str, Any]], heads: tuple[str, str]) -> list[str]:
    """Lines of a table of ratios."""
    lines = [f"| what | {heads[0]} | ours | {heads[1]} | ours / {heads[1]} | |", "|---" * 6 + "|"]
    for row in rows:
        ours, theirs = (figure_and_unit(row[key], row["unit"]) for key in ("ours", "theirs"))
        ratio = number(row["ratio"])
        lines.append(
            f"| {row['what']} | {row['peer']} | {ours} | {theirs} | {ratio} | {row['note']} |"
        )
    return lines


def losses(state: dict[str, Any]) -> list[str]:
    """Where another program is ahead, worst first."""
    rows = sorted(rows_of(state, "peer"), key=lambda row: -row["ratio"])
    behind = [row for row in rows if row["ratio"] > EVEN]
    even = [row for row in rows if 1 / EVEN <= row["ratio"] <= EVEN]
    lines = [f"{len(behind)} of {len(rows)} ratios are above {EVEN}; {len(even)} are even."]
    lines += [""] if behind else []
    for row in behind:
        ours, theirs = (figure_and_unit(row[key], row["unit"]) for key in ("ours", "theirs"))
        lines.append(
            f"- {row['what']}: {number(row['ratio'])} times {row['peer']} ({ours}, {theirs})"
        )
    return lines


def head(state: dict[str, Any]) -> list[str]:
    """Command and machine."""
    about, found = state["machine"], state["benchmarks"].values()
    dates = sorted({one["date"] for one in found})
    threads = sorted({one["threads"] for one in found})
    loads = [one["load"][0] for one in found if one["load"]] or [0.0]
    card = about["graphics_card"] or "no graphics card"
    lines = [
        f"`{state['command']}`, {dates[0]}" + (f" to {dates[-1]}" if dates[1:] else "") + ".",
        f"{about['processor']}, {about['logical_cores']} logical cores, {about['memory_gib']} GiB, "
        f"{card}; {about['system']}, Python {about['python']}, torch {about['torch']}, "
        f"NumPy {about['numpy']}, MRIForge {about['mriforge']}.",
    ]
    counted = " or ".join(map(str, threads))
    word = "thread" if threads == [1] else "threads"
    shared = (
        f" on a machine that others used at the same time (load {min(loads):g} to {max(loads):g})"
    )
    lines.append(f"{counted} {word}" + (shared if max(loads) > 0 else "") + ".")
    return lines


def markdown(state: dict[str, Any]) -> str:
    """All tables."""
    lines = [*head(state), ""]
    for found in state["benchmarks"].values():
        rows = [row for row in found["ratios"] if row["kind"] == "peer"]
        if rows:
            size = "small sizes" if found["quick"] else "full sizes"
            lines += [f"### {found['title']}", ""]
            lines += [*table(rows, ("beside", "theirs")), ""]
            lines += [f"{size}, seconds of the {clock_name(found)}: `{found['command']}`", ""]
    lines += ["### Where we lose", "", *losses(state), ""]
    if floors := rows_of(state, "floor"):
        lines += ["### Beside what cannot be avoided", ""]
        lines += [*table(floors, ("floor", "floor")), ""]
    if growth := rows_of(state, "growth"):
        lines += ["### Growth", "", *table(growth, ("beside", "expected")), ""]
    lines += left_out(state)
    return "\n".join(lines).rstrip() + "\n"


def clock_name(found: dict[str, Any]) -> str:
    """Which clock counted."""
    return "processor" if found["clock"] == "processor" else "clock on the wall"


def left_out(state: dict[str, Any]) -> list[str]:
    """What did not run, and why."""
    lines = []
    for name, found in state["benchmarks"].items():
        for word in ("skipped", "failed"):
            if word in found:
                lines.append(f"- {name}: {word}, {found[word]}")
        lines += [f"- {name}: without {missing}" for missing in found.get("without", ())]
    return ["### Not measured", "", *lines, ""] if lines else []


def into_page(path: Path, tables: str) -> None:
    """Put the tables between the marks of a page.

    Raises:
        ValueError: the page has no marks.
    """
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} has no {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")


def figure_of(state: dict[str, Any]) -> bytes | None:
    """All ratios on a logarithmic axis with a line at one, as PNG; None without matplotlib."""
    from mriforge.errors import MissingDependency
    from mriforge.report.figures import figure_class, to_png

    rows = [row for kind in COLOURS for row in rows_of(state, kind)]
    try:
        make = figure_class()
    except MissingDependency as error:
        print(error)
        return None
    if not rows:
        return None
    figure = make(11.0, 1.4 + 0.2 * len(rows))
    axes = figure.add_subplot()
    places = range(len(rows), 0, -1)
    for kind, colour in COLOURS.items():
        mine = [(p, r["ratio"]) for p, r in zip(places, rows, strict=True) if r["kind"] == kind]
        if mine:
            heights, ratios = zip(*mine, strict=True)
            axes.hlines(heights, 1, ratios, color=colour, linewidth=1)
            axes.plot(ratios, heights, "o", color=colour, markersize=4, label=LEGEND[kind])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(list(places), [f"{r['what']} | {r['peer']}" for r in rows], fontsize=6)
    axes.set_ylim(0, len(rows) + 1)
    axes.set_xlabel("ours / theirs: left of the line MRIForge is ahead")
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.legend(loc="lower left", fontsize=7)
    figure.tight_layout()
    return to_png(figure)
