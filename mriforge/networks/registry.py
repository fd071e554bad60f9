"""Networks by name: the one table that recipes, model cards and the command line read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from mriforge.errors import BadInput
from mriforge.networks.alamo import DenseUnet, PlainUnet
from mriforge.networks.dcsrn import Dcsrn
from mriforge.networks.discriminators import CircleD, CpceD, DraganD3d, SrganD3d
from mriforge.networks.downsampling import Downsampler, PatchJudge, SeparableDownsampler
from mriforge.networks.dsn import Dsn
from mriforge.networks.edsr import Edsr, SmoreEdsr
from mriforge.networks.fsrcnn import Fsrcnn
from mriforge.networks.gan_circle import CircleGenerator
from mriforge.networks.gan_cpce import CpceGenerator
from mriforge.networks.mdcn import Mdcn
from mriforge.networks.mdcsrn import Mdcsrn
from mriforge.networks.perceptual import PerceptualNet
from mriforge.networks.rcan import SmoreRcan
from mriforge.networks.rdn import TscNet
from mriforge.networks.recon_denseunet import ReconDenseUnet
from mriforge.networks.sa_inr import SAINR
from mriforge.networks.smore_small import SmoreSmall
from mriforge.networks.srdensenet3d import SrDensenet3d
from mriforge.networks.srresnet3d import SrResnet3d
from mriforge.networks.two_stage import TwoStageMdcsrn
from mriforge.networks.unet3d import UNet3d
from mriforge.networks.vae2d import Vae2d

SARASAEN = "Sarasaen et al. 2021, Artif. Intell. Med. 121:102196"
CHEN = "Chen 2021, dissertation (UCLA), chapter 6"
DCSRN = "Chen 2021, dissertation (UCLA), chapter 3"
MDCSRN = "Chen 2021, dissertation (UCLA), chapter 4"
DRAGAN = "Chen 2021, dissertation (UCLA), chapter 5"
LYU = "Lyu et al. 2018, super-resolution MRI by GAN-CPCE and GAN-CIRCLE"
ALAMO = "Chen 2021, dissertation (UCLA), chapter 7"
HUANG = "Huang et al. 2021, Phys. Med. Biol., 10.1088/1361-6560/ac232e"


@dataclass(frozen=True)
class Network:
    """One line of the table.

    Attributes:
        builder: the module's class.
        source: the paper it is from.
        parameters: number of trained parameters with the default options.
        options: defaults that differ from the builder's.
    """

    builder: Callable[..., nn.Module]
    source: str
    parameters: int
    options: dict[str, Any] = field(default_factory=dict)


NETWORKS: dict[str, Network] = {
    "unet3d": Network(UNet3d, SARASAEN, 5_418_177),
    "unet3d_small": Network(UNet3d, f"{SARASAEN} (width 16 for CPU)", 339_249, {"width": 16}),
    "pln": Network(
        PerceptualNet, f"{SARASAEN}, section 2.3.1, after DS6 (Chatterjee et al. 2022)", 3_432_768
    ),
    "pln_small": Network(
        PerceptualNet, f"{SARASAEN}, section 2.3.1 (width 16 for CPU)", 215_376, {"width": 16}
    ),
    "edsr": Network(Edsr, "Lim et al. 2017, CVPR workshops (baseline, factor 2)", 1_367_553),
    "smore": Network(
        SmoreEdsr, "Zhao et al. 2021, IEEE TMI 40:805 (EDSR on interpolated rows)", 1_219_841
    ),
    "smore_rcan": Network(
        SmoreRcan, "Zhang et al. 2018, ECCV, as in the newer code of SMORE's group", 1_450_177
    ),
    "smore_small": Network(SmoreSmall, "Zhao et al. 2021, IEEE TMI 40:805 (for CPU)", 112_452),
    "tscnet": Network(TscNet, "Lu et al. 2021, MICCAI (arXiv 2106.15395)", 5_609_409),
    "sa_inr": Network(SAINR, "Wang et al. 2022, arXiv 2205.11346", 2_109_697),
    "sa_inr_small": Network(
        SAINR,
        "Wang et al. 2022, arXiv 2205.11346 (for CPU)",
        148_481,
        {
            "width": 24,
            "blocks": 4,
            "hidden": (64, 64),
            "window": (2, 5, 5),
            "residual": "cubic",
            "zero_start": True,
        },
    ),
    "vae2d": Network(
        Vae2d, "after Xuan et al. 2021, Pattern Recognition 120:108103 (sizes ours)", 34_153
    ),
    "mdcn": Network(Mdcn, f"{CHEN} (mDCN, MALIBU)", 23_042_112),
    "mdcn_small": Network(
        Mdcn, f"{CHEN} (growth 32, 4 blocks, for CPU)", 693_056, {"growth": 32, "blocks": 4}
    ),
    "recon_denseunet": Network(ReconDenseUnet, f"{CHEN} (DenseUnet)", 26_825_280),
    "recon_denseunet_small": Network(
        ReconDenseUnet, f"{CHEN} (DenseUnet, growth 20, for CPU)", 679_344, {"growth": 20}
    ),
    "denseunet_k24": Network(DenseUnet, f"{ALAMO} (ALAMO, growth 24)", 1_543_900, {"growth": 24}),
    "denseunet_k32": Network(DenseUnet, f"{ALAMO} (ALAMO, growth 32)", 2_730_716, {"growth": 32}),
    "denseunet_k48": Network(DenseUnet, f"{ALAMO} (ALAMO)", 6_112_732, {"growth": 48}),
    "denseunet_k64": Network(DenseUnet, f"{ALAMO} (ALAMO, growth 64)", 10_839_260, {"growth": 64}),
    "denseunet_small": Network(
        DenseUnet,
        f"{ALAMO} (ALAMO, growth 16 to 48 by level, for CPU)",
        3_452_388,
        {"growth": (16, 20, 32, 48, 48, 48)},
    ),
    "plainunet_f64": Network(PlainUnet, f"{ALAMO} (PlainUnet)", 229_272_028, {"width": 64}),
    "plainunet_f80": Network(PlainUnet, f"{ALAMO} (PlainUnet)", 358_218_780, {"width": 80}),
    "plainunet_f96": Network(PlainUnet, f"{ALAMO} (PlainUnet)", 515_817_052, {"width": 96}),
    "fsrcnn2d": Network(Fsrcnn, f"Dong et al. 2016, ECCV, as in {DCSRN}", 12_809),
    "fsrcnn3d": Network(
        Fsrcnn, f"Dong et al. 2016, ECCV, in 3-D, as in {DCSRN}", 65_065, {"dimensions": 3}
    ),
    "dcsrn": Network(Dcsrn, f"{DCSRN} (DCSRN)", 223_729),
    "mdcsrn_b4u4": Network(Mdcsrn, f"{MDCSRN} (mDCSRN b4u4)", 228_961, {"blocks": 4}),
    "mdcsrn_b6u4": Network(Mdcsrn, f"{MDCSRN} (mDCSRN b6u4)", 353_761, {"blocks": 6}),
    "mdcsrn_b8u4": Network(Mdcsrn, f"{MDCSRN} (mDCSRN b8u4)", 485_473, {"blocks": 8}),
    "mdcsrn_b4u4_k16": Network(
        Mdcsrn, "Chen 2018, MICCAI (mDCSRN b4u4)", 405_633, {"blocks": 4, "growth": 16}
    ),
    "mdcsrn_b8u4_k16": Network(
        Mdcsrn, f"{MDCSRN} (mDCSRN b8u4, growth 16)", 860_545, {"blocks": 8, "growth": 16}
    ),
    "mdcsrn_two_stage": Network(
        TwoStageMdcsrn, "Chen 2021, dissertation (UCLA), chapter 5 (two mDCSRN b8u4)", 970_946
    ),
    "srresnet3d": Network(
        SrResnet3d, f"Ledig et al. 2017, CVPR, in 3-D, as in {MDCSRN}", 3_971_777
    ),
    "srdensenet3d": Network(
        SrDensenet3d, f"Tong et al. 2017, ICCV, in 3-D, as in {MDCSRN}", 346_369
    ),
    "gan_cpce": Network(CpceGenerator, f"{LYU} (after Shan et al. 2018)", 62_016),
    "gan_circle": Network(CircleGenerator, f"{LYU} (after You et al. 2020)", 180_032),
    "gan_circle_published": Network(
        CircleGenerator,
        f"{LYU} (as in the public code of You et al. 2020)",
        611_418,
        {"width": 128, "stride": 2},
    ),
    "srgan_d3d": Network(SrganD3d, f"{MDCSRN} (discriminator of mDCSRN-GAN)", 28_210_369),
    "dragan_d3d": Network(DraganD3d, f"{DRAGAN} (both discriminators of DRAGAN)", 132_189_890),
    "cpce_d": Network(CpceD, f"{LYU} (critic of GAN-CPCE)", 17_923_521),
    "circle_d": Network(CircleD, f"{LYU} (critic of GAN-CIRCLE)", 36_312_769),
    "downsampler": Network(Downsampler, f"{HUANG} (generator of the downsampling GAN)", 150_656),
    "downsampler_1d": Network(
        Downsampler, f"{HUANG} (generator, along one axis)", 41_472, {"dimensions": 1}
    ),
    "downsampler_3d": Network(
        Downsampler, f"{HUANG} (generator, full 3-D)", 652_800, {"dimensions": 3}
    ),
    "downsampler_separable": Network(
        SeparableDownsampler, f"{HUANG} (generator in 3-D: in plane times across)", 192_128
    ),
    "dsn": Network(
        Dsn, "after Chun et al. 2019, Med. Phys. 46:4148, as a comparator in Huang 2021", 38_145
    ),
    "patch_judge": Network(PatchJudge, f"{HUANG} (discriminator of the downsampling GAN)", 30_977),
}


def build(name: str, **options: Any) -> nn.Module:
    """A fresh network with random weights from torch's generator.

    Args:
        name: a key of :data:`NETWORKS`.
        options: arguments of its class; they override the table's defaults.

    Raises:
        BadInput: no such network, or no such option of it.
    """
    entry = NETWORKS.get(name)
    if entry is None:
        raise BadInput(
            f"There is no network called '{name}'.", f"Known are {', '.join(sorted(NETWORKS))}."
        )
    known = inspect.signature(entry.builder).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        raise BadInput(
            f"The network '{name}' has no option '{unknown[0]}'.",
            f"Its options are {', '.join(known)}.",
        )
    return entry.builder(**{**entry.options, **options})


def count_parameters(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in model.parameters())


def describe() -> list[dict[str, Any]]:
    """The table as plain data: name, number of parameters, source."""
    return [
        {"name": name, "parameters": entry.parameters, "source": entry.source}
        for name, entry in NETWORKS.items()
    ]
