"""What the benchmarks of organ segmentation share: ways of answering, scores kept as they come.

No benchmark itself. :class:`Views` gives the labels of each single view, of the vote and of fused
probabilities; :class:`Scores` keeps a JSON file of all figures, goes on from it when a benchmark
is started again, and writes tables and box plots from it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mriforge import allocator
from mriforge.io.atomic import atomic_path
from mriforge.metrics.compare_organs import compare_organs
from mriforge.metrics.overlap import OrganScore, ScoreTable, organ_scores, pair_text
from mriforge.phantoms.abdomen import draw
from mriforge.segment.job import model_for_organs
from mriforge.segment.outline import Answers, Outliner, Settings
from mriforge.synthesis import DeformSpec, RenderSpec, synthesise
from mriforge.volume import Volume

SINGLE = ("axial", "coronal", "sagittal")
WAYS = (*SINGLE, "vote", "probability")
PUBLISHED_MEANS = 0.909, 1.099, 3.740
"""Dice, mean surface distance and 95 % Hausdorff distance of Table 7-5 of Chen 2021, mm."""
FIRST_TEST_SEED = 900_000
"""Training anatomies have seeds below 100,000."""


class Views:
    """A trained model that is asked view by view, so that every way of fusing costs nothing more.

    Args:
        name: of the model, or its folder.
        device: as of the command line.
        overlap: slabs that see each slice.
    """

    def __init__(self, name: str, device: str = "auto", overlap: int = 2) -> None:
        model, self.card = model_for_organs(name)
        self._each = {
            view: Outliner(
                model, Settings.of(self.card, views=(view,), device=device, overlap=overlap)
            )
            for view in SINGLE
        }

    def __call__(self, volume: Volume, ways: Sequence[str]) -> dict[str, tuple[np.ndarray, float]]:
        """Labels ``(z, y, x)`` and seconds of each way; a fused one takes what its views take."""
        fused = set(ways) - set(SINGLE)
        asked = [view for view in SINGLE if fused or view in ways]
        found, whole = {}, None
        for view in asked:
            found[view] = timed(self._each[view].ask, volume, None, bool(fused))
            total = found[view][0].total
            whole = total if whole is None else whole + total
        answers = {view: (said.views[view], seconds) for view, (said, seconds) in found.items()}
        if fused:
            first = found[asked[0]][0]
            labels = {view: answers[view][0] for view in asked}
            together = Answers(first.grid, first.working, labels, whole)
            before = sum(seconds for _, seconds in answers.values())
            for way in fused:
                answer, seconds = timed(together.fused, way)
                answers[way] = answer, before + seconds
        return {way: answers[way] for way in ways}


@dataclass
class Scores:
    """Scores by group, way and case; one JSON file.

    Attributes:
        out: folder of the files.
        name: of the files.
        setting: what must be the same for figures to belong together.
        kept: ``kept[group][way][case]`` = scores of the organs.
        seconds: ``seconds[group][way]`` = list.
    """

    out: Path
    name: str
    setting: dict
    kept: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            found = json.loads(self.file.read_text(encoding="utf-8"))
            if found["setting"] != self.setting:
                raise SystemExit(f"{self.file} is of another setting: {found['setting']}.")
            self.kept, self.seconds = found["scores"], found["seconds"]

    @property
    def file(self) -> Path:
        return self.out / f"{self.name}.json"

    def has(self, group: str, way: str, case: str) -> bool:
        return case in self.kept.get(group, {}).get(way, {})

    def add(self, group, way, case, found, truth, spacing, labels, seconds=None) -> float:
        """Scores one answer; returns its mean Dice."""
        scores = organ_scores(found, truth, spacing, labels)
        keep = ("label", "dice", "jaccard", "msd_mm", "hd95_mm", "volume_ml", "reference_ml")
        rows = [[_plain(getattr(score, name)) for name in keep] for score in scores]
        self.kept.setdefault(group, {}).setdefault(way, {})[case] = rows
        if seconds is not None:
            self.seconds.setdefault(group, {}).setdefault(way, []).append(round(seconds, 2))
        return float(ScoreTable({case: scores}).overall("dice")[0])

    def table(self, group: str, way: str) -> ScoreTable:
        """All cases of one way."""
        rows = self.kept[group][way]
        return ScoreTable({case: [_score(row) for row in rows[case]] for case in rows})

    def save(self) -> None:
        """The JSON file."""
        held = {"setting": self.setting, "seconds": self.seconds, "scores": self.kept}
        with atomic_path(self.file) as partial:
            partial.write_text(json.dumps(held), encoding="utf-8")

    def finish(self, heading: str, baseline: str | None = None) -> str:
        """Writes Markdown, a page of figures and a box plot for each group; returns the Markdown.

        Args:
            heading: of the Markdown.
            baseline: the way that others are tested against; default: the best single view.
        """
        from mriforge.report.organ_scores import scores_figure

        parts = [f"# {heading}\n", f"`{json.dumps(self.setting)}`\n"]
        for group, ways in self.kept.items():
            tables = {way: self.table(group, way) for way in ways}
            parts += [f"\n## {group}\n", comparison(tables, baseline, self.seconds.get(group))]
            for way, table in tables.items():
                parts += [f"\n### {way}\n", table.to_markdown()]
            picture = self.out / f"{self.name}_{_file_name(group)}.png"
            with atomic_path(picture) as partial:
                partial.write_bytes(scores_figure(tables))
        text = "\n".join(parts)
        with atomic_path(self.out / f"{self.name}.md") as partial:
            partial.write_text(text, encoding="utf-8")
        return text


def best_single(tables: dict[str, ScoreTable]) -> str:
    """The single view with the best mean Dice, or the first way where there is none."""
    single = [way for way in SINGLE if way in tables] or [next(iter(tables))]
    return max(single, key=lambda way: tables[way].overall("dice")[0])


def comparison(
    tables: dict[str, ScoreTable], baseline: str | None = None, seconds: dict | None = None
) -> str:
    """Markdown: a line for each way, with tests against the baseline."""
    base = baseline if baseline in tables else best_single(tables)
    lines = [
        f"| way | cases | Dice (SD over cases) | MSD mm | 95HD mm | missed | Dice over {base} | "
        "Wilcoxon p | organs better, p < 0.05 (Holm) | s |",
        "|---" * 10 + "|",
    ]
    for way, table in tables.items():
        mean = [table.overall(f)[0] for f in ("dice", "msd_mm", "hd95_mm")]
        per_case = table.per_case("dice")
        spread = float(np.nanstd(per_case, ddof=1)) if len(per_case) > 1 else math.nan
        cells = [way, str(len(table.cases)), pair_text(mean[0], spread, 3)]
        cells += [pair_text(value, math.nan, 2) for value in mean[1:]]
        cells += [str(int(table.counts("missed").sum()))]
        if way == base:
            cells += ["–", "–", "–"]
        else:
            test = compare_organs(table, tables[base])
            better = [
                name
                for name, one in test.organs.items()
                if one.mean_difference > 0 and test.corrected[name] < 0.05
            ]
            cells += [f"{test.overall.mean_difference:+.4f}", f"{test.overall.wilcoxon_p:.2g}"]
            cells += [", ".join(better) or "none"]
        took = (seconds or {}).get(way)
        cells += [f"{np.mean(took):.1f}" if took else "–"]
        lines.append("| " + " | ".join(cells) + " |")
    dice, distance, far = PUBLISHED_MEANS
    lines.append(
        f"| *published, other data: 20 patients* | 20 | {dice:.3f} | {distance:.2f} | {far:.2f} | "
        "– | – | – | – | – |"
    )
    return "\n".join(lines) + "\n"


def torso(seed: int, spacing: float, chosen: argparse.Namespace) -> tuple[Volume, np.ndarray]:
    """An image of a torso that nobody trained on, and its labels."""
    image, labels = synthesise(
        draw(seed, spacing=spacing),
        seed,
        deform_spec=_FAR[chosen.deformation],
        render_spec=look(chosen),
    )
    return image, labels


CONTRAST_OPTIONS = ("random_contrast", "sequence", "quality")
"""Of :func:`add_contrast_options`."""


def look(chosen: argparse.Namespace) -> RenderSpec:
    """What images look like, from the options of :func:`add_contrast_options`."""
    return RenderSpec.of_quality(
        chosen.quality, random_contrast=chosen.random_contrast, sequence=chosen.sequence
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Which model answers, in which ways, on what device."""
    parser.add_argument("--model", default="denseunet_small")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--device", default="auto")


def begin(
    chosen: argparse.Namespace, name: str, **more: float | str
) -> tuple[Views, tuple[str, ...], Scores]:
    """Model, ways and scores of a benchmark.

    Args:
        chosen: options of :func:`add_run_options` and :func:`add_contrast_options`, and ``out``;
            contrasts that were not given are filled in.
        name: of the files of scores.
        more: what else must be the same for figures to belong together.
    """
    allocator.tune()
    views = Views(chosen.model, chosen.device)
    settle(chosen, views.card.settings.get("organs", {}))
    setting = {
        "model": views.card.name,
        "sha256": views.card.sha256,
        **more,
        **{name: getattr(chosen, name) for name in CONTRAST_OPTIONS},
    }
    return views, tuple(chosen.ways.split(",")), Scores(chosen.out, name, setting)


def score_case(
    scores: Scores, group: str, case: str, answers: dict, truth: Volume, judged: Sequence[int]
) -> None:
    """Scores the ways of answering one image, keeps them and prints a line.

    Args:
        answers: of :class:`Views`.
        truth: labels on the image's grid.
        judged: labels that count.
    """
    line = []
    for way, (found, seconds) in answers.items():
        dice = scores.add(group, way, case, found, truth.array, truth.grid.spacing, judged, seconds)
        line.append(f"{way} {dice:.3f}")
    scores.save()
    print(f"{group}, {case}: {', '.join(line)}", flush=True)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """How simulated images differ from what was drawn; contrasts by default as in training."""
    parser.add_argument("--deformation", default="none", choices=tuple(_FAR))
    add_contrast_options(parser)


def add_contrast_options(parser: argparse.ArgumentParser) -> None:
    """Which contrasts are rendered."""
    parser.add_argument("--random-contrast", type=float, help="default: as the model was trained")
    parser.add_argument(
        "--sequence", help="the only one, or 'any'; default: as the model was trained"
    )
    parser.add_argument(
        "--quality", choices=("any", "breath_hold"), help="default: as the model was trained"
    )


def settle(chosen: argparse.Namespace, trained: dict) -> None:
    """Fills in what was not said about contrasts.

    Args:
        chosen: changed.
        trained: the table ``organs`` of the model's recipe.
    """
    if chosen.random_contrast is None:
        chosen.random_contrast = trained.get("random_contrast", RenderSpec().random_contrast)
    if chosen.sequence is None:
        chosen.sequence = trained.get("sequence", "")
    if chosen.quality is None:
        chosen.quality = trained.get("quality", "any")
    chosen.sequence = "" if chosen.sequence == "any" else chosen.sequence


_FAR = {"none": DeformSpec.none(), "weaker": DeformSpec().weaker(), "whole": DeformSpec()}


def timed(work, *given):
    """The result, and seconds."""
    start = time.perf_counter()
    result = work(*given)
    return result, time.perf_counter() - start


def _plain(value: float) -> float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _score(row: list) -> OrganScore:
    return OrganScore(*(math.nan if value is None else value for value in row))


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text).strip("_")
