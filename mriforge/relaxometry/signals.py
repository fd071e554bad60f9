"""What a sequence makes of a relaxation time: relative signals, proton density one.

NumPy arrays in, NumPy arrays out (float64); torch tensors in, tensors out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def ir_flash(
    t1_s: Any, pulses: Any, repetition_s: float, flip_deg: Any, inversion: Any = -1.0
) -> Any:
    """Signal of a spoiled gradient-echo train after an inversion.

    ``e = exp(-TR / T1); s_n = sin a (1 - e) / (1 - e cos a) [1 + (B - 1) (e cos a)^n]``
    (Look and Locker 1970; Christodoulou 2018).

    Args:
        t1_s: T1 in seconds, any shape; NumPy, torch or a number.
        pulses: number of the pulse since the inversion, from 0, may be fractional; any shape.
        repetition_s: time between pulses in seconds.
        flip_deg: flip angle in degrees; a number, or an array that broadcasts with ``t1_s``.
        inversion: magnetisation after the inversion relative to the steady state, -1 perfect;
            a number, or an array that broadcasts with ``t1_s``.

    Returns:
        ``(*t1_s.shape, *pulses.shape)``; negative before the zero crossing.
    """
    t1_s, pulses, flip_deg, inversion = _together(t1_s, pulses, flip_deg, inversion)
    xp = _module(t1_s)
    t1_s, flip_deg, inversion = (
        xp.broadcast_arrays(t1_s, flip_deg, inversion)
        if xp is np
        else (xp.broadcast_tensors(t1_s, flip_deg, inversion))
    )
    wide = (*t1_s.shape, *(1,) * pulses.ndim)
    flip = flip_deg.reshape(wide) * (math.pi / 180)
    decay = xp.exp(-repetition_s / t1_s).reshape(wide)
    kept = decay * xp.cos(flip)
    steady = xp.sin(flip) * (1 - decay) / (1 - kept)
    return steady * (1 + (inversion.reshape(wide) - 1) * kept**pulses)


def spoiled_gradient_echo(t1_s: Any, flip_deg: Any, repetition_s: float) -> Any:
    """Steady state of a spoiled gradient echo, ``sin a (1 - e) / (1 - e cos a)`` (Ernst 1966).

    Args:
        t1_s: T1 in seconds; broadcasts with ``flip_deg``.
        flip_deg: flip angle in degrees.
        repetition_s: time between pulses in seconds.

    Returns:
        the signal, of the broadcast shape.
    """
    t1_s, flip_deg = _together(t1_s, flip_deg)
    xp = _module(t1_s)
    flip = flip_deg * (math.pi / 180)
    decay = xp.exp(-repetition_s / t1_s)
    return xp.sin(flip) * (1 - decay) / (1 - decay * xp.cos(flip))


def inversion_recovery(t1_s: Any, times_s: Any, inversion: Any = -1.0) -> Any:
    """Longitudinal magnetisation ``1 + (B - 1) exp(-t / T1)`` after an inversion, full recovery.

    Args:
        t1_s: T1 in seconds, any shape.
        times_s: inversion times in seconds, any shape.
        inversion: magnetisation after the pulse, -1 perfect.

    Returns:
        ``(*t1_s.shape, *times_s.shape)``.
    """
    t1_s, times_s, inversion = _together(t1_s, times_s, inversion)
    xp = _module(t1_s)
    wide = (1,) * times_s.ndim
    decay = xp.exp(-times_s / t1_s.reshape(*t1_s.shape, *wide))
    return 1 + (inversion.reshape(*inversion.shape, *wide) - 1) * decay


def _module(array: Any) -> Any:
    """``numpy`` or ``torch``, whichever made the array."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def _together(*values: Any) -> list[Any]:
    """All as tensors like the first tensor among them; as float64 arrays if there is none."""
    tensor = next((v for v in values if hasattr(v, "detach")), None)
    if tensor is None:
        return [np.asarray(value, np.float64) for value in values]
    import torch

    dtype = tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()
    return [torch.as_tensor(value, dtype=dtype, device=tensor.device) for value in values]
