"""Unit 02: classic wrong answers to the questions on gradients, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["HIDDEN_MISTAKES", "LOGIT_GRADIENT_MISTAKES", "PROBABILITY_MISTAKES"]

_SOFTMAX = (
    "import torch\n"
    "def _push(A, V, b, c, e):\n"
    "    y = torch.softmax(V @ A.reshape(-1) + b, 0)\n"
    "    return y, (V[c] - y @ V).reshape(A.shape)\n"
)

LOGIT_GRADIENT_MISTAKES = (
    Mistake(
        "probability",
        _SOFTMAX + "def logit_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n    return y[c] * g\n",
        "That is the gradient of the probability y_c: its weights are V_c minus the average rival, times y_c. "
        "Asked is the logit s_c, before the softmax, where no other class appears.",
        0.5,
    ),
    Mistake(
        "loss",
        _SOFTMAX + "def logit_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n    return -g\n",
        "That is the gradient of the loss -log y_c. It falls when the score rises, so every sign is turned, "
        "and the rivals come in through the softmax. Differentiate the logit s_c itself.",
        0.3,
    ),
    Mistake(
        "channels_last",
        "def logit_gradient(A, V, b, c):\n    K, h, w = A.shape\n    return V[c].reshape(h, w, K).permute(2, 0, 1)\n",
        "The numbers are right, their places are not: z runs channel, row, column, so V_c must be read back with "
        "the channel slowest. You unrolled the channels last.",
        0.5,
    ),
    Mistake(
        "times_activation",
        "def logit_gradient(A, V, b, c):\n    return V[c].reshape(A.shape) * A\n",
        "You multiplied by A: that is each activation's contribution to s_c. The gradient says what a small "
        "change of A would do, and for a linear head it does not depend on A at all.",
        0.4,
    ),
    Mistake(
        "weight_gradient",
        "def logit_gradient(A, V, b, c):\n    return A * 1.0\n",
        "That is ds_c/dV_c, which tells you how to train the head. An explanation keeps V fixed and moves A.",
        0.1,
    ),
    Mistake(
        "averaged",
        "def logit_gradient(A, V, b, c):\n    return V[c].reshape(A.shape).mean((1, 2))\n",
        "You have already averaged over the positions: those are the weights alpha_k, one step further on. "
        "The gradient itself has one number for every entry of A.",
        0.6,
    ),
    Mistake(
        "averaged_and_spread",
        "def logit_gradient(A, V, b, c):\n"
        "    return V[c].reshape(A.shape).mean((1, 2), keepdim=True).expand(A.shape)\n",
        "You averaged over the positions and spread the mean out again: so it is for a head with average pooling. "
        "A flattened head weighs every position on its own.",
        0.5,
    ),
    Mistake(
        "log_probability",
        _SOFTMAX + "def logit_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n    return g\n",
        "That is the gradient of log y_c: V_c minus the average of all rows. Asked is the logit s_c, before the "
        "softmax, where no other class appears.",
        0.5,
    ),
    Mistake(
        "all_classes",
        "def logit_gradient(A, V, b, c):\n    return V.sum(0).reshape(A.shape)\n",
        "That is the gradient of all logits added up, as s.sum().backward() gives. Take the one of class c.",
        0.4,
    ),
    Mistake(
        "bias",
        "def logit_gradient(A, V, b, c):\n    return V[c].reshape(A.shape) + b[c]\n",
        "The bias is still in it: b_c is added to the score whatever A is, so its derivative is zero.",
        0.6,
    ),
    Mistake(
        "rows_and_columns",
        "def logit_gradient(A, V, b, c):\n    K, h, w = A.shape\n    return V[c].reshape(K, w, h).transpose(1, 2)\n",
        "Rows and columns are exchanged within each map: z runs channel, row, column, so the column is fastest.",
        0.5,
    ),
)

PROBABILITY_MISTAKES = (
    Mistake(
        "logit",
        "def probability_gradient(A, V, b, c):\n    return V[c].reshape(A.shape)\n",
        "That is the gradient of the logit s_c. The probability y_c falls when a rival's logit rises, so the rivals' "
        "rows of V must come in.",
        0.4,
    ),
    Mistake(
        "log_probability",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n    return g\n",
        "That is the gradient of log y_c: the factor y_c is missing. The derivative of log y_c is the one of y_c "
        "divided by y_c.",
        0.6,
    ),
    Mistake(
        "loss",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n    return -g\n",
        "That is the gradient of the loss -log y_c. It falls when the probability rises, so every sign is turned, and "
        "the factor y_c is missing.",
        0.3,
    ),
    Mistake(
        "rivals_unweighted",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n"
        "    return y[c] * (V[c] - V).sum(0).reshape(A.shape)\n",
        "Every rival counts the same in it. A rival j matters as much as the network believes in it: weigh V_c - V_j "
        "with y_j before you add up.",
        0.4,
    ),
    Mistake(
        "rivals_dropped",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n"
        "    return y[c] * (1 - y[c]) * V[c].reshape(A.shape)\n",
        "That is dy_c/ds_c times ds_c/dA only. y_c depends on every logit: the terms dy_c/ds_j ds_j/dA are missing.",
        0.4,
    ),
    Mistake(
        "rivals_added",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n"
        "    return y[c] * ((1 - y[c]) * V[c] + y @ V - y[c] * V[c]).reshape(A.shape)\n",
        "The rivals come in with the wrong sign: dy_c/ds_j is -y_c y_j, since y_c falls when a rival's logit rises.",
        0.4,
    ),
    Mistake(
        "scaled_logit",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n"
        "    return y[c] * V[c].reshape(A.shape)\n",
        "That is y_c V_c: half of the formula. Subtract what the rivals pull: sum over j of y_c y_j V_j.",
        0.4,
    ),
    Mistake(
        "channels_last",
        "import torch\ndef probability_gradient(A, V, b, c):\n    K, h, w = A.shape\n"
        "    y = torch.softmax(V @ A.reshape(-1) + b, 0)\n"
        "    g = y[c] * (y[:, None] * (V[c] - V)).sum(0)\n    return g.reshape(h, w, K).permute(2, 0, 1)\n",
        "The numbers are right, their places are not: z runs channel, row, column, and you unrolled the channels last.",
        0.5,
    ),
    Mistake(
        "averaged",
        "import torch\ndef probability_gradient(A, V, b, c):\n    y = torch.softmax(V @ A.reshape(-1) + b, 0)\n"
        "    g = y[c] * (y[:, None] * (V[c] - V)).sum(0)\n    return g.reshape(A.shape).mean((1, 2))\n",
        "You have already averaged over the positions: those are the weights alpha_k, one step further on.",
        0.6,
    ),
    Mistake(
        "cancellation",
        _SOFTMAX + "def probability_gradient(A, V, b, c):\n    y, g = _push(A, V, b, c, 0)\n    return y[c] * g\n",
        "Right on paper, and right for a moderate margin. Where the network is sure, 1 - y_c, or V_c less the average "
        "row, subtracts two nearly equal numbers and leaves rounding noise. Take the differences V_c - V_j first, then "
        "weigh them with y_j.",
        0.7,
        trap="cancellation",
    ),
)

HIDDEN_MISTAKES = (
    Mistake(
        "no_gate",
        "def hidden_gradient(A, W1, b1, V, c):\n    return (V[c] @ W1).reshape(A.shape)\n",
        "The ReLU is missing: a hidden unit that is off passes nothing on. Multiply V_c by the gate, 1 where "
        "W1 z + b1 > 0, before you go back through W1.",
        0.4,
    ),
    Mistake(
        "gate_on_z",
        "def hidden_gradient(A, W1, b1, V, c):\n    return (V[c] @ W1).reshape(A.shape) * (A > 0)\n",
        "The gate stands at the wrong place: it opens on W1 z + b1 > 0, one for each hidden unit, not on z > 0.",
        0.4,
    ),
    Mistake(
        "gate_without_bias",
        "def hidden_gradient(A, W1, b1, V, c):\n    gate = (W1 @ A.reshape(-1) > 0).float()\n"
        "    return ((V[c] * gate) @ W1).reshape(A.shape)\n",
        "The gate opens on W1 z + b1 > 0: your b1 is missing, so some units count as on that are off.",
        0.6,
    ),
    Mistake(
        "activation_for_gate",
        "def hidden_gradient(A, W1, b1, V, c):\n    h = (W1 @ A.reshape(-1) + b1).relu()\n"
        "    return ((V[c] * h) @ W1).reshape(A.shape)\n",
        "You multiplied by the hidden activation. The derivative of a ReLU is 1 or 0, however active the unit is.",
        0.4,
    ),
    Mistake(
        "closed_gate",
        "def hidden_gradient(A, W1, b1, V, c):\n    gate = (W1 @ A.reshape(-1) + b1 <= 0).float()\n"
        "    return ((V[c] * gate) @ W1).reshape(A.shape)\n",
        "The gate is turned round: it passes what the units that are off would say.",
        0.4,
    ),
    Mistake(
        "channels_last",
        "def hidden_gradient(A, W1, b1, V, c):\n    K, h, w = A.shape\n"
        "    gate = (W1 @ A.reshape(-1) + b1 > 0).float()\n"
        "    return ((V[c] * gate) @ W1).reshape(h, w, K).permute(2, 0, 1)\n",
        "The numbers are right, their places are not: z runs channel, row, column, and you unrolled the channels last.",
        0.5,
    ),
)
