"""The scan: golden-angle spokes and navigators of a moving, recovering subject, with coils."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mriforge.events import Events
from mriforge.phantoms.multitasking.anatomy import Subject
from mriforge.phantoms.multitasking.coils import coil_maps
from mriforge.phantoms.multitasking.physiology import Physiology, simulate
from mriforge.phantoms.multitasking.render import (
    CARDIAC_BINS,
    RESPIRATORY_BINS,
    Renderer,
    State,
    polynomials,
)
from mriforge.phantoms.multitasking.true_images import true_images
from mriforge.phantoms.multitasking.truth import Truth
from mriforge.physics.nufft import Nufft
from mriforge.physics.trajectory import apply_delays, delays_matrix, golden_angle, radial
from mriforge.rawdata import RawData
from mriforge.relaxometry.signals import ir_flash
from mriforge.volume import Grid

PARTITION_STEP = 0.7548776662466927
"""Inverse of the plastic number: partitions spread evenly, whatever the angles do."""
FOV_MM = 270.0
REPETITION_S = 0.0036
ECHO_S = 0.0016
FLIP_DEG = 5.0
INVERSION = -0.95
NOISE_SAMPLES = 4096
FINER_CARDIAC, FINER_RESPIRATORY = 3, 3
"""States for each bin when motion is continuous."""
_TOLERANCE = 1e-5
_VALUES_AT_ONCE = 1 << 22
"""Samples of tissues and coils that are held at once (32 MiB)."""


@dataclass(frozen=True)
class Protocol:
    """Settings of a scan; see :func:`scan`."""

    matrix: int = 160
    samples: int = 320
    coils: int = 8
    inversions: int = 24
    pulses: int = 688
    partitions: int = 1
    partition_mm: float = 8.0
    noise: float = 0.0125
    noise_correlation: float = 0.0
    continuous: bool = False
    arrhythmia: bool = False
    irregular_breathing: bool = False
    gradient_delay: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ecg: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("matrix", "samples", "coils", "inversions", "pulses", "partitions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}")
        if self.matrix % 2 or self.samples % 2 or self.pulses % 2:
            raise ValueError("matrix, samples and pulses have to be even")


def scan(
    subject: Subject,
    *,
    matrix: int = 160,
    inversions: int = 24,
    samples: int | None = None,
    coils: int = 8,
    events: Events | None = None,
    **settings: object,
) -> tuple[RawData, Truth]:
    """Measures a subject without ECG or breath-hold, as MR Multitasking does.

    After each inversion ``pulses`` excitations: the even ones read the navigator (angle 0), the
    odd ones a spoke of the next golden angle. k-space is the Fourier transform of the anatomy on
    twice the matrix, at the true posture and the true relaxation of every single readout.

    Args:
        subject: who.
        matrix: pixels of the image along x and y, even.
        inversions: number of inversion pulses.
        samples: of a readout, over ``[-0.5, 0.5)`` cycles per pixel; default twice the matrix.
        coils: receiver channels.
        events: progress and cancel.
        **settings: the others of :class:`Protocol`. ``pulses`` after each inversion, even;
            ``partitions`` of a stack of stars and their thickness ``partition_mm``; ``noise``,
            the standard deviation of its complex value relative to the root mean square of the
            five central samples; ``noise_correlation`` between neighbouring coils; ``continuous``
            motion instead of 20 x 6 postures (60 x 18); ``arrhythmia``; ``irregular_breathing``;
            ``gradient_delay`` ``(x, y, xy)`` in samples, by which the measured positions differ
            from the nominal ones in the raw data; ``ecg``: triggers are in the raw data;
            ``seed`` of rhythm and noise, default the subject's.

    Returns:
        raw data, and the truth.

    Raises:
        ValueError: a setting that makes no sense.
        Cancelled: when ``events`` asks for it.
    """
    protocol = Protocol(
        matrix=matrix,
        inversions=inversions,
        samples=2 * matrix if samples is None else samples,
        coils=coils,
        **settings,
    )
    events = events or Events()
    rng = np.random.default_rng([subject.seed if protocol.seed is None else protocol.seed, 11])
    plan = _plan(protocol)
    physiology = simulate(
        subject,
        plan.time_s,
        rng,
        arrhythmia=protocol.arrhythmia,
        irregular_breathing=protocol.irregular_breathing,
    )
    kspace = _kspace(subject, protocol, plan, physiology, events.part(0.0, 0.9))
    noise = _add_noise(kspace, plan, protocol, rng)
    raw = RawData(
        kspace=kspace,
        trajectory=plan.nominal,
        navigator=plan.navigator,
        since_inversion=plan.pulse,
        time_s=plan.time_s,
        grid=plan.grid,
        repetition_s=REPETITION_S,
        flip_deg=FLIP_DEG,
        partition=plan.partition,
        noise=noise,
        physiology={"cardiac_trigger_s": physiology.triggers_s} if protocol.ecg else {},
        header=_header(subject, protocol),
    )
    return raw, _truth(subject, protocol, plan, physiology, events.part(0.9, 1.0))


@dataclass(frozen=True)
class _Plan:
    """What is measured when and where; ``actual`` positions differ by the gradient delay."""

    time_s: np.ndarray
    pulse: np.ndarray
    navigator: np.ndarray
    partition: np.ndarray
    nominal: np.ndarray
    actual: np.ndarray
    grid: Grid


def _plan(protocol: Protocol) -> _Plan:
    readouts = protocol.inversions * protocol.pulses
    number = np.arange(readouts)
    pulse = (number % protocol.pulses).astype(np.int32)
    navigator = pulse % 2 == 0
    spoke = np.cumsum(~navigator) - 1
    angles = np.where(navigator, 0.0, golden_angle() * np.maximum(spoke, 0))
    nominal = radial(angles, protocol.samples)
    delays = delays_matrix(*protocol.gradient_delay)
    actual = apply_delays(nominal, delays) if delays.any() else nominal
    partitions = protocol.partitions
    order = np.floor(partitions * (np.maximum(spoke, 0) * PARTITION_STEP % 1.0))
    partition = np.where(navigator, partitions // 2, order).astype(np.int32)
    pixel = FOV_MM / protocol.matrix
    thickness = protocol.partition_mm
    half = protocol.matrix // 2 * pixel
    grid = Grid(
        (partitions, protocol.matrix, protocol.matrix),
        (pixel, pixel, thickness),
        (-half, -thickness * (partitions // 2), half),
        # x to the patient's left, y to the feet, slices from front to back.
        (1, 0, 0, 0, 0, 1, 0, -1, 0),
    )
    return _Plan(
        number * REPETITION_S,
        pulse,
        navigator,
        partition,
        nominal,
        actual,
        grid,
    )


def _header(subject: Subject, protocol: Protocol) -> dict[str, object]:
    return {
        "source": "simulated",
        "subject": subject.seed,
        "field_t": 3.0,
        "patient_position": "HFS",
        "protocol": "MR Multitasking, inversion-recovery FLASH, golden angle",
        "inversions": protocol.inversions,
        "echo_s": ECHO_S,
    }


def _signals(subject: Subject, pulses: np.ndarray) -> np.ndarray:
    """``(t, *pulses.shape)`` float64, proton density included."""
    relative = ir_flash(np.array(subject.t1_s), pulses, REPETITION_S, FLIP_DEG, INVERSION)
    return relative * np.array(subject.density)[:, None]


def _states(protocol: Protocol, physiology: Physiology) -> tuple[np.ndarray, np.ndarray, int, int]:
    """State numbers of every readout, and how many states a bin has, cardiac and respiratory."""
    if not protocol.continuous:
        return physiology.cardiac, physiology.respiratory, 1, 1
    cardiac = CARDIAC_BINS * FINER_CARDIAC
    respiratory = RESPIRATORY_BINS * FINER_RESPIRATORY
    return (
        np.minimum((physiology.cardiac_phase * cardiac).astype(np.int32), cardiac - 1),
        np.minimum((physiology.inspiration * respiratory).astype(np.int32), respiratory - 1),
        FINER_CARDIAC,
        FINER_RESPIRATORY,
    )


def _state(cardiac: int, respiratory: int, finer: tuple[int, int]) -> State:
    """Posture at the middle of a state; with one state to a bin that of the bin."""
    return State.of_bins((cardiac + 0.5) / finer[0] - 0.5, (respiratory + 0.5) / finer[1] - 0.5)


def _kspace(
    subject: Subject, protocol: Protocol, plan: _Plan, physiology: Physiology, events: Events
) -> np.ndarray:
    """Noise-free ``(s, c, n)``: chest for each depth of breath, plus what the heart changes."""
    fine = 2 * protocol.matrix
    cardiac, respiratory, *finer = _states(protocol, physiology)
    signals = _signals(subject, plan.pulse).astype(np.float32)
    weights = coil_maps(subject, protocol.coils, fine) * object_phase(subject, fine)
    kspace = np.zeros((len(plan.pulse), protocol.coils, protocol.samples), np.complex64)
    middle = protocol.partitions // 2
    work = list(_work(cardiac, respiratory))
    done, total = 0, len(work) * protocol.partitions
    for z in range(protocol.partitions):
        renderer = Renderer(subject, fine, FOV_MM, (z - middle) * protocol.partition_mm)
        turn = (plan.partition - middle) * (z - middle) / protocol.partitions
        along = signals * np.exp(-2j * np.pi * turn).astype(np.complex64)
        for r, c, chosen in work:
            events.check_cancelled()
            events.progress(done / total, f"measuring, posture {done + 1} of {total}")
            done += 1
            if c is None:
                labels = renderer.labels(_state(0, r, finer))
                images, offset = renderer.fractions(labels), (0, 0)
                window = (slice(None), slice(None))
            else:
                window = renderer.window
                there = renderer.fractions(renderer.window_labels(_state(c, r, finer)))
                images = there - renderer.fractions(renderer.window_labels(_state(0, r, finer)))
                offset = tuple(s.start + (s.stop - s.start) // 2 - fine // 2 for s in window)
            _measure(kspace, chosen, plan, images, weights[:, window[0], window[1]], offset, along)
    kspace *= (protocol.matrix / fine) ** 2
    return kspace


def _work(
    cardiac: np.ndarray, respiratory: np.ndarray
) -> Iterator[tuple[int, int | None, np.ndarray]]:
    """(respiratory, cardiac, readouts): the whole chest with the heart at state 0 for ``None``,
    then what is different at the other cardiac states.
    """
    for r in np.unique(respiratory):
        within = respiratory == r
        yield int(r), None, np.flatnonzero(within)
        for c in np.unique(cardiac[within]):
            if c != 0:
                yield int(r), int(c), np.flatnonzero(within & (cardiac == c))


def _measure(
    kspace: np.ndarray,
    chosen: np.ndarray,
    plan: _Plan,
    images: np.ndarray,
    weights: np.ndarray,
    offset: tuple[int, int],
    along: np.ndarray,
) -> None:
    """Adds what ``chosen`` readouts see of tissue images ``(t, ny, nx)`` at a fine offset."""
    seen = np.flatnonzero(np.abs(images).max((1, 2)))
    if not len(seen):
        return
    # All navigators are one line: it is transformed once.
    imaging, navigators = chosen[~plan.navigator[chosen]], chosen[plan.navigator[chosen]]
    lines = np.concatenate([imaging, navigators[:1]])
    points = plan.actual[lines].astype(np.float64) / 2
    shape = images.shape[1:]
    nufft = Nufft(torch.from_numpy(np.ascontiguousarray(points)), shape, tolerance=_TOLERANCE)
    ramp = np.exp(-2j * np.pi * (points[..., 0] * offset[1] + points[..., 1] * offset[0]))
    ramp = ramp.astype(np.complex64)
    together = max(1, _VALUES_AT_ONCE // (len(seen) * ramp.size))
    for start in range(0, len(weights), together):
        coils = slice(start, start + together)
        stack = images[seen] * weights[coils, None]
        found = nufft.forward(torch.from_numpy(stack)).numpy()
        found = found.reshape(*stack.shape[:2], *ramp.shape) * ramp
        here = found[:, :, : len(imaging)]
        kspace[imaging, coils] += np.einsum("ts,ctsn->scn", along[np.ix_(seen, imaging)], here)
        if len(navigators):
            seen_by = np.einsum("ts,ctn->scn", along[np.ix_(seen, navigators)], found[:, :, -1])
            kspace[navigators, coils] += seen_by


def object_phase(subject: Subject, pixels: int) -> np.ndarray:
    """``exp(i phase)`` of the object at the echo, ``(pixels, pixels)`` complex64."""
    field = polynomials(pixels, subject.off_resonance_hz)
    phase = polynomials(pixels, subject.phase) + 2 * np.pi * ECHO_S * field
    return np.exp(1j * phase).astype(np.complex64)


def _add_noise(
    kspace: np.ndarray, plan: _Plan, protocol: Protocol, rng: np.random.Generator
) -> np.ndarray | None:
    """Adds noise in place; returns the measurement of noise alone ``(c, m)``."""
    if protocol.noise == 0:
        return None
    middle = protocol.samples // 2
    central = kspace[~plan.navigator, :, max(middle - 2, 0) : middle + 3]
    deviation = protocol.noise * float(np.sqrt(np.mean(np.abs(central) ** 2)))
    apart = np.abs(np.subtract.outer(np.arange(protocol.coils), np.arange(protocol.coils)))
    factor = np.linalg.cholesky(protocol.noise_correlation ** apart.astype(float))
    factor = (factor * deviation / np.sqrt(2)).astype(np.float32)

    def draw(length: int) -> np.ndarray:
        parts = rng.standard_normal((protocol.coils, length, 2), np.float32)
        return factor @ parts.view(np.complex64)[..., 0]

    for start in range(0, len(kspace), 512):
        block = kspace[start : start + 512]
        drawn = draw(len(block) * protocol.samples)
        block += drawn.reshape(protocol.coils, len(block), -1).swapaxes(0, 1)
    return draw(NOISE_SAMPLES)


def _truth(
    subject: Subject, protocol: Protocol, plan: _Plan, physiology: Physiology, events: Events
) -> Truth:
    middle = protocol.partitions // 2
    slices = []
    for z in range(protocol.partitions):
        renderer = Renderer(
            subject, 2 * protocol.matrix, FOV_MM, (z - middle) * protocol.partition_mm
        )
        part = events.part(z / protocol.partitions, (z + 1) / protocol.partitions)
        slices.append(true_images(renderer, object_phase(subject, 2 * protocol.matrix), part))
    imaging = np.arange(1, protocol.pulses, 2)
    return Truth(
        tissues=subject.tissues,
        t1_s=np.array(subject.t1_s),
        fractions=np.stack([one for one, _ in slices], 3),
        images=np.stack([one for _, one in slices], 3),
        signals=_signals(subject, imaging),
        inversion_times_s=imaging * REPETITION_S,
        cardiac=physiology.cardiac,
        respiratory=physiology.respiratory,
        inversion=plan.pulse // 2,
        cardiac_phase=physiology.cardiac_phase,
        inspiration=physiology.inspiration,
        triggers_s=physiology.triggers_s,
        coil_maps=coil_maps(subject, protocol.coils, protocol.matrix),
        grid=plan.grid,
    )
