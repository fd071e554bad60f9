"""Where the stacks lie against each other: coarse by SimpleITK, then against the fused volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.fusion.edges import EdgePrior
from mriforge.fusion.geometry import coarser, moved_grid, padded
from mriforge.fusion.refine import blurred_across, refine
from mriforge.fusion.solve import coverage, solve
from mriforge.fusion.stack import Stack
from mriforge.physics.interpolation import resample
from mriforge.superres.register import find_rigid
from mriforge.volume import Grid, Volume

_COARSE_MM = 2.0
_FINE_MM = 2.0
_ITERATIONS = 15
_PRIOR = EdgePrior(weight=0.01, delta=0.05)
"""Nearly quadratic smoothing for volumes that only serve registration. [?]"""
_SEEN = 0.05


@dataclass(frozen=True)
class Wish:
    """How to register.

    Attributes:
        same_contrast: compare by correlation, and refine against the fused volume.
        rounds: how often to reconstruct and register in turn; 0 leaves it at SimpleITK's.
        slice_motion: in the last two rounds move every slice by itself.
    """

    same_contrast: bool = True
    rounds: int = 3
    slice_motion: bool = False


def register_stacks(
    stacks: list[Stack], target: Grid, wish: Wish, events: Events | None = None
) -> list[Stack]:
    """The stacks with their motion against the first one.

    Args:
        stacks: placed as their headers say.
        target: grid of the fused volume.

    Raises:
        BadInput: stacks that share nothing.
    """
    events = events or Events()
    share = 0.5 if wish.same_contrast and wish.rounds else 1.0
    for number in range(1, len(stacks)):
        events.progress(share * (number - 1) / (len(stacks) - 1), f"registering stack {number + 1}")
        motion = coarse_motion(stacks[number], stacks[0], wish.same_contrast, events)
        stacks = [*stacks[:number], stacks[number].moved(motion), *stacks[number + 1 :]]
    if wish.same_contrast:
        for turn in range(wish.rounds):
            part = events.part(
                share + (1 - share) * turn / wish.rounds,
                share + (1 - share) * (turn + 1) / wish.rounds,
            )
            each_slice = wish.slice_motion and turn >= max(1, wish.rounds - 2)
            stacks = refined(stacks, target, each_slice, part)
    return stacks


def coarse_motion(
    stack: Stack, reference: Stack, same_contrast: bool, events: Events | None = None
) -> np.ndarray:
    """4x4 motion of ``stack`` onto ``reference``, both as their headers say.

    Each is blurred by the other's slice profile first: then both are equally blurred in every
    direction and differences of resolution do not pull.
    """
    fixed = _equally_blurred(reference, stack)
    moving = _equally_blurred(stack, reference)
    try:
        found, _ = find_rigid(
            moving, fixed, correlation=same_contrast, from_header=True, events=events
        )
    except RuntimeError as error:
        raise BadInput(
            "The stacks could not be registered: they do not overlap or share no structure.",
            "Check that they are of one subject and session, or leave registration out.",
        ) from error
    inverse = found.GetInverse()
    return _matrix(inverse)


def _equally_blurred(stack: Stack, other: Stack) -> Volume:
    """On isotropic voxels of a few mm along the stack's own axes."""
    spacing = [_COARSE_MM] * 3
    size = [
        max(4, round(n * s / t))
        for n, s, t in zip(stack.grid.stored_shape, stack.grid.spacing, spacing, strict=True)
    ]
    factors = [t / s for s, t in zip(stack.grid.spacing, spacing, strict=True)]
    first = [
        (n - 1 - (m - 1) * f) / 2
        for n, m, f in zip(stack.grid.stored_shape, size, factors, strict=True)
    ]
    grid = stack.grid.resampled(tuple(size), tuple(spacing), tuple(first))
    image = resample(Volume(stack.data.numpy(), stack.grid), grid, order=3, outside="nearest")
    tensor = torch.from_numpy(np.asarray(image.array, dtype=np.float32))
    blurred = blurred_across(tensor, grid, other.normal, other.profile)
    return Volume(blurred.numpy(), grid)


def _matrix(transform: sitk.Transform) -> np.ndarray:
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(tuple(unit))) - origin for unit in np.eye(3)]
    u, _, v = np.linalg.svd(np.stack(columns, axis=1))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = u @ v, origin
    return matrix


def refined(
    stacks: list[Stack], target: Grid, each_slice: bool, events: Events | None = None
) -> list[Stack]:
    """Every stack but the first against a volume made of the others.

    A volume that the stack is a part of itself would hold it where it is. With ``each_slice`` the
    slices of the first stack move as well.
    """
    events = events or Events()
    grid = padded(coarser(target, _FINE_MM), 4)
    binned = [stack.binned(_FINE_MM) for stack in stacks]
    operators = [stack.operator(grid) for stack in binned]
    moved = list(stacks)
    first = 0 if each_slice else 1
    for number in range(first, len(stacks)):
        events.check_cancelled()
        events.progress(
            (number - first) / (len(stacks) - first), f"aligning stack {number + 1} with the others"
        )
        others = [s for s in range(len(stacks)) if s != number]
        chosen = [operators[s] for s in others]
        weights = [1.0] * len(others)
        volume = solve(
            chosen,
            [binned[s].data for s in others],
            weights,
            _PRIOR,
            iterations=_ITERATIONS,
            tolerance=2e-3,
            # It may be cancelled; its progress is a part of this one's.
            events=Events(events.control),
        ).image
        cover = coverage(chosen, weights)
        seen = cover > _SEEN * float(cover.max())
        moved[number], _ = refine(
            stacks[number], volume, grid, each_slice=each_slice, seen=seen, events=events
        )
    return moved


def placed(stack: Stack) -> Volume:
    """The stack on its grid after its motion, for interpolation (whole-stack motion only)."""
    return Volume(stack.data.numpy(), moved_grid(stack.grid, stack.transform))
