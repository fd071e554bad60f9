"""Writing safetensors files."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def save_weights(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes contiguous tensors; not atomic by itself.

    Raises:
        OSError: the disk does not take them (safetensors has an error of its own for that).
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), str(path), metadata=metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error
