"""Making slices fine, done again: to stacks that are made of the scan's own pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.interslice.gate import CUBIC
from mriforge.interslice.rows import Rows, along_first
from mriforge.interslice.scan import Pseudo, Refiner, Scan
from mriforge.physics.operator import LinearOperator
from mriforge.physics.separable import SeparableOperator
from mriforge.physics.stack import WELL_MEASURED, SliceStack
from mriforge.superres.consistency import make_consistent, relative_residual
from mriforge.superres.gate import Gate
from mriforge.superres.problem import EVERYWHERE, Problem, symmetries_of
from mriforge.volume import Grid, Series, Volume


@dataclass(frozen=True)
class SliceSharpener:
    """A method for thick slices, ready to be applied to any stack.

    Attributes:
        refiner: what was learned; None: an interpolation.
        gate: how far to follow it from cubic interpolation; None: all the way.
        linear: interpolate linearly.
        restores: put the acquired slices back into the result.
    """

    refiner: Refiner | None
    gate: Gate | None = None
    linear: bool = False
    restores: bool = True

    def propose(self, stack: Tensor, rows: Rows, fine: tuple[bool, bool]) -> Tensor:
        """``(low, b, c)`` to ``(high, b, c)``, see :class:`mriforge.interslice.scan.Refiner`."""
        if self.linear:
            return along_first(rows.linear(), stack)
        step = 1.0 if self.gate is None else self.gate.step
        if self.refiner is None or step == 0.0:
            return along_first(rows.cubic(), stack)
        proposal = self.refiner(stack, rows, fine)
        if step == 1.0:
            return proposal
        return torch.lerp(along_first(rows.cubic(), stack), proposal, step)

    def finish(
        self, fine: Tensor, operator: LinearOperator, acquired: Tensor
    ) -> tuple[Tensor, float, float]:
        """A proposal with what the slices saw in it, and the residual before and after."""
        if float(acquired.min()) >= 0:
            fine = fine.clamp(min=0)
        if self.restores:
            return make_consistent(operator, fine, acquired)
        residual = relative_residual(operator, fine, acquired)
        return fine, residual, residual


@dataclass(frozen=True)
class SliceTrials:
    """See :class:`mriforge.superres.problem.Trials`.

    Attributes:
        sharpener: what made the result.
        operator: the acquisition of the real stack.
        series: the input; ``scan``: its frames as methods see them.
    """

    sharpener: SliceSharpener
    operator: SliceStack
    series: Series
    scan: Scan
    final: Grid | None = None

    same_scale = True

    @property
    def frames(self) -> int:
        """How many frames the input has."""
        return len(self.series)

    @property
    def scale(self) -> float:
        """What stored values are divided by."""
        return self.scan.scale

    def problem(self, frame: int) -> Problem:
        """Frame ``frame`` of the input, in stored axes."""
        scan = self.scan
        back = tuple(int(i) for i in np.argsort(scan.permutation))
        low = scan.frames[frame].permute(back).contiguous()
        slices = scan.permutation[0] - 3

        def sharpen(image: Tensor) -> Tensor:
            stack = image.permute(scan.permutation).contiguous()
            fine = self.sharpener.propose(stack, scan.rows, (True, True))
            return self.sharpener.finish(fine.permute(back).contiguous(), self.operator, image)[0]

        return Problem(
            low,
            self.operator,
            (sharpen,),
            symmetries_of(self.operator, slices),
            _baselines(scan.rows, scan.permutation),
        )

    def own(self, frame: int) -> Iterator[Problem]:
        """Pixels of the frame made thick along either axis; of slices that taught nothing."""
        learned = self.sharpener.refiner is not None
        block = self.scan.held() if learned else slice(0, self.scan.frames.shape[1])
        for axis in (1, 2):
            if self.scan.frames.shape[1 + axis] >= 4 * self.scan.rows.ratio:
                yield self._made(self.scan.pseudo(frame, block, axis))

    def prior(self) -> Iterator[Problem]:
        """Thick slices are learned from the scan itself."""
        return iter(())

    def sharp(self, volume: Volume) -> Iterator[Problem]:
        """Not for thick slices: the scan's own pixels are sharp already."""
        raise BadInput(
            "Intervals of thick slices are calibrated on the scan's own pixels, which are sharp.",
            "Leave out --calibrate-on.",
        )

    def _made(self, made: Pseudo) -> Problem:
        rows = made.rows
        high, low = (
            Grid(tuple(t.shape), (1.0, 1.0, s))
            for t, s in ((made.truth, 1.0), (made.stack, rows.ratio))
        )
        operator = SeparableOperator(high, low, {-3: rows.acquire()}, condition=WELL_MEASURED)
        # Ends of a line are extrapolated by every method, and the real stack has few of them.
        first, last = (round(float(rows.centres[end])) for end in (0, -1))

        def sharpen(image: Tensor) -> Tensor:
            fine = self.sharpener.propose(image, rows, made.fine)
            return self.sharpener.finish(fine, operator, image)[0]

        # Only rows are flipped: the other axis runs across slices, which the method was told.
        kept = [s for s in symmetries_of(operator, across=False) if s.swap is None]
        return Problem(
            made.stack,
            operator,
            (sharpen,),
            tuple(kept),
            _baselines(rows, (0, 1, 2)),
            made.truth,
            (slice(max(0, first), last + 1), *EVERYWHERE[1:]),
        )


def _baselines(rows: Rows, order: tuple[int, int, int]) -> dict[str, Callable[[Tensor], Tensor]]:
    matrices = {
        "band-limited (sinc)": sinc_matrix(rows.positions, rows.low),
        "linear": rows.linear(),
        CUBIC: rows.cubic(),
    }
    back = tuple(int(i) for i in np.argsort(order))
    return {title: partial(_along, matrix, order, back) for title, matrix in matrices.items()}


def _along(matrix: Tensor, order: tuple[int, ...], back: tuple[int, ...], image: Tensor) -> Tensor:
    return along_first(matrix, image.permute(order)).permute(back).contiguous()


def sinc_matrix(positions: np.ndarray, size: int) -> Tensor:
    """``(len(positions), size)``: band-limited interpolation, the ends mirrored (by cosines)."""
    order = np.arange(size)
    analysis = np.cos(np.pi * order[:, None] * (order[None] + 0.5) / size) * (2.0 / size)
    analysis[0] /= 2
    clamped = np.clip(positions, -0.5, size - 0.5)
    synthesis = np.cos(np.pi * (clamped[:, None] + 0.5) * order[None] / size)
    return torch.from_numpy(synthesis @ analysis)
