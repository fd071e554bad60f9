"""A downsampling network trained by pixels, the comparator of Huang et al. 2021, section 2.C.3.

The DSN of Chun et al. 2019 (Med. Phys. 46:4148) is "fully convolutional" and not described further
in the paper. The layout is ours: two 3 x 3 convolutions of 64 maps, the second with stride 2, and a
third one to the image, ReLU between. Free to bend what it is shown, which is what it stands for.
By hand: 640 + 36,928 + 577 = 38,145 weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from mriforge.networks.by_slice import to_slices, to_volume


class Dsn(nn.Module):
    """Sharp slices in, slices of half the rows and columns out.

    Args:
        width: maps (64).

    Shapes:
        ``(b, 1, h, w)`` to ``(b, 1, h / 2, w / 2)``, or volumes of slices; ``h`` and ``w`` even.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        if image.ndim == 5:
            return to_volume(self.layers(to_slices(image)), image.shape[2])
        return self.layers(image)
