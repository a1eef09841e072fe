"""Short clips with planted truth: a camera that pans from one natural subject to another.

Nothing moves but the camera. It looks at a strip of two subjects side by side, cut from the bundled images of `crops`
from columns of one split only, and shifts by 8 columns a frame. So it is known for every frame which of its columns are
new. There is no single frame in which the second subject appears: it enters column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xaiteach.data.crops import SIZE, SOURCES, Source, _image
from xaiteach.errors import OptionError, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["FRAMES", "LEADS", "STEP", "Clip", "pan"]

STEP = 8
"""Columns by which the camera moves from frame to frame."""
FRAMES = 12
"""Frames of a clip."""
LEADS = tuple(range(0, 56, STEP))
"""Leads that a pan may have: columns crossed before anything new is seen. More would leave a source's train columns."""

_SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class Clip:
    """A pan over two subjects, and what of every frame is new.

    Parameters
        x : Tensor, shape (T, 3, 64, 64), float32 in [0, 1]. The frames, in order.
        y : int. Class of the subject that enters, the one to explain.
        other : int. Class of the subject that leaves.
        mask : bool array, shape (T, 64, 64). True on the subject that enters.
        names : class names, the leaving and the entering one.
    """

    x: torch.Tensor
    y: int
    other: int
    mask: npt.NDArray[np.bool_]
    names: tuple[str, str]

    @property
    def fraction(self) -> npt.NDArray[np.float64]:
        """Share of each frame's columns that is new, shape (T,): 0 at first, then 1/8 more with each frame up to 1."""
        share: npt.NDArray[np.float64] = self.mask.mean((1, 2))
        return share

    @property
    def t_star(self) -> int:
        """First frame, counted from 0, of which at least half is new."""
        return int((self.fraction >= 0.5).argmax())


def pan(first: str = "cat", second: str = "coffee", split: str = "test", lead: int = 24) -> Clip:
    """Return a clip of 12 frames in which a camera pans from one subject to another.

    Both subjects are cut from the windows of `crops(split).pairs` on, as wide as the pan needs, so nothing is drawn at
    random. A net trained on the train crops has seen no pixel of a test clip, and no frame with two subjects.

    Parameters
        first, second : class names of `crops`, two different ones.
        split : "train" (left 60 % of each source's columns) or "test" (right 40 %).
        lead : int, one of LEADS. Columns the camera crosses before anything new is seen. With 24, frames 0 to 3 hold
            nothing new, frame 7 is half new, and frame 11 holds the second subject and nothing else.
    Returns
        Clip, with tensors of its own.
    Raises
        OptionError: an unknown name, split or lead, or twice the same subject.
    Source
        The images' licences stand in `xaiteach.data.crops`.
    Examples
        >>> clip = pan("cat", "gravel")
        >>> tuple(clip.x.shape), clip.t_star, clip.fraction[3:6].tolist()
        ((12, 3, 64, 64), 7, [0.0, 0.125, 0.25])
    """
    import torch

    classes = [source.name for source in SOURCES]
    for name in (first, second):
        if name not in classes:
            raise unknown("subject", name, classes)
    if split not in _SPLITS:
        raise unknown("split", split, _SPLITS)
    if first == second:
        raise OptionError(f"pan: two different subjects were expected; got {first!r} twice. Try pan('cat', 'coffee').")
    if isinstance(lead, bool) or lead not in LEADS:
        raise unknown("lead", lead, [str(each) for each in LEADS])
    y, other, border = classes.index(second), classes.index(first), SIZE + lead
    corners = [STEP * t for t in range(FRAMES)]
    parts = [_stretch(SOURCES[other], split, border), _stretch(SOURCES[y], split, SIZE + corners[-1] - border)]
    strip = np.concatenate(parts, axis=2)  # (3, 64, 152)
    mask = np.zeros((FRAMES, SIZE, SIZE), dtype=np.bool_)
    for t, corner in enumerate(corners):
        mask[t, :, max(border - corner, 0) :] = True
    frames = np.stack([strip[:, :, corner : corner + SIZE] for corner in corners])
    return Clip(torch.tensor(frames), y, other, mask, (first, second))


def _stretch(source: Source, split: str, width: int) -> npt.NDArray[np.float32]:
    """Columns of a source from the window of its split on, (3, 64, width)."""
    row, column = source.test_window if split == "test" else source.train_window
    return _image(source)[:, row : row + SIZE, column : column + width]
