"""Pristine NIQE models as files: JSON that anyone can read, a few kilobytes.

The one that comes with the program lies beside this file, and so is found from a checkout, a wheel
and an installed extension alike; ``python Testing/benchmarks/fit_niqe.py`` made it and makes
others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.metrics.no_reference.niqe import FEATURES, NiqeModel
from mriforge.untrusted.texts import from_json

SHIPPED = Path(__file__).with_name("niqe_brain.json")
"""Fitted on sharp MR slices of the brain; its provenance names subjects and licences."""
_KIND = "niqe"


def save_niqe(model: NiqeModel, path: str | Path) -> None:
    """Writes the model whole or not at all.

    Raises:
        BadInput: the file cannot be written.
    """
    from mriforge.io.atomic import atomic_path

    upper = model.covariance[np.triu_indices(FEATURES)]
    content = {
        "kind": _KIND,
        "patch": model.patch,
        "step": model.step,
        "sharpness": model.sharpness,
        "patches": model.patches,
        "slices": model.slices,
        "provenance": dict(model.provenance),
        "mean": [float(f"{v:.9g}") for v in model.mean],
        "covariance_upper_triangle": [float(f"{v:.9g}") for v in upper],
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_niqe(path: str | Path | None = None) -> NiqeModel:
    """The model of a file; without one, the one that comes with the program.

    Raises:
        BadInput: there is no such file, or it is no NIQE model.
    """
    path = SHIPPED if path is None else Path(path)
    try:
        content = from_json(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror or error}).",
            "Give a file made by fit_niqe.py.",
        ) from error
    except ValueError as error:
        raise _no_model(path, "it is not JSON") from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise _no_model(path, f'it does not say "kind": "{_KIND}"')
    try:
        return _model(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _no_model(path, str(error) or type(error).__name__) from error


def _no_model(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is no NIQE model: {reason}.", "Give a file made by fit_niqe.py.")


def _model(content: dict[str, Any]) -> NiqeModel:
    mean = np.array(content["mean"], np.float64)
    upper = np.array(content["covariance_upper_triangle"], np.float64)
    if mean.shape != (FEATURES,) or upper.shape != (FEATURES * (FEATURES + 1) // 2,):
        raise ValueError(f"it has not {FEATURES} features")
    covariance = np.zeros((FEATURES, FEATURES))
    covariance[np.triu_indices(FEATURES)] = upper
    covariance = covariance + np.triu(covariance, 1).T
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("it has values that are not numbers")
    values = np.linalg.eigvalsh(covariance)
    if values[0] < -1e-6 * max(values[-1], 0):
        raise ValueError("its covariance is none (it has negative eigenvalues)")
    patch, step = int(content["patch"]), int(content["step"])
    if patch % 2 or step % 2 or patch < 16 or step < 2:
        raise ValueError(f"its patches have {patch} pixels every {step}")
    return NiqeModel(
        mean,
        covariance,
        patch,
        step,
        float(content["sharpness"]),
        int(content.get("patches", 0)),
        int(content.get("slices", 0)),
        dict(content.get("provenance") or {}),
    )
