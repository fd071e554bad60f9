"""What discriminators tell of two domains: t-SNE of their inner maps (figure 5.6 of Chen 2021).

    python Testing/benchmarks/domain_features.py DATA OUT

OUT is that of sr_networks.py, with "Two-stage GAN" (branch watched) and "Two-stage DRAGAN" (branch
taught) trained. Patches of both domains are put through each discriminator up to its branch; the
maps, averaged over each patch's voxels, are shown in two dimensions, with the accuracy of the
branch in the last part of the training and that of a logistic regression on the averaged maps in
five-fold cross-validation. Needs scikit-learn. Writes OUT/domain_features.png and .json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sr_networks import SYSTEMS, manifest, recipe_of

from mriforge.networks.registry import build
from mriforge.report.figures import figure_class, to_png
from mriforge.training.checkpoint import load_checkpoint
from mriforge.training.data import load_dataset
from mriforge.training.domains import DomainSampler
from mriforge.training.patches import make_sampler

NAMES = ("Two-stage GAN", "Two-stage DRAGAN")
PATCHES = 200
_FIRST = 2**32
"""Number of the first batch: training does not come so far."""


def maps_of(judge: torch.nn.Module, sampler: DomainSampler) -> tuple[np.ndarray, np.ndarray]:
    """Averaged inner maps of patches, and the domain of each."""
    rows, domains = [], []
    for number in range(PATCHES // sampler.samplers[0].patches.batch // 2):
        batch = sampler.batch(_FIRST + number)
        with torch.no_grad():
            found = judge.features(batch.target)
        rows.append(torch.cat([found.mean(dim=(2, 3, 4)), found.std(dim=(2, 3, 4))], dim=1))
        domains.append(batch.domain)
    return torch.cat(rows).numpy(), torch.cat(domains).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    figure, results = figure_class()(9.0, 4.5), {}
    for place, name in enumerate(NAMES, 1):
        folder, recipe = chosen.out / name.replace(" ", "_"), recipe_of(SYSTEMS[name])
        tensors, state = load_checkpoint(folder / "checkpoint.safetensors")
        judge = build(recipe.adversarial.discriminator, **recipe.adversarial.options).eval()
        start = "other.judge."
        judge.load_state_dict(
            {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
        )
        data = load_dataset(manifest(chosen.data, chosen.out), folder / "cache")

        def sample(volumes, patches, recipe=recipe):
            return make_sampler(volumes, patches, recipe.degradation, recipe.input, seed=1)

        patches = dataclasses.replace(recipe.patches, batch=8)
        rows, domains = maps_of(judge, DomainSampler(data.train, patches, sample))
        line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        told = float(cross_val_score(line, rows, domains, cv=5).mean())
        branch = [e["domain_accuracy"] for e in state["history"] if "domain_accuracy" in e]
        results[name] = {"branch": branch[-1] if branch else None, "regression": told}
        flat = TSNE(2, random_state=0, init="pca").fit_transform(rows)
        axes = figure.add_subplot(1, 2, place)
        for domain, colour in ((0, "tab:cyan"), (1, "tab:red")):
            axes.plot(*flat[domains == domain].T, ".", color=colour, label=f"domain {domain}")
        axes.set_title(f"{name}: the branch is right in {100 * branch[-1]:.0f} %", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(fontsize=8)
    figure.tight_layout()
    (chosen.out / "domain_features.png").write_bytes(to_png(figure))
    (chosen.out / "domain_features.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
