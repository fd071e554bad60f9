"""Receiver coils: their noise, their sensitivities, fewer of them, and one image from all."""

from mriforge.physics.coils.calibration import centre_of_kspace, low_resolution
from mriforge.physics.coils.combine import combine
from mriforge.physics.coils.compression import (
    apply_to_coils,
    compress,
    compression_matrix,
    prewhiten,
    whitening_matrix,
)
from mriforge.physics.coils.espirit import espirit_maps
from mriforge.physics.coils.walsh import walsh_maps

__all__ = [
    "apply_to_coils",
    "centre_of_kspace",
    "combine",
    "compress",
    "compression_matrix",
    "espirit_maps",
    "low_resolution",
    "prewhiten",
    "walsh_maps",
    "whitening_matrix",
]
