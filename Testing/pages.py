#!/usr/bin/env python3
"""The pages of the documentation that are made of other files: models of their cards, recipes of
their values and marks.

    python3 Testing/pages.py           compare; says what is out of date, exit code 1
    python3 Testing/pages.py --write   write Docs/models.md and Docs/recipes.md

Standard library only (Python 3.11 or newer). `Testing/core/test_release.py` compares, too.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTICE = "<!-- Written by Testing/pages.py --write; do not edit. -->\n"

# What a recipe of ours with another network is the small variant of.
PUBLISHED = {
    "denseunet_small": "denseunet_k48",
    "mdcn_small": "mdcn",
    "pln_small": "pln",
    "recon_denseunet_small": "recon_denseunet",
    "sa_inr_small": "sa_inr",
    "smore_small": "smore",
    "tscnet_small": "tscnet",
    "unet3d_small": "unet3d",
}
FAMILIES = {
    "Prior-guided super-resolution": ("unet3d", "unet3d_small", "pln", "pln_small"),
    "Thick slices": (
        *("smore", "smore_rcan", "smore_small", "sa_inr_video", "sa_inr", "sa_inr_small"),
        *("tscnet", "tscnet_small", "xuan"),
    ),
    "A scanner's own degradation": ("downsampling_gan", "edsr"),
    "Dense and adversarial networks": (
        *("dcsrn", "mdcsrn", "mdcsrn_gan", "dragan", "gan_cpce", "gan_circle"),
    ),
    "Reconstruction (MALIBU)": ("mdcn", "mdcn_small", "recon_denseunet", "recon_denseunet_small"),
    "Organs (ALAMO)": ("denseunet_k48", "denseunet_small"),
}
TASKS = {
    "superresolution": "super-resolution",
    "segmentation": "loss of super-resolution networks",
    "factors": "reconstruction in the place of iterations",
    "organs": "abdominal organs",
}
MARK = re.compile(r"\[(S|R|C|M|D|\?)\]")
ENTRY = re.compile(r"^([A-Za-z_0-9]+)\s*=\s*[^#]*(?:\"[^\"]*\"[^#]*)*#\s*(.*)$")


class Entry:
    """One value of a recipe: where it stands, what it is, what its comment says."""

    def __init__(self, name, value, comment):
        self.name, self.value, self.comment = name, value, comment
        self.marks = set(MARK.findall(comment))

    def why(self):
        """The comment without marks that stand alone, for a cell of a table."""
        text = re.sub(r"^(\[(?:S|R|C|M|D|\?)\]\s*)+", "", self.comment)
        return cell(text)


def cell(text):
    """Text that does not end a cell of a table."""
    return str(text).replace("|", "\\|").strip()


def shown(value):
    """A value as a recipe has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return cell(json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value)


def recipe(path):
    """The values of a recipe, those that are commented as entries."""
    text = path.read_text(encoding="utf-8")
    tree = tomllib.loads(text)
    entries, section = [], ""
    for line in text.splitlines():
        header = re.match(r"^\[([A-Za-z_0-9.]+)\]", line)
        found = ENTRY.match(line)
        if header:
            section = header.group(1)
        elif found:
            keys = [*filter(None, section.split(".")), found.group(1)]
            value = tree
            for key in keys:
                value = value[key]
            entries.append(Entry(".".join(keys), value, found.group(2)))
    return tree, [entry for entry in entries if entry.marks]


def recipes():
    """Every shipped recipe by its name."""
    return {path.stem: recipe(path) for path in sorted((ROOT / "mriforge/recipes").glob("*.toml"))}


def published_value(entry, own, other):
    """What the source has for a value that is ours, where a recipe of ours says it."""
    name = re.sub(r"^variants\.[^.]+\.", "", entry.name)
    places = [own] if entry.name != name else []
    for entries in [*places, *([other] if other else [])]:
        for known in entries:
            if known.name == name and known.marks & {"S", "R", "C"} and "D" not in known.marks:
                marks = "".join(f"[{m}]" for m in "SRC" if m in known.marks)
                return f"{shown(known.value)} {marks}"
    return ""


def recipe_lines(name, tree, entries, others):
    """The section of one recipe."""
    own = [entry for entry in entries if not entry.name.startswith("variants.")]
    other = others[PUBLISHED[name]][1] if name in PUBLISHED else None
    lines = [f"### `{name}`", "", f"{tree['title']}. {tree['source']}.", ""]
    taken = [entry for entry in own if not entry.marks & {"D", "?"}]
    if taken:
        values = "; ".join(f"`{entry.name}` {shown(entry.value)}" for entry in taken)
        lines += [f"As the source has it: {values}.", ""]
    rows = [entry for entry in entries if "D" in entry.marks]
    if rows:
        lines += ["| differs | published | here | why |", "|---|---|---|---|"]
        for entry in rows:
            before = published_value(entry, own, other)
            lines.append(f"| `{entry.name}` | {before} | {shown(entry.value)} | {entry.why()} |")
        lines.append("")
    rows = [entry for entry in own if "?" in entry.marks and "D" not in entry.marks]
    if rows:
        values = "; ".join(
            f"`{entry.name}` {shown(entry.value)}" + (f" ({entry.why()})" if entry.why() else "")
            for entry in rows
        )
        lines += [f"Stated nowhere, our choice: {values}.", ""]
    variants = [f"`{name}:{variant}`" for variant in tree.get("variants", {})]
    if variants:
        lines += [f"Variants: {', '.join(variants)}.", ""]
    return lines


def recipes_page():
    """Docs/recipes.md."""
    known = recipes()
    left = set(known) - {name for names in FAMILIES.values() for name in names}
    if left:
        raise SystemExit(f"Put {', '.join(sorted(left))} into a family of FAMILIES in {__file__}.")
    lines = [
        "# Recipes: published and ours",
        "",
        NOTICE,
        "Every shipped recipe, value by value: what is as its source has it, what differs and why, "
        "and what the source does not say.",
        "Marks: **[S]** stated by the paper, **[R]** read in public code, **[C]** computed. A "
        "published value stands beside ours where a",
        "recipe of the published size has it. How well the methods do here: [methods](methods.md). "
        "The files are in `mriforge/recipes/`.",
        "",
    ]
    for family, names in FAMILIES.items():
        lines += [f"## {family}", ""]
        for name in names:
            lines += recipe_lines(name, *known[name], known)
    return "\n".join(lines).rstrip() + "\n"


def trained_on(card):
    """Rows of what a model has seen; cases that differ in the subject's number alone are one."""
    rows = {}
    for data in card["trained_on"]:
        image = data.get("file") or data.get("source") or ""
        subject = str(data.get("subject", ""))
        if not image:
            image, subject = re.sub(r"\s*\d+$", "", subject), ""
        key = (image, data.get("contrast") or data.get("kind", ""), data["licence"])
        rows.setdefault(key, []).append(data)
    lines = ["| trained on | kind | subjects | licence |", "|---|---|---|---|"]
    for (image, kind, licence), found in rows.items():
        count = sum(data.get("subjects", 1) for data in found)
        lines.append(f"| {cell(image)} | {cell(kind)} | {count} | {cell(licence)} |")
    return lines


def figures(card):
    """What was measured, one line."""
    found = dict(card.get("figures", {}))
    held_out = found.pop("held_out_subjects", [])
    values = ", ".join(f"{name} {value}" for name, value in found.items())
    return f"{values}; held out: {len(held_out)} subject{'s' if len(held_out) != 1 else ''}."


def models_page():
    """Docs/models.md."""
    folder = ROOT / "Resources" / "Models"
    cards = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*/card.json"))]
    lines = [
        "# Models",
        "",
        NOTICE,
        "The models that come with MRIForge, from their cards (`Resources/Models/NAME/card.json`). "
        "None is a medical device; none has been",
        "validated on patients. `mriforge models show NAME` prints a card, `mriforge models "
        "verify` compares the checksums. Every result names",
        "the checksum of its model. How they were trained: "
        "[Resources/Models](../Resources/Models/README.md).",
        "",
        "| model | for | parameters | MB | licence |",
        "|---|---|---|---|---|",
    ]
    for card in cards:
        name, size = card["name"], folder / card["name"] / "model.safetensors"
        lines.append(
            f"| [`{name}`](#{name}) | {TASKS.get(card['task'], card['task'])} | "
            f"{card['parameters']:,} | {size.stat().st_size / 1e6:.1f} | {card['licence']} |"
        )
    for card in cards:
        training = card.get("training", {})
        minutes = training.get("seconds", 0) / 60
        how = f"{training.get('steps', '?'):,} steps in {minutes:.0f} minutes on "
        how += f"{training.get('device', '?')}, recipe `{card['recipe']}`"
        lines += ["", f"## {card['name']}", "", f"{card['title']}.", ""]
        lines += ["| | |", "|---|---|", f"| network | `{card['network']}` |"]
        lines += [f"| sha256 | `{card['sha256']}` |", f"| trained | {how} |"]
        if training.get("stages"):
            lines.append(f"| stages | {cell(training['stages'])} |")
        lines += [f"| measured on held-out data | {cell(figures(card))} |"]
        if card.get("limits"):
            lines.append(f"| limits | {cell(card['limits'])} |")
        lines += ["", *trained_on(card)]
    return "\n".join(lines) + "\n"


PAGES = {"Docs/models.md": models_page, "Docs/recipes.md": recipes_page}


def main(arguments):
    """Compare or write; returns the exit code."""
    if arguments not in ([], ["--write"]):
        print(__doc__.strip())
        return 2
    outdated = []
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            outdated.append(name)
            if arguments:
                path.write_bytes(text.encode("utf-8"))
    said = "written" if arguments else "out of date: run python3 Testing/pages.py --write"
    print("\n".join(f"{name} {said}" for name in outdated) or "The pages are up to date.")
    return 1 if outdated and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
