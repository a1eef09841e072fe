"""Unit 01: classic wrong answers to the questions by hand, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["INPUT_GRADIENT_MISTAKES", "PRODUCT_MISTAKES", "WEIGHT_GRADIENT_MISTAKES"]

_NET = (
    "import torch\n"
    "def _parts(x, W1, b1, V, b, c):\n"
    "    z = W1 @ x + b1\n"
    "    gate = (z > 0).to(V.dtype)\n"
    "    y = torch.softmax(V @ z.relu() + b, 0)\n"
    "    return z, gate, y\n"
)


def _input(body: str) -> str:
    return (
        _NET
        + f"def input_gradient(x, W1, b1, V, b, c):\n    z, gate, y = _parts(x, W1, b1, V, b, c)\n    return {body}\n"
    )


INPUT_GRADIENT_MISTAKES = (
    Mistake(
        "no_gate",
        _input("V[c] @ W1"),
        "The ReLU is missing: a hidden unit that is off hands nothing back. Multiply V_c by the gate, 1 where "
        "W1 x + b1 > 0, before you go back through W1.",
        0.4,
    ),
    Mistake(
        "gate_on_x",
        _input("(V[c] @ W1) * (x > 0)"),
        "The gate stands at the wrong place: it opens on W1 x + b1 > 0, one for each hidden unit, not on x > 0.",
        0.4,
    ),
    Mistake(
        "gate_without_bias",
        _input("(V[c] * (W1 @ x > 0)) @ W1"),
        "The gate opens on W1 x + b1 > 0: your b1 is missing, so some units count as on that are off.",
        0.6,
    ),
    Mistake(
        "closed_gate",
        _input("(V[c] * (1 - gate)) @ W1"),
        "The gate is turned round: it hands on what the units that are off would say.",
        0.4,
    ),
    Mistake(
        "activation_for_gate",
        _input("(V[c] * z.relu()) @ W1"),
        "You multiplied by the hidden activation. The derivative of a ReLU is 1 or 0, however active the unit is.",
        0.4,
    ),
    Mistake(
        "loss",
        _input("-((V[c] - y @ V) * gate) @ W1"),
        "That is the gradient of the loss -log y_c: it falls when the score rises, so every sign is turned, and the "
        "rivals come in through the softmax. Differentiate the logit s_c itself.",
        0.3,
    ),
    Mistake(
        "probability",
        _input("y[c] * ((V[c] - y @ V) * gate) @ W1"),
        "That is the gradient of the probability y_c, in which every rival appears. Asked is the logit s_c, before the "
        "softmax.",
        0.5,
    ),
    Mistake(
        "log_probability",
        _input("((V[c] - y @ V) * gate) @ W1"),
        "That is the gradient of log y_c: V_c less the average row. Asked is the logit s_c, before the softmax, where "
        "no other class appears.",
        0.5,
    ),
    Mistake(
        "all_classes",
        _input("(V.sum(0) * gate) @ W1"),
        "That is the gradient of all logits added up, as s.sum().backward() gives. Take the one of class c.",
        0.4,
    ),
    Mistake(
        "times_input",
        _input("x * ((V[c] * gate) @ W1)"),
        "You multiplied by x: that is gradient times input, two items further on. The gradient says what a nudge of x "
        "would do.",
        0.5,
    ),
    Mistake(
        "weight_gradient",
        _input("torch.outer(V[c] * gate, x)"),
        "That is ds_c/dW1, which tells you how to train the layer. An explanation keeps W1 fixed and moves x: one "
        "number for each input.",
        0.2,
    ),
    Mistake(
        "absolute",
        _input("((V[c] * gate) @ W1).abs()"),
        "You took absolute values: then nobody can tell whether a nudge raises the score or lowers it.",
        0.6,
    ),
)


def _weight(body: str) -> str:
    return (
        _NET
        + f"def weight_gradient(x, W1, b1, V, b, c):\n    z, gate, y = _parts(x, W1, b1, V, b, c)\n    return {body}\n"
    )


WEIGHT_GRADIENT_MISTAKES = (
    Mistake(
        "input_gradient",
        _weight("(V[c] * gate) @ W1"),
        "That is ds_c/dx, the last item: it moves the input. Here x stays as it is and W1 moves: (H, n) numbers.",
        0.2,
    ),
    Mistake(
        "no_gate",
        _weight("torch.outer(V[c], x)"),
        "The gate is missing: a hidden unit that is off stays off for a small change of its weights, so its row is 0.",
        0.5,
    ),
    Mistake(
        "contributions",
        _weight("(V[c] * gate)[:, None] * W1"),
        "Those are the terms of ds_c/dx before they are added up. By W1[h, i] the derivative of W1 x is x[i], not "
        "W1[h, i].",
        0.3,
    ),
    Mistake(
        "times_weight",
        _weight("torch.outer(V[c] * gate, x) * W1"),
        "You multiplied by W1: that is weight times gradient, how much each weight adds to s_c. Asked is the gradient.",
        0.5,
    ),
    Mistake(
        "loss",
        _weight("torch.outer(-(V[c] - y @ V) * gate, x)"),
        "That is the gradient of the loss -log y_c, which training follows. Asked is that of the logit s_c.",
        0.5,
    ),
    Mistake(
        "log_probability",
        _weight("torch.outer((V[c] - y @ V) * gate, x)"),
        "That is the gradient of log y_c, with the average row of V taken off. Asked is that of the logit s_c.",
        0.5,
    ),
    Mistake(
        "gate_without_bias",
        _weight("torch.outer(V[c] * (W1 @ x > 0), x)"),
        "The gate opens on W1 x + b1 > 0: your b1 is missing, so some units count as on that are off.",
        0.6,
    ),
    Mistake(
        "last_layer",
        _weight("torch.outer(z.relu(), x)"),
        "You took the hidden activations for V_c: the derivative of s_c by a hidden unit is its weight in V.",
        0.3,
    ),
)


def _pair(product: str, rest: str) -> str:
    return (
        _NET + "def gradient_x_input(x, W1, b1, V, b, c):\n"
        "    z, gate, y = _parts(x, W1, b1, V, b, c)\n"
        "    g = (V[c] * gate) @ W1\n"
        "    s = V[c] @ z.relu() + b[c]\n"
        f"    product = {product}\n"
        f"    return product, {rest}\n"
    )


PRODUCT_MISTAKES = (
    Mistake(
        "gradient_alone",
        _pair("g", "s - (x * g).sum()"),
        "The first part is the gradient itself. Multiply it by x, entry by entry: an input that is 0 then gets 0, "
        "however steep the score is there.",
        0.4,
    ),
    Mistake(
        "absolute",
        _pair("(x * g).abs()", "s - (x * g).sum()"),
        "The signs are gone: an entry below 0 says that this input, as it is, lowers the score.",
        0.5,
    ),
    Mistake(
        "size_of_gradient",
        _pair("x * g.abs()", "s - (x * g).sum()"),
        "You took the gradient's size: its sign and that of x together say whether the input raises the score.",
        0.4,
    ),
    Mistake(
        "whole_score",
        _pair("x * g", "s"),
        "The second number is the whole logit. Asked is what the products leave over of it: subtract their sum.",
        0.6,
    ),
    Mistake(
        "sum_of_products",
        _pair("x * g", "(x * g).sum()"),
        "The second number is the sum of the products. Asked is what is left of s_c when you take it off.",
        0.6,
    ),
    Mistake(
        "last_bias_only",
        _pair("x * g", "b[c]"),
        "Only b_c is left over, you say: so it is for a linear model. The hidden biases of the units that are on reach "
        "the score, too: it is s_c less the sum of the products.",
        0.6,
    ),
    Mistake(
        "other_sign",
        _pair("x * g", "(x * g).sum() - s"),
        "The second number has the wrong sign: s_c less the sum of the products.",
        0.7,
    ),
    Mistake(
        "no_gate",
        _pair("x * (V[c] @ W1)", "s - (x * (V[c] @ W1)).sum()"),
        "The gradient was made without the gate: units that are off hand nothing back. Use your input_gradient.",
        0.4,
    ),
    Mistake(
        "without_last_bias",
        _pair("x * g", "s - b[c] - (x * g).sum()"),
        "You took b_c off the score first. It is a part of s_c that no input explains: it belongs to what is left.",
        0.7,
    ),
)
