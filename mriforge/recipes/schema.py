"""What a recipe may say: a tree of frozen dataclasses, filled strictly from TOML."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from mriforge.recipes.adversarial import AdversarialSpec
from mriforge.recipes.kernel import KernelSpec


@dataclass(frozen=True)
class NetworkSpec:
    """A key of ``mriforge.networks.registry`` and the arguments of its class."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DegradationSpec:
    """How low-resolution partners are made; fractions of k-space, noise relative to the scale.

    ``kspace_crop`` is for images that are interpolated back (``input.upsample``); the others halve
    rows and columns, for networks that double them (``input.upsample = "none"``): a learned
    ``kernel`` (the contents of its file), a ``gaussian`` of ``sigma`` sharp pixels, the central
    quarter of k-space with a ``fermi`` window, or a trained downsampling ``network`` (its folder).
    """

    operator: Literal["kspace_crop", "kernel", "gaussian", "fermi", "network"] = "kspace_crop"
    kernel: dict[str, Any] = field(default_factory=dict)
    sigma: float = 1.5
    network: str = ""
    keep: tuple[float, ...] = (0.25, 0.1, 0.0625)
    magnitude: bool = True
    keep_range: tuple[float, float] = (0.05, 0.3)
    keep_range_probability: float = 0.0
    aspect_jitter: float = 0.0
    aspect_jitter_probability: float = 0.0
    noise: tuple[float, float] = (0.0, 0.0)
    noise_probability: float = 0.0


@dataclass(frozen=True)
class InputSpec:
    """How the low-resolution image reaches the network."""

    upsample: Literal["sinc", "linear_aligned", "linear_halfpixel", "none"] = "sinc"
    scale: Literal["percentile", "maximum"] = "percentile"
    percentile: float = 99.5


@dataclass(frozen=True)
class PatchSpec:
    """Patches ``(depth, height, width)``; the slice axis is the first.

    ``mode="slab"``: whole slices are degraded on the fly, ``per_slab`` patches cut from each.
    ``mode="grid"``: every position of a grid with ``stride``, once per epoch, in random order.
    """

    mode: Literal["slab", "grid"] = "slab"
    size: tuple[int, int, int] = (24, 24, 24)
    stride: tuple[int, int, int] = (6, 12, 12)
    batch: int = 8
    per_slab: int = 4
    foreground: float = 0.85


@dataclass(frozen=True)
class AugmentationSpec:
    """Random changes of sharp slabs; ranges and probabilities, off by default.

    ``rescale`` is the in-plane matrix relative to the original, ``slice_step`` the largest
    distance between neighbouring slices of a slab. ``rotations``: slices are turned by a random
    multiple of a turn over this number; 1: not turned.
    """

    flip: bool = False
    transpose: bool = False
    rotations: int = 1
    rescale: tuple[float, float] = (1.0, 1.0)
    rescale_probability: float = 0.0
    slice_step: int = 1
    slice_average_probability: float = 0.0
    single_slice_probability: float = 0.0
    gain: tuple[float, float] = (1.0, 1.0)
    gamma: tuple[float, float] = (1.0, 1.0)
    gamma_probability: float = 0.0
    curve_probability: float = 0.0


@dataclass(frozen=True)
class LossSpec:
    """Weights of the terms; ``perceptual_network`` names a trained model.

    ``class_balance``: organs' cross-entropy weighs classes by this power of one over their
    frequency in the batch. ``balance`` divides every patch by the error of its input.
    ``weight_l1`` and ``weight_l2`` regularise the weights (not the biases): their sums of ``|w|``
    and of ``w^2 / 2``, averaged over the layers or added (``weight_sum``).
    """

    l1: float = 0.0
    l2: float = 0.0
    charbonnier: float = 0.0
    perceptual: float = 0.0
    perceptual_network: str = "pln_small"
    cross_entropy: float = 0.0
    class_balance: float = 0.0
    dice: float = 0.0
    balance: bool = False
    weight_l1: float = 0.0
    weight_l2: float = 0.0
    weight_sum: Literal["layers", "all"] = "layers"


@dataclass(frozen=True)
class LabelSpec:
    """Targets of ``task = "segmentation"``, computed from the image itself."""

    tissue_classes: int = 4
    vessel_scales: tuple[float, ...] = (0.8, 1.6)
    vessel_threshold: float = 0.04
    degraded_probability: float = 0.0


@dataclass(frozen=True)
class SliceSpec:
    """Learning across thick slices from the scan itself, line by line (``task = "interslice"``).

    Attributes:
        slices, columns: size of a patch: thick slices across, pixels along.
        merge: how the two orientations become one volume: mean, or Fourier burst accumulation.
        mirror: average with the prediction of the mirrored stack.
    """

    slices: int = 16
    columns: int = 32
    merge: Literal["mean", "fba"] = "mean"
    mirror: bool = False


@dataclass(frozen=True)
class StackSpec:
    """Stacks made of thin slices or frames, for networks that answer at any position between them.

    Attributes:
        take: ``slices``: blurred across, then sampled; ``frames``: every ``ratio``-th is kept.
        ratio: thin slices from one thick slice to the next, drawn between these two.
        whole: only whole ratios.
        sigma: of the blur, in thick slices.
        anywhere: the first thick slice may lie between two thin ones.
        planes: thin slices that are asked for in one step, drawn at random; 0: all.
    """

    take: Literal["slices", "frames"] = "slices"
    ratio: tuple[float, float] = (4.0, 4.0)
    whole: bool = True
    sigma: float = 0.75
    anywhere: bool = False
    planes: int = 0


@dataclass(frozen=True)
class StagesSpec:
    """Methods that learn in two stages.

    Attributes:
        first: share of the budget (steps and time) that the first stage gets.
        adversarial: weight of a discriminator's judgement in the second stage.
        divergence: weight of the Kullback-Leibler term of an auto-encoder in the first stage.
    """

    first: float = 0.5
    adversarial: float = 0.0
    divergence: float = 0.0


@dataclass(frozen=True)
class FactorSpec:
    """Spatial factors of image sequences (``task = "factors"``).

    Attributes:
        labels: what is learned: the iterative reconstruction, or a simulation's truth.
        normalise: by mean and standard deviation of an ``instance``, or by each ``component``.
        label_scale: the label is normalised by its ``own`` numbers or by those of the ``input``.
        component_weight: exponent of the components' scale in the loss; 1: errors of images
            count, 0: every component alike (no matter where ``normalise = "instance"``).
        batch: pairs in a step.
        crop: side of random squares in pixels; 0: whole images.
        flip: mirror and turn by quarters.
        phase: multiply by a random global phase.
        signs: random signs of components, which a basis may have as well.
    """

    labels: Literal["iterative", "truth"] = "iterative"
    normalise: Literal["instance", "component"] = "instance"
    label_scale: Literal["own", "input"] = "own"
    component_weight: float = 1.0
    batch: int = 1
    crop: int = 0
    flip: bool = False
    phase: bool = False
    signs: bool = False


@dataclass(frozen=True)
class OrganSpec:
    """Outlining organs in several views by one 2-D network on slabs (``task = "organs"``).

    Attributes:
        spacing: isotropic voxel size that the network works at, mm.
        batch: slabs in a step.
        slices: contiguous slices of a slab, the network's input and output channels.
        crop: height and width of the random window of a slab, pixels.
        views: how often slabs are taken axial, coronal, sagittal, relative to each other.
        flip: mirror up-down or left-right, each with this probability.
        projective: probability of a random projective deformation with the ranges below.
        rotation: rad, plus or minus; ``shear`` and ``perspective`` (per pixel) too.
        deep_supervision: weight of the mean of the auxiliary heads' losses; 0: no such heads.
        synthetic: share of steps with an image made from a tissue map, where there are both.
        volumes: simulated volumes kept at a time, each of a contrast and a deformation of its own.
        slabs: slabs that are cut from a simulated volume before it is made anew.
        random_contrast: share of simulated images in which every tissue is as bright as chance
            wants; the others follow an MR sequence.
        sequence: the only sequence that is simulated (``mriforge.synthesis.contrast.SEQUENCES``);
            "": any.
        quality: ``any``: thick slices, ghosts and noise too; ``breath_hold``: good 3-D images.
        deformation: how far simulated subjects differ from their tissue map.
        deformed: share of simulated subjects that do; the others have its very anatomy.
    """

    spacing: float = 1.2
    batch: int = 1
    slices: int = 20
    crop: tuple[int, int] = (160, 256)
    views: tuple[float, float, float] = (4.0, 1.0, 1.0)
    flip: float = 0.5
    projective: float = 0.5
    rotation: float = 0.05
    shear: float = 0.3
    perspective: float = 0.003
    deep_supervision: float = 1.0
    synthetic: float = 1.0
    volumes: int = 4
    slabs: int = 8
    random_contrast: float = 0.4
    sequence: str = ""
    quality: Literal["any", "breath_hold"] = "any"
    deformation: Literal["whole", "weaker", "none"] = "whole"
    deformed: float = 1.0


@dataclass(frozen=True)
class OptimiserSpec:
    """``clip_norm`` limits the norm of the gradient; 0: no limit."""

    name: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip_norm: float = 0.0


@dataclass(frozen=True)
class ScheduleSpec:
    """``warmup`` is a part of the run, ``final`` is relative to the learning rate.

    ``halving``: the run has ``pieces`` parts of one length, each at half the rate of the last.
    ``staircase``: after every ``every`` steps the rate is multiplied by ``factor``.
    ``plateau_linear``: constant for half of the run, then linearly to ``final``.
    """

    name: Literal["constant", "cosine", "onecycle", "halving", "staircase", "plateau_linear"] = (
        "constant"
    )
    warmup: float = 0.0
    final: float = 0.0
    pieces: int = 5
    every: int = 50000
    factor: float = 0.9


@dataclass(frozen=True)
class TrainingSpec:
    """When to stop (whichever comes first; 0 = no limit), validate and checkpoint.

    ``mixed_precision`` concerns CUDA, and 2-D networks on CPUs that have bfloat16;
    ``mixed_volumes``: 3-D networks there too, 1.6 to 1.8 times as fast.
    """

    steps: int = 0
    epochs: int = 0
    max_minutes: float = 0.0
    validate_every: int = 500
    checkpoint_seconds: float = 60.0
    mixed_precision: bool = True
    mixed_volumes: bool = False
    ema: float = 0.0


@dataclass(frozen=True)
class ValidationSpec:
    """Fixed patches per keep level, of held-out subjects.

    ``folds``: subjects are dealt into so many groups and number ``fold`` (from 1) is held out,
    whatever the manifest says; 0: as it says.
    """

    patches: int = 12
    size: tuple[int, int, int] = (24, 48, 48)
    fold: int = 1
    folds: int = 0


@dataclass(frozen=True)
class FinetuneSpec:
    """The subject-specific step on one prior, or on the scan itself.

    ``count``: that many patches are drawn once and seen in every epoch; 0: new ones in each step.
    ``tune``: what is trained; ``rank`` is that of ``lora``.
    """

    mode: Literal["slab", "grid"] = "slab"
    size: tuple[int, int, int] = (24, 24, 24)
    stride: tuple[int, int, int] = (1, 1, 1)
    batch: int = 8
    per_slab: int = 4
    foreground: float = 0.85
    epochs: int = 0
    steps: int = 0
    max_minutes: float = 0.0
    lr: float = 1e-6
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    augment: bool = False
    count: int = 0
    tune: Literal["all", "partial", "lora"] = "all"
    rank: int = 4

    def patches(self) -> PatchSpec:
        """The patch part of this step."""
        return PatchSpec(
            self.mode, self.size, self.stride, self.batch, self.per_slab, self.foreground
        )

    def training(self, base: TrainingSpec) -> TrainingSpec:
        """``base`` with this step's limits."""
        return dataclasses.replace(
            base, steps=self.steps, epochs=self.epochs, max_minutes=self.max_minutes
        )


@dataclass(frozen=True)
class Recipe:
    """One training procedure, complete.

    Attributes:
        about: one honest sentence for those who choose.
        arithmetic: multiply-adds of the network for a voxel; 0: not said.
    """

    name: str
    network: NetworkSpec
    title: str = ""
    source: str = ""
    about: str = ""
    arithmetic: int = 0
    task: Literal[
        "superresolution", "segmentation", "interslice", "factors", "organs", "kernel"
    ] = "superresolution"
    seed: int = 0
    degradation: DegradationSpec = field(default_factory=DegradationSpec)
    input: InputSpec = field(default_factory=InputSpec)
    patches: PatchSpec = field(default_factory=PatchSpec)
    augmentation: AugmentationSpec = field(default_factory=AugmentationSpec)
    loss: LossSpec = field(default_factory=lambda: LossSpec(l1=1.0))
    labels: LabelSpec = field(default_factory=LabelSpec)
    slices: SliceSpec = field(default_factory=SliceSpec)
    stages: StagesSpec = field(default_factory=StagesSpec)
    stack: StackSpec = field(default_factory=StackSpec)
    factors: FactorSpec = field(default_factory=FactorSpec)
    organs: OrganSpec = field(default_factory=OrganSpec)
    kernel: KernelSpec = field(default_factory=KernelSpec)
    adversarial: AdversarialSpec = field(default_factory=AdversarialSpec)
    optimiser: OptimiserSpec = field(default_factory=OptimiserSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    validation: ValidationSpec = field(default_factory=ValidationSpec)
    finetune: dict[str, FinetuneSpec] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable values."""
        return dataclasses.asdict(self)
