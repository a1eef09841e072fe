"""MNIST-1D: forty-point signals of ten classes, with the truth about where each template lies.

Ten 12-point templates are padded, stretched, scaled, shifted along the axis, buried in noise and sheared; so we
know for every signal which of its samples carry the template and which carry noise only. The arrays are
those of the published set to the last float32 bit.

Source
    Greydanus and Kobak (2024), "Scaling down deep learning with MNIST-1D"; the set and its generator are published
    under Apache-2.0. The code here is ours and follows the published order of random draws. Differs from it in:
    vectorised, an own random stream instead of the global one, and the masks, which the published set lacks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xaiteach.errors import OptionError, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["Mnist1D", "mnist1d", "templates"]

Floats = npt.NDArray[np.floating[Any]]

# The numbers of the published generator (Greydanus, MNIST-1D, Apache-2.0; see LICENSE for the text of that licence).
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
_PAD_LOW, _PAD_HIGH = 36, 60
_LONG, _SHORT = 72, 40  # samples while the signal is built, and in the set
_MAX_SHIFT = 48
_EPSILON = 1e-8  # makes the template's ends, which lie at 0, differ from the padding
_SMOOTH_RADIUS = 8  # four standard deviations of the noise's smoothing kernel


@dataclass(frozen=True, eq=False)
class Mnist1D:
    """Signals, classes and true masks; all arrays are read-only, so copy before you change one.

    Parameters
        x_train, x_test : float32, shape (4000, 40) and (1000, 40). Standardised over both together.
        y_train, y_test : int64, shape (4000,) and (1000,). Class 0 to 9.
        t : float64, shape (40,). The axis the set is drawn on, in the units of x: -5/6 to 5/6, divided by x's SD too.
        mask_train, mask_test : bool, shape of x. True where the template lies (rule: see `mnist1d`).
    """

    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]
    t: npt.NDArray[np.float64]
    mask_train: npt.NDArray[np.bool_]
    mask_test: npt.NDArray[np.bool_]

    def tensors(self, split: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
        """Signals with a channel axis, and classes, as tensors of your own: (n, 1, 40) float32 and (n,) long.

        Parameters
            split : "train" or "test".
        Raises
            OptionError: any other split.
        """
        import torch

        if split not in ("train", "test"):
            raise unknown("split", split, ("train", "test"))
        x, y = (self.x_train, self.y_train) if split == "train" else (self.x_test, self.y_test)
        return torch.tensor(x)[:, None], torch.tensor(y)  # (n, 1, w)


def templates() -> npt.NDArray[np.float64]:
    """Return the ten noise-free templates, shape (10, 12): unit SD divided by 6, and starting at 0.

    Which digits a network confuses is best argued from these.

    Examples
        >>> templates().shape
        (10, 12)
        >>> float(abs(templates()[0] + templates()[6]).max())  # 6 is 0 upside down
        0.0
    """
    raw = np.asarray(_TEMPLATES, dtype=np.float64)
    shaped = raw - raw.mean(axis=1, keepdims=True)
    shaped /= shaped.std(axis=1, keepdims=True)
    shapes: npt.NDArray[np.float64] = (shaped - shaped[:, :1]) / 6.0
    return shapes


def mnist1d(seed: int = 42, n_per_class: int = 500) -> Mnist1D:
    """Return the MNIST-1D set, made here in well under a second, and the true place of every template.

    Seed 42 with 500 signals per class is the published set, identical in float32. Four fifths are for training.

    The mask of a signal is true where its noise-free form (the padded template after stretching to 72 samples,
    circular shift and resampling to 40, before noise and shear) is not zero. In other words: one of the 72 samples
    belongs to the template when it lies less than 12 template steps from the template's start (the generator's own
    rule, by which it decides where correlated noise goes); the shift moves the mask circularly; and one of the 40
    belongs to it when a neighbour with weight in the linear resampling does. With the published paddings and shifts
    no template wraps round the end.

    Parameters
        seed : int in [0, 2**32). Seed of numpy's legacy stream, in which the set was published. Default 42.
        n_per_class : int >= 1. Signals per class, both splits together. Default 500, as published.
    Returns
        Mnist1D; made once per process for the same arguments, with read-only arrays.
    Raises
        OptionError: a seed or count out of range.
    Cost
        About 0.3 s and 2 MB at the default size.
    Source
        See the module.
    Examples
        >>> d = mnist1d()
        >>> d.x_train.shape, d.x_test.shape, int(d.mask_train.sum(axis=1).max())
        ((4000, 40), (1000, 40), 11)
    """
    if not 0 <= seed < 2**32:
        raise OptionError(f"mnist1d: `seed` is a whole number from 0 to 2**32 - 1; got {seed!r}. Try seed=42.")
    if n_per_class < 1:
        raise OptionError(f"mnist1d: `n_per_class` is at least 1; got {n_per_class!r}. Try n_per_class=500.")
    return _generate(int(seed), int(n_per_class))


@functools.lru_cache(maxsize=8)
def _generate(seed: int, n_per_class: int) -> Mnist1D:
    # The published bits come from the legacy stream; numpy's new Generator draws others.
    rng = np.random.RandomState(seed)
    y = np.repeat(np.arange(len(_TEMPLATES)), n_per_class)
    draws = [_draw(rng) for _ in y]
    order = rng.permutation(len(y))
    pad, gain, shift, correlated, independent, slant = (np.asarray(column) for column in zip(*draws, strict=True))

    clean = _rolled(_stretched()[y, pad - _PAD_LOW] * gain[:, None], shift)  # (n, 72)
    signal = np.where(clean != 0, clean, _smoothed(0.25 * correlated)) + 0.02 * independent
    signal -= slant[:, None] * np.linspace(-0.5, 0.5, _LONG)
    x = _resampled(signal, _SHORT)[order]
    spread = x.std()
    x32 = ((x - x.mean()) / spread).astype(np.float32)
    mask = _resampled_mask(clean != 0)[order]
    y64 = y[order].astype(np.int64)

    n_train = len(y) * 4 // 5
    t = np.linspace(-5, 5, _SHORT) / 6.0 / spread
    for array in (x32, y64, t, mask):  # and so their parts
        array.flags.writeable = False
    return Mnist1D(x32[:n_train], y64[:n_train], x32[n_train:], y64[n_train:], t, mask[:n_train], mask[n_train:])


def _draw(rng: np.random.RandomState) -> tuple[int, float, int, Floats, Floats, float]:
    """Draw one signal's random numbers, in the published order."""
    pad = _PAD_LOW + int(rng.rand() * (_PAD_HIGH - _PAD_LOW + 1))
    gain = 1 + 0.4 * (rng.rand() - 0.5)
    shift = int(rng.choice(_MAX_SHIFT))
    correlated, independent = rng.randn(_LONG), rng.randn(_LONG)
    return pad, gain, shift, correlated, independent, 0.75 * (rng.rand() - 0.5)


def _stretched() -> npt.NDArray[np.float64]:
    """Every template behind every padding, resampled to 72: shape (10, 25, 72)."""
    rows = [
        [_resampled(np.append(shape, np.zeros(pad))[None], _LONG)[0] for pad in range(_PAD_LOW, _PAD_HIGH + 1)]
        for shape in templates() + _EPSILON
    ]
    return np.asarray(rows)


def _rolled(rows: npt.NDArray[Any], shift: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Each row moved circularly to the right by its own shift."""
    width = rows.shape[1]
    return np.take_along_axis(rows, (np.arange(width) - shift[:, None]) % width, axis=1)


def _smoothed(rows: Floats) -> Floats:
    """Rows smoothed by a Gaussian of two samples' SD, mirrored at the ends, as scipy's gaussian_filter does."""
    steps = np.arange(-_SMOOTH_RADIUS, _SMOOTH_RADIUS + 1)
    kernel = np.exp(-0.5 * (steps / 2.0) ** 2)
    padded = np.pad(rows, ((0, 0), (_SMOOTH_RADIUS, _SMOOTH_RADIUS)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(steps), axis=1)
    return np.asarray(windows @ (kernel / kernel.sum()))


def _resampled(rows: Floats, width: int) -> npt.NDArray[np.float64]:
    """Rows resampled linearly to `width` samples, both ends kept."""
    old, new = np.linspace(0, 1, rows.shape[1]), np.linspace(0, 1, width)
    return np.stack([np.interp(new, old, row) for row in rows])


def _resampled_mask(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Masks of shape (n, 72) carried to 40 samples: true where a neighbour with weight is true."""
    # In whole numbers: sample i lies at i (72 - 1) / (40 - 1) of the old ones, so no rounding decides.
    place = np.arange(_SHORT) * (mask.shape[1] - 1)
    below, above = place // (_SHORT - 1), -(-place // (_SHORT - 1))
    return np.asarray(mask[:, below] | mask[:, above])
