"""Real handwritten digits inside scikit-learn's wheel: 1,797 of 8 x 8 pixels, also upsampled for networks that pool.

Source
    Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", UCI Machine Learning Repository (CC BY
    4.0); scikit-learn packages its test set. Differs from it in: values divided by 16, and a split of our own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xaiteach import runtime
from xaiteach.errors import OptionError, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["Digits", "digits"]

SIDE = 8
"""Height and width of the images as they were published."""

_SPLITS = ("train", "test")
_TRAIN = 1437  # four fifths


@dataclass(frozen=True, eq=False)
class Digits:
    """Digits of one split; the arrays are read-only, so copy before you change one.

    Parameters
        x : float32 array, shape (n, 1, size, size), in [0, 1]. Ink is 1.
        y : int64 array, shape (n,). The digit.
        index : int64 array, shape (n,). Place of each image in scikit-learn's set.
        split : "train" or "test".
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    split: str

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and digits as tensors of your own: (n, 1, size, size) float32 and (n,) long."""
        import torch

        return torch.tensor(self.x), torch.tensor(self.y)


def digits(split: str = "train", size: int = SIDE, seed: int = 0) -> Digits:
    """Return scikit-learn's handwritten digits, 1,437 for training and 360 for testing.

    Parameters
        split : "train" or "test".
        size : int >= 8. Height and width; above 8 the images are upsampled bilinearly (32 for a net with three pools).
        seed : int >= 0. Draws which images are for training. Writers are not told apart, so one writer may be in both.
    Returns
        Digits; made once per process for the same arguments.
    Raises
        OptionError: another split, a size below 8 or a negative seed.
        MissingExtraError: scikit-learn is not there; the message says what to install.
    Cost
        0.3 MB at 8 x 8 and 6 MB at 32 x 32 for the train split. Nothing is downloaded.
    Examples
        >>> d = digits("test", size=32)
        >>> d.x.shape, int(d.y[0])
        ((360, 1, 32, 32), 0)
    """
    if split not in _SPLITS:
        raise unknown("split", split, _SPLITS)
    if size < SIDE or seed < 0:
        raise OptionError(
            f"digits: `size` must be at least {SIDE} and `seed` at least 0; got {size!r} and {seed!r}. Try size=32."
        )
    return _made(split, int(size), int(seed))


@functools.lru_cache(maxsize=8)
def _made(split: str, size: int, seed: int) -> Digits:
    bundled = runtime.require("sklearn.datasets").load_digits()
    order = np.random.default_rng(seed).permutation(len(bundled.target)).astype(np.int64)
    index = order[:_TRAIN] if split == "train" else order[_TRAIN:]
    x = (bundled.images[index] / 16.0).astype(np.float32)[:, None]  # (n, 1, 8, 8)
    if size != SIDE:
        x = _upsampled(x, size)
    y = bundled.target[index].astype(np.int64)
    for array in (x, y, index):
        array.flags.writeable = False
    return Digits(x, y, index, split)


def _upsampled(x: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    import torch

    large = torch.nn.functional.interpolate(
        torch.from_numpy(x), size=(size, size), mode="bilinear", align_corners=False
    )
    return np.asarray(large.numpy())
