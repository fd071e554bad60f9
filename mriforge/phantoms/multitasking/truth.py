"""The truth of a simulated scan: every frame, every bin, T1, without 41,280 images.

A frame is a sum over tissues, ``A[c, r, tau] = sum_t image[t, c, r] S[t, tau]``; projections on a
temporal basis and the best basis there is follow from the two factors alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mriforge.factors import Factors
from mriforge.volume import Grid

MOST = 64
"""Components of a basis at most."""


@dataclass(frozen=True)
class Truth:
    """What was simulated.

    Attributes:
        tissues: names; number ``t`` of all that follows.
        t1_s: ``(t,)`` seconds.
        fractions: ``(t, cardiac, respiratory, z, y, x)`` float32; part of the area of the pixel.
        images: the same axes, complex64; the tissue's image of unit signal as an ideal scan shows
            it: limited to the measured k-space, with the phase of the object.
        signals: ``(t, inversion)`` float64; proton density included.
        inversion_times_s: ``(inversion,)`` seconds after the inversion.
        cardiac, respiratory, inversion: ``(s,)`` int32, the bins of each readout.
        cardiac_phase: ``(s,)`` in [0, 1), 0 at end-diastole.
        inspiration: ``(s,)`` in [0, 1], 0 at end-expiration.
        triggers_s: times of the R waves.
        coil_maps: ``(c, y, x)`` complex64.
        grid: of the images.
    """

    tissues: tuple[str, ...]
    t1_s: np.ndarray
    fractions: np.ndarray
    images: np.ndarray
    signals: np.ndarray
    inversion_times_s: np.ndarray
    cardiac: np.ndarray
    respiratory: np.ndarray
    inversion: np.ndarray
    cardiac_phase: np.ndarray
    inspiration: np.ndarray
    triggers_s: np.ndarray
    coil_maps: np.ndarray
    grid: Grid

    @property
    def bins(self) -> tuple[int, int, int]:
        """Number of cardiac phases, respiratory phases and inversion times."""
        return (*self.images.shape[1:3], self.signals.shape[1])

    @property
    def largest_rank(self) -> int:
        """How many components a basis can have at most."""
        tissues, cardiac, respiratory = self.images.shape[:3]
        return min(tissues, self.signals.shape[1]) * cardiac * respiratory

    @property
    def labels(self) -> dict[int, str]:
        """What the numbers of :meth:`tissue` mean."""
        return {0: "background", **dict(enumerate(self.tissues, start=1))}

    def frame(self, cardiac: int, respiratory: int, inversion: int) -> np.ndarray:
        """One image ``(z, y, x)`` complex64."""
        weights = self.signals[:, inversion].astype(np.float32)
        return np.tensordot(weights, self.images[:, cardiac, respiratory], 1)

    def tissue(self, cardiac: int, respiratory: int, least: float = 0.5) -> np.ndarray:
        """Numbers ``(z, y, x)`` uint8 of the tissue that fills most of a pixel, see :attr:`labels`.

        Args:
            cardiac, respiratory: which state.
            least: pixels that no tissue fills to this part are background; near 1 keeps away from
                the borders.
        """
        parts = self.fractions[:, cardiac, respiratory]
        return np.where(parts.max(0) >= least, parts.argmax(0) + 1, 0).astype(np.uint8)

    def t1_ms(self, cardiac: int, respiratory: int, least: float = 0.5) -> np.ndarray:
        """T1 in ms ``(z, y, x)`` float32 of the tissue that fills most of a pixel, else 0."""
        values = np.concatenate([[0.0], self.t1_s * 1000.0]).astype(np.float32)
        return values[self.tissue(cardiac, respiratory, least)]

    def project(self, temporal: np.ndarray) -> np.ndarray:
        """Spatial factor of the truth in a temporal basis: ``U = A Phi^T``.

        Args:
            temporal: ``(L, cardiac, respiratory, inversion)`` real, rows orthonormal.

        Returns:
            ``(L, z, y, x)`` complex64.
        """
        weights = np.einsum("lcri,ti->ltcr", temporal, self.signals, optimize=True)
        flat = self.images.reshape(-1, int(np.prod(self.grid.shape)))
        spatial = weights.reshape(len(temporal), -1).astype(np.float32) @ flat
        return spatial.reshape(len(temporal), *self.grid.shape)

    def basis(self, rank: int) -> np.ndarray:
        """The real temporal basis that loses least of the truth, its energy descending.

        Args:
            rank: number of components, up to :data:`MOST`.

        Returns:
            ``(rank, cardiac, respiratory, inversion)`` float32, rows orthonormal.
        """
        return self._principal[0][:rank]

    def left_out(self, rank: int) -> float:
        """Part of the truth (root of relative energy) that no basis of this rank can hold."""
        energies = self._principal[1]
        return float(np.sqrt(max(energies[rank:].sum(), 0.0) / energies.sum()))

    def seen_by_spokes(self, images: np.ndarray) -> np.ndarray:
        """Images ``(..., y, x)`` without the corners of k-space, which radial spokes never reach.

        What is left out of the truth by that is the least error of any reconstruction that adds
        nothing of its own: 3 % of the standard subject at 160 x 160.
        """
        ny, nx = images.shape[-2:]
        ky, kx = np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx)[None, :]
        reached = (kx**2 + ky**2 <= 0.25).astype(np.float32)
        # The pixel n // 2 is the centre; a filter that is real and even does not care.
        return np.fft.ifft2(np.fft.fft2(images) * reached).astype(np.complex64)

    def factors(self, temporal: np.ndarray) -> Factors:
        """The truth within a temporal basis, as a reconstruction would give it."""
        return Factors(
            self.project(temporal),
            temporal.astype(np.float32, copy=False),
            self.grid,
            self.inversion_times_s,
            {"source": "truth of a simulated scan"},
        )

    @cached_property
    def _principal(self) -> tuple[np.ndarray, np.ndarray]:
        """The first :data:`MOST` vectors and all energies, from a Gram matrix of tissue images.

        With ``S = R Q`` (rows of Q orthonormal) the frames are ``(R x images)`` in the basis Q, so
        the eigenvectors of a matrix of (tissues x states) give those of all frames.
        """
        tissues, cardiac, respiratory = self.images.shape[:3]
        orthonormal, mixing = np.linalg.qr(self.signals.T)
        flat = self.images.reshape(tissues * cardiac * respiratory, -1)
        parts = np.concatenate([flat.real, flat.imag], 1)
        gram = (parts @ parts.T).astype(np.float64)
        gram = gram.reshape(tissues, cardiac * respiratory, tissues, -1)
        gram = np.einsum("at,tsup,bu->asbp", mixing, gram, mixing, optimize=True)
        size = self.largest_rank
        energies, vectors = np.linalg.eigh(gram.reshape(size, size))
        energies, vectors = energies[::-1], vectors[:, ::-1][:, :MOST]
        basis = np.einsum(
            "acrl,ia->lcri",
            vectors.reshape(len(mixing), cardiac, respiratory, -1),
            orthonormal,
            optimize=True,
        )
        return basis.astype(np.float32), np.maximum(energies, 0.0)
