"""FSRCNN of Dong et al. 2016 (ECCV), in 2-D and 3-D, at one scale.

Chen 2021 (dissertation), chapters 3 and 4, compares with FSRCNN(56, 12, 4): 5^n convolution to 56
maps, 1^n to 12, four 3^n, 1^n to 56, PReLU after each, and a last 9^n. "As there is no image-size
change [...] the upsampling CNNs (transposed-convolutional layers or sub-pixel layers) in those
original designs were replaced with the same scale convolutional layers" (section 4.4.2). PReLU
has a slope for each map, as in the code of Dong et al.

Parameters by hand, 2-D: 25*56 + 56 = 1,456; 56*12 + 12 = 684; 4 * (9*144 + 12) = 5,232;
12*56 + 56 = 728; 81*56 + 1 = 4,537; slopes 56 + 5*12 + 56 = 172. Sum 12,809. 3-D: 7,056; 684;
4 * (27*144 + 12) = 15,600; 728; 729*56 + 1 = 40,825; 172. Sum 65,065: 5.08 times, the paper says
"5x" (section 4.1).
"""

from __future__ import annotations

from torch import Tensor, nn

from mriforge.networks.by_slice import to_slices, to_volume
from mriforge.networks.mdcn import start_at_zero


class Fsrcnn(nn.Module):
    """FSRCNN that keeps the size.

    Args:
        dimensions: 2 looks at each slice alone, 3 at the volume.
        features: maps of the first and of the last but one layer, ``d`` (published: 56).
        shrunk: maps between, ``s`` (12).
        mappings: 3^n convolutions between, ``m`` (4).
        residual: add the input to the output (published: no). The network then starts as its
            input.

    Shapes:
        ``(b, 1, d, h, w)`` to the same.
    """

    def __init__(
        self,
        dimensions: int = 2,
        features: int = 56,
        shrunk: int = 12,
        mappings: int = 4,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if dimensions not in (2, 3):
            raise ValueError(f"dimensions is 2 or 3, not {dimensions}")
        self.dimensions, self.residual, self.mappings = dimensions, residual, mappings
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        sizes = [(1, features, 5), (features, shrunk, 1)]
        sizes += [(shrunk, shrunk, 3)] * mappings + [(shrunk, features, 1)]
        self.body = nn.Sequential()
        for before, after, kernel in sizes:
            self.body.append(convolution(before, after, kernel, padding=kernel // 2))
            self.body.append(nn.PReLU(after))
        self.head = convolution(features, 1, 9, padding=4)
        if residual:
            start_at_zero(self.head)

    @property
    def halo(self) -> int:
        """How far, in voxels, an output voxel sees."""
        return 2 + self.mappings + 4

    def forward(self, image: Tensor) -> Tensor:
        given = to_slices(image) if self.dimensions == 2 else image
        found = self.head(self.body(given))
        if self.dimensions == 2:
            found = to_volume(found, image.shape[2])
        return image + found if self.residual else found
