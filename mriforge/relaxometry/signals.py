"""What a sequence makes of a relaxation time: relative signals, proton density one."""

from __future__ import annotations

import numpy as np


def ir_flash(
    t1_s: np.ndarray | float,
    pulses: np.ndarray | int,
    repetition_s: float,
    flip_deg: float,
    inversion: float,
) -> np.ndarray:
    """Signal of a spoiled gradient-echo train after an inversion.

    ``e = exp(-TR / T1); s_n = sin a (1 - e) / (1 - e cos a) [1 + (B - 1) (e cos a)^n]``
    (Look and Locker 1970; Christodoulou 2018).

    Args:
        t1_s: T1 in seconds, any shape.
        pulses: number of the pulse since the inversion, from 0; any shape.
        repetition_s: time between pulses in seconds.
        flip_deg: flip angle in degrees.
        inversion: magnetisation after the inversion relative to the steady state, -1 perfect.

    Returns:
        float64 ``(*t1_s.shape, *pulses.shape)``; negative before the zero crossing.
    """
    t1_s, pulses = np.asarray(t1_s, np.float64), np.asarray(pulses, np.float64)
    flip = np.deg2rad(flip_deg)
    decay = np.exp(-repetition_s / t1_s).reshape(*t1_s.shape, *(1,) * pulses.ndim)
    kept = decay * np.cos(flip)
    steady = np.sin(flip) * (1 - decay) / (1 - kept)
    return steady * (1 + (inversion - 1) * kept**pulses)
