"""Noise of the coils made white, and many coils turned into few. Numpy only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mriforge.errors import BadInput
from mriforge.rawdata import RawData


def whitening_matrix(noise: np.ndarray) -> np.ndarray:
    """``(C, C)`` complex64: after it, noise has variance one in each coil and no correlation.

    The inverse of the Cholesky factor of the covariance (Pruessmann et al. 2001, appendix).

    Args:
        noise: ``(C, m)`` samples of noise alone.

    Raises:
        BadInput: fewer samples than coils, or a coil without noise.
    """
    coils, samples = noise.shape
    if samples < 2 * coils:
        raise BadInput(
            f"{samples} samples of noise are too few for {coils} coils.",
            "Leave the noise measurement out.",
        )
    centred = noise.astype(np.complex128) - noise.mean(1, keepdims=True)
    covariance = centred @ centred.conj().T / (samples - 1)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise BadInput(
            "The noise measurement has a coil without noise, or two that are the same.",
            "Leave the noise measurement out.",
        ) from error
    return np.linalg.inv(factor).astype(np.complex64)


def compression_matrix(kspace: np.ndarray, coils: int) -> np.ndarray:
    """``(coils, C)`` complex64, orthonormal rows: the virtual coils with most of the signal.

    Principal components over all samples (Huang et al. 2008). White noise stays white.

    Args:
        kspace: ``(s, C, n)`` complex, prewhitened.
        coils: how many virtual coils to keep, at most ``C``.
    """
    there = kspace.shape[1]
    if not 1 <= coils <= there:
        raise BadInput(f"{there} coils cannot be compressed to {coils}.")
    covariance = np.zeros((there, there), np.complex128)
    for start in range(0, len(kspace), 256):
        flat = kspace[start : start + 256].transpose(1, 0, 2).reshape(there, -1)
        covariance += flat @ flat.conj().T
    _, vectors = np.linalg.eigh(covariance)
    return vectors[:, ::-1][:, :coils].conj().T.astype(np.complex64)


def apply_to_coils(matrix: np.ndarray, kspace: np.ndarray) -> np.ndarray:
    """Coils of ``(s, C, n)`` mixed by ``(c, C)``: ``(s, c, n)`` complex64."""
    return np.matmul(matrix, kspace).astype(np.complex64, copy=False)


def prewhiten(raw: RawData) -> RawData:
    """Raw data whose noise is white, by their own noise measurement; unchanged without one."""
    if raw.noise is None:
        return raw
    matrix = whitening_matrix(raw.noise)
    return replace(
        raw, kspace=apply_to_coils(matrix, raw.kspace), noise=(matrix @ raw.noise).astype("c8")
    )


def compress(raw: RawData, coils: int | None) -> RawData:
    """Raw data of the ``coils`` virtual coils with most of the signal; all for None.

    Raises:
        BadInput: more are asked for than there are.
    """
    if coils is None or coils == raw.coils:
        return raw
    matrix = compression_matrix(raw.kspace, coils)
    noise = None if raw.noise is None else (matrix @ raw.noise).astype(np.complex64)
    return replace(raw, kspace=apply_to_coils(matrix, raw.kspace), noise=noise)
