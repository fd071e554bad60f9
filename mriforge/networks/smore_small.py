"""Small residual network for thick slices, after SMORE (Zhao et al. 2021, IEEE TMI 40:805).

SMORE trains a 2-D EDSR on the scan's own pixels. This one is made for minutes on a CPU: it works on
the thick rows as they are, several fine rows per slice at once (sub-pixel convolution across the
slices), and adds what it finds to the cubic interpolation.
"""

from __future__ import annotations

from torch import Tensor, nn

from mriforge.networks.edsr import ResidualBlock


class SmoreSmall(nn.Module):
    """Thick rows in, fine rows out.

    Args:
        width: channels.
        blocks: residual blocks.
        pieces: values per slice that the network gives, the distance of the slices in fine
            samples rounded up; 0: it works on the interpolated image instead.

    Shapes:
        low ``(batch, 1, n, w)``: thick rows; cubic ``(batch, 1, N, w)``: the same interpolated to
        the fine rows; to_fine ``(N, n * pieces)``: brings the pieces to the fine rows.
        Output ``(batch, 1, N, w)``. An untrained network returns ``cubic``.
    """

    def __init__(
        self,
        width: int = 32,
        blocks: int = 6,
        pieces: int = 4,
    ) -> None:
        super().__init__()
        self.pieces = pieces
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width, scale=1.0) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, max(1, pieces), 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for block in self.body:
            block.second.weight.data.mul_(0.1)
        nn.init.zeros_(self.tail.weight)

    def forward(self, low: Tensor, cubic: Tensor, to_fine: Tensor | None = None) -> Tensor:
        features = self.head(low if self.pieces else cubic)
        found = self.tail(self.body(features))
        if self.pieces:
            batch, _, rows, columns = found.shape
            found = found.transpose(1, 2).reshape(batch, 1, rows * self.pieces, columns)
            if to_fine is not None:
                found = to_fine @ found
        return cubic + found
