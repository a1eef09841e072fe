"""Unit 06: classic wrong answers to the questions on LIME's pieces, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["KERNEL_WEIGHTS_MISTAKES", "LIME_MAP_MISTAKES", "MASK_IMAGE_MISTAKES"]


def _mask(*lines: str) -> str:
    return "import torch\ndef mask_image(x, fill, labels, on):\n" + "".join(f"    {line}\n" for line in lines)


MASK_IMAGE_MISTAKES = (
    Mistake(
        "exchanged",
        _mask("return torch.where(on[:, labels][:, None] > 0, fill, x)"),
        "On and off are exchanged: you replaced what should be kept. A sample of all ones must be the image itself.",
        0.5,
    ),
    Mistake(
        "black",
        _mask("return on[:, labels][:, None] * x"),
        "What is off came out as 0, which is black here. It must show the fill: black is a fill of its own, and "
        "another "
        "explanation.",
        0.4,
    ),
    Mistake(
        "one_scalar",
        _mask("return torch.where(on[:, labels][:, None] > 0, x, fill.mean())"),
        "You filled with one number for all channels and pixels. The fill is an image of x's shape: each pixel that is "
        "off takes the fill's value at its own place and channel.",
        0.5,
    ),
    Mistake(
        "added",
        _mask("return on[:, labels][:, None] * x + fill"),
        "The fill was added everywhere, to what is kept as well. Keep x where it is on, and only elsewhere show the "
        "fill: on * x + (1 - on) * fill.",
        0.5,
    ),
    Mistake(
        "channels_first",
        _mask("return torch.where(on[:, labels] > 0, x[:, None], fill[:, None])"),
        "The values are right and the axes are not: yours run channel, sample. A batch for a network runs sample, "
        "channel: give the on/off picture a channel axis, [:, None], and not the image a sample axis.",
        0.6,
    ),
    Mistake(
        "next_superpixel",
        _mask("return torch.where(on[:, labels - 1][:, None] > 0, x, fill)"),
        "Each pixel asked its neighbour's switch: the labels count from 0, so labels is already the column of `on`.",
        0.5,
    ),
    Mistake(
        "pixels_in_order",
        _mask(
            "where = torch.arange(labels.numel()).reshape(labels.shape) % on.shape[1]",
            "return torch.where(on[:, where][:, None] > 0, x, fill)",
        ),
        "You went through the pixels in order and did not ask to which superpixel each belongs: that is what `labels` "
        "says.",
        0.2,
    ),
)


def _kernel(body: str, distance: str = "1 - on.mean(1).sqrt()") -> str:
    return f"import torch\ndef kernel_weights(on, width):\n    d = {distance}\n    return {body}\n"


_RIGHT = "torch.exp(-(d / width) ** 2)"

KERNEL_WEIGHTS_MISTAKES = (
    Mistake(
        "share_off",
        _kernel(_RIGHT, "1 - on.mean(1)"),
        "Your distance is the share that is off. The cosine distance is 1 less the cosine of the angle: the root "
        "of the "
        "share that is on appears in it.",
        0.6,
    ),
    Mistake(
        "euclidean",
        _kernel(_RIGHT, "((1 - on) ** 2).sum(1).sqrt()"),
        "That is the Euclidean distance of the on/off vectors. It grows with the number of superpixels, and a width in "
        "its units is another number. Asked is the cosine distance.",
        0.6,
    ),
    Mistake(
        "similarity",
        _kernel(_RIGHT, "on.mean(1).sqrt()"),
        "You put the cosine where the distance belongs: the image itself, with everything on, gets the least weight.",
        0.4,
    ),
    Mistake(
        "no_square",
        _kernel("torch.exp(-d / width)"),
        "The distance is not squared. Without the square the weight falls steeply at once; with it, near samples all "
        "count almost fully.",
        0.6,
    ),
    Mistake(
        "width_not_squared",
        _kernel("torch.exp(-d**2 / width)"),
        "The distance is squared and the width is not, so that the width is no distance: exp(-(d / width)^2).",
        0.6,
    ),
    Mistake(
        "lime_package",
        _kernel("torch.exp(-((d / width) ** 2) / 2)"),
        "That is sqrt(exp(-d^2 / width^2)), as the lime package has it (or a Gaussian with a 2 below). The paper's "
        "kernel, asked for here, has no root.",
        0.7,
    ),
    Mistake(
        "shares",
        _kernel("torch.exp(-(d / width) ** 2) / torch.exp(-(d / width) ** 2).sum()"),
        "You divided by the sum. The fit would not notice, but then a weight says nothing about its own sample: it "
        "depends on the others that were drawn.",
        0.7,
    ),
    Mistake(
        "all_off_undefined",
        _kernel(_RIGHT, "1 - on.sum(1) / (on.norm(dim=1) * on.shape[1] ** 0.5)"),
        "Right but for a sample with everything off: it has length 0, and 0/0 makes the whole fit NaN. It has no "
        "angle; "
        "its distance counts as 1, which 1 - sqrt(share on) gives of itself.",
        0.8,
        trap="all off",
    ),
)


def _map(*lines: str) -> str:
    return "import torch\ndef lime_map(score, x, fill, labels, on, width):\n" + "".join(
        f"    {line}\n" for line in lines
    )


_ASKED = "y = score(mask_image(x, fill, labels, on))"
_FIT = "beta = local_fit(on, y, kernel_weights(on, width))[1]"

LIME_MAP_MISTAKES = (
    Mistake(
        "unweighted",
        _map(_ASKED, "beta = local_fit(on, y, torch.ones_like(y))[1]", "return beta, beta[labels]"),
        "All samples count the same: the weights are missing. Then `width` decides nothing, and the fit is not local.",
        0.5,
    ),
    Mistake(
        "fixed_width",
        _map(_ASKED, "beta = local_fit(on, y, kernel_weights(on, 0.25))[1]", "return beta, beta[labels]"),
        "The width is written into your function: it should be the argument `width`, which is not always 0.25.",
        0.8,
    ),
    Mistake(
        "distance_of_pixels",
        _map(
            "images = mask_image(x, fill, labels, on)",
            "y = score(images)",
            "cosine = torch.nn.functional.cosine_similarity(images.flatten(1), x.flatten()[None], dim=1)",
            "beta = local_fit(on, y, torch.exp(-((1 - cosine) / width) ** 2))[1]",
            "return beta, beta[labels]",
        ),
        "You measured how far the images are apart. LIME's distance is between on/off vectors: how many "
        "superpixels are "
        "off, not how much the fill differs from what it covers. Use kernel_weights(on, width).",
        0.5,
    ),
    Mistake(
        "no_intercept",
        _map(
            _ASKED,
            "root = kernel_weights(on, width).sqrt()",
            "beta = torch.linalg.pinv(root[:, None] * on) @ (root * y)",
            "return beta, beta[labels]",
        ),
        "There is no intercept: the score of an image that is all fill must be 0, so its height is handed out to the "
        "superpixels. local_fit has one.",
        0.4,
    ),
    Mistake(
        "intercept_in_the_map",
        _map(
            _ASKED,
            "a, beta = local_fit(on, y, kernel_weights(on, width))",
            "return beta, (torch.as_tensor(a) + torch.as_tensor(beta))[labels]",
        ),
        "You added the intercept to each pixel of the map. It is the score of an image that is all fill, and "
        "belongs to "
        "no superpixel.",
        0.6,
    ),
    Mistake(
        "spread_thin",
        _map(
            _ASKED,
            _FIT,
            "sizes = torch.bincount(labels.flatten(), minlength=len(beta))",
            "return beta, (beta / sizes)[labels]",
        ),
        "You shared each coefficient among the pixels of its superpixel. Here each pixel has the whole coefficient: "
        "the effect of the superpixel it lies in.",
        0.6,
    ),
    Mistake(
        "mean_score_when_on",
        _map(_ASKED, "beta = (on.T @ y) / on.sum(0)", "return beta, beta[labels]"),
        "That is the mean score of the samples in which a superpixel is on, as in RISE. It has the height of the score "
        "in it, and what else was on. LIME fits a plane.",
        0.3,
    ),
    Mistake(
        "off_for_on",
        _map(
            "y = score(mask_image(x, fill, labels, 1 - on))",
            _FIT,
            "return beta, beta[labels]",
        ),
        "The images were made with on and off exchanged, and the fit was not told: the signs are turned, and the "
        "weights "
        "are those of other images.",
        0.4,
    ),
    Mistake(
        "against_cut",
        _map(_ASKED, _FIT, "return beta, beta[labels].clamp(min=0)"),
        "The map has lost its negative part. A superpixel can speak against the class, and here the map should say so.",
        0.7,
    ),
)
