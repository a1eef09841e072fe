"""Unit 01: classic wrong answers to the questions on tools, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["CATCH_MISTAKES", "HOW_FAR_MISTAKES", "SMOOTHGRAD_MISTAKES"]


def _smooth(body: str) -> str:
    return (
        "import torch\n"
        "def smoothgrad(gradient_at, x, noise):\n"
        "    all = torch.stack([torch.as_tensor(gradient_at(x + draw)) for draw in noise])\n"
        f"    return {body}\n"
    )


SMOOTHGRAD_MISTAKES = (
    Mistake(
        "mean_of_sizes",
        _smooth("all.abs().mean(0)"),
        "You averaged |gradient|. SmoothGrad averages the signed gradients first: where the sign flips from draw to "
        "draw they cancel, and that is what takes the noise away. Sizes never cancel.",
        0.5,
    ),
    Mistake(
        "size_of_mean",
        _smooth("all.mean(0).abs()"),
        "The average is right, and then you took its size. Keep the sign: a picture may cut it later.",
        0.7,
    ),
    Mistake(
        "sum",
        _smooth("all.sum(0)"),
        "You added the gradients up. Divide by the number of draws, or the map grows with N.",
        0.7,
    ),
    Mistake(
        "gradient_at_the_mean",
        "def smoothgrad(gradient_at, x, noise):\n    return gradient_at(x + noise.mean(0))\n",
        "You averaged the points and took one gradient there. It is the gradients that are averaged, each at its own "
        "noisy point.",
        0.3,
    ),
    Mistake(
        "plain",
        "def smoothgrad(gradient_at, x, noise):\n    return gradient_at(x)\n",
        "That is the gradient at x itself: the noise has not been used.",
        0.1,
    ),
    Mistake(
        "noise_on_the_gradient",
        "def smoothgrad(gradient_at, x, noise):\n    return gradient_at(x) + noise.mean(0)\n",
        "You added the noise to the gradient. It belongs on the input: x + noise goes into gradient_at.",
        0.2,
    ),
    Mistake(
        "noise_alone",
        "import torch\n"
        "def smoothgrad(gradient_at, x, noise):\n"
        "    return torch.stack([torch.as_tensor(gradient_at(draw)) for draw in noise]).mean(0)\n",
        "You asked at the noise alone. The points are x plus noise, a cloud around x.",
        0.3,
    ),
    Mistake(
        "multiplied",
        "import torch\n"
        "def smoothgrad(gradient_at, x, noise):\n"
        "    return torch.stack([torch.as_tensor(gradient_at(x * (1 + draw))) for draw in noise]).mean(0)\n",
        "You scaled x by the noise: where x is 0 nothing then moves. The noise is added.",
        0.4,
    ),
    Mistake(
        "squared",
        _smooth("(all ** 2).mean(0)"),
        "That is the mean of the squares, SmoothGrad-squared: it has no sign, and large draws rule it. Average first "
        "powers.",
        0.5,
    ),
    Mistake(
        "spread",
        _smooth("all.var(0, unbiased=False)"),
        "That is the variance over the draws, VarGrad: how much the gradient changes, not what it is.",
        0.4,
    ),
    Mistake(
        "clean_one_too",
        _smooth("(all.sum(0) + gradient_at(x)) / (len(noise) + 1)"),
        "You counted the gradient at x itself as one more draw. The average runs over the N noisy points only.",
        0.7,
    ),
)


def _catch(keep: str, score: str = "model(leaf)[0, c]", result: str = "seen['a'].detach(), seen['g']") -> str:
    return (
        "import torch\n"
        "def catch(model, layer, x, c):\n"
        "    seen = {}\n"
        "    module = model.get_submodule(layer)\n"
        "    def forward(m, inputs, output):\n"
        "        seen['a'] = output\n"
        "        seen['in'] = inputs[0]\n"
        "    first = module.register_forward_hook(forward)\n"
        "    leaf = x.clone().requires_grad_()\n"
        f"    score = {score}\n"
        f"    {keep}\n"
        f"    return {result}\n"
    )


_GRADIENT = "first.remove(); seen['g'], = torch.autograd.grad(score, seen['a'])"

CATCH_MISTAKES = (
    Mistake(
        "hook_left",
        _catch("seen['g'], = torch.autograd.grad(score, seen['a'])"),
        "Both tensors are right, and a hook is still on the layer: from now on every pass through this model calls it. "
        "Keep what register_..._hook returns, and call its .remove().",
        0.8,
    ),
    Mistake(
        "gradients_left",
        _catch("first.remove(); seen['a'].retain_grad(); score.backward(); seen['g'] = seen['a'].grad"),
        "Both tensors are right, and backward() has also filled the .grad of every parameter: the next step of a "
        "training would use them. Use torch.autograd.grad, or clear them.",
        0.8,
    ),
    Mistake(
        "before_the_layer",
        _catch(
            "first.remove(); seen['g'], = torch.autograd.grad(score, seen['in'])",
            result="seen['in'].detach(), seen['g']",
        ),
        "Those are the layer's input and the gradient there. Asked is its output: the third argument of a forward "
        "hook, and grad_output of a backward hook.",
        0.4,
    ),
    Mistake(
        "grad_input",
        _catch("first.remove(); seen['g'], = torch.autograd.grad(score, seen['in'])"),
        "The activation is right, but the gradient is the one at the layer's input (grad_input): the ReLU has gated "
        "it. Take grad_output[0].",
        0.6,
    ),
    Mistake(
        "loss",
        _catch(_GRADIENT, "torch.nn.functional.cross_entropy(model(leaf), torch.tensor([c]))"),
        "That is the gradient of the loss -log y_c. Asked is the logit of class c, model(x)[0, c].",
        0.4,
    ),
    Mistake(
        "probability",
        _catch(_GRADIENT, "model(leaf).softmax(1)[0, c]"),
        "That is the gradient of the probability. Asked is the logit of class c, before the softmax.",
        0.5,
    ),
    Mistake(
        "all_classes",
        _catch(_GRADIENT, "model(leaf).sum()"),
        "That is the gradient of all logits added up. Take that of class c: model(x)[0, c].",
        0.4,
    ),
    Mistake(
        "exchanged",
        _catch(_GRADIENT, result="seen['g'], seen['a'].detach()"),
        "The two are exchanged: the activation comes first, then the gradient.",
        0.7,
    ),
    Mistake(
        "strongest_class",
        _catch(_GRADIENT, "model(leaf)[0].max()"),
        "You differentiated the largest logit, whatever its class. Asked is class c.",
        0.4,
    ),
)

HOW_FAR_MISTAKES = (
    Mistake(
        "behind_too",
        "def how_far(x, d, W1, b1):\n    return (-(W1 @ x + b1) / (W1 @ d)).abs().min()\n",
        "You took the nearest edge, ahead or behind. Along x + t d with t > 0 only those ahead are met.",
        0.5,
    ),
    Mistake(
        "without_bias",
        "def how_far(x, d, W1, b1):\n    t = -(W1 @ x) / (W1 @ d)\n    return t[t > 0].min()\n",
        "The gate turns where W1 x + b1 is 0: your b1 is missing.",
        0.5,
    ),
    Mistake(
        "last_edge",
        "def how_far(x, d, W1, b1):\n    t = -(W1 @ x + b1) / (W1 @ d)\n    return t[t > 0].max()\n",
        "That is the last edge on the way. The gradient is another one from the first edge on.",
        0.5,
    ),
    Mistake(
        "distance",
        "def how_far(x, d, W1, b1):\n    t = -(W1 @ x + b1) / (W1 @ d)\n    return t[t > 0].min() * d.norm()\n",
        "That is the way's length. Asked is t, in steps of d.",
        0.7,
    ),
    Mistake(
        "distance_to_the_plane",
        "def how_far(x, d, W1, b1):\n    return ((W1 @ x + b1).abs() / W1.norm(dim=1)).min()\n",
        "That is how far the nearest edge is, in whichever direction. You walk along d.",
        0.3,
    ),
    Mistake(
        "sum_only",
        "def how_far(x, d, W1, b1):\n    return (W1 @ x + b1).abs().min()\n",
        "That is how far the nearest unit's sum is from 0. How fast it changes along d is missing: divide by W1 d.",
        0.3,
    ),
)
