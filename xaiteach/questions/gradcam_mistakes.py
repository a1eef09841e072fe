"""Unit 02: the classic wrong answers to its two numeric questions, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["ALPHA_GAP_MISTAKES", "LOGIT_GRADIENT_MISTAKES"]

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

ALPHA_GAP_MISTAKES = (
    Mistake(
        "no_mean",
        "alpha_gap = (slope(scores[cat]) - slope(scores[coffee])).sum((1, 2))\n",
        "Every number is Z = d1 d2 times too large: alpha_k is the mean over the positions, not the sum, and not "
        "the bare weight of the linear layer. The signs are right already.",
        0.7,
    ),
    Mistake(
        "probability",
        "y = torch.softmax(scores, 0)\nalpha_gap = (slope(y[cat]) - slope(y[coffee])).mean((1, 2))\n",
        "You differentiated the probabilities: every rival's weights come in with them. Take the two logits.",
        0.5,
    ),
    Mistake(
        "turned_round",
        "alpha_gap = (slope(scores[coffee]) - slope(scores[cat])).mean((1, 2))\n",
        "Every sign is turned: you took coffee minus cat, or the gradient of the loss instead of the score.",
        0.6,
    ),
    Mistake(
        "sum_to_one",
        "a, b = (slope(scores[i]).mean((1, 2)) for i in (cat, coffee))\nalpha_gap = a / a.sum() - b / b.sum()\n",
        "You divided by the sum of the alphas. Where that sum is negative the map turns into its own opposite. "
        "Grad-CAM's Z is the number of positions.",
        0.5,
    ),
    Mistake(
        "one_class",
        "alpha_gap = slope(scores[cat]).mean((1, 2))\n",
        "Those are the weights for the cat alone. The question compares: subtract the coffee's weights.",
        0.5,
    ),
    Mistake(
        "activation",
        "alpha_gap = ((slope(scores[cat]) - slope(scores[coffee])) * A[0].detach()).mean((1, 2))\n",
        "You multiplied by A before averaging: that is what each map contributes here, not its weight alpha_k.",
        0.4,
    ),
    Mistake(
        "contribution",
        "alpha_gap = ((slope(scores[cat]) - slope(scores[coffee])) * A[0].detach()).sum((1, 2))\n",
        "You multiplied by A before adding up: that is what each map contributes here, not its weight alpha_k.",
        0.4,
    ),
    Mistake(
        "other_class",
        "alpha_gap = slope(scores[coffee]).mean((1, 2))\n",
        "Those are the weights for the coffee alone. The question compares: subtract them from the cat's.",
        0.4,
    ),
    Mistake(
        "accumulated",
        "alpha_gap = -slope(scores[coffee]).mean((1, 2))\n",
        "That is minus the coffee's weights. If you called backward() twice: A.grad adds up, so the second one "
        "holds both classes. Set A.grad to None in between, or use torch.autograd.grad.",
        0.5,
    ),
    Mistake(
        "same_tensor",
        "alpha_gap = torch.zeros(A.shape[1])\n",
        "All zero: two names for one tensor? After a second backward() A.grad is the same object with both "
        "gradients added up. Clone it, or use torch.autograd.grad.",
        0.2,
    ),
    Mistake(
        "relu_first",
        "a, b = (slope(scores[i]).mean((1, 2)).relu() for i in (cat, coffee))\nalpha_gap = a - b\n",
        "You cut the negative weights off first. A map may speak against a class, and that is half of the answer; "
        "Grad-CAM's ReLU comes at the very end, after the sum over the maps.",
        0.4,
    ),
    Mistake(
        "gap_over_sum",
        "alpha_gap = (slope(scores[cat]) - slope(scores[coffee])).mean((1, 2))\n"
        "alpha_gap = alpha_gap / alpha_gap.sum()\n",
        "You divided the gap by its sum, which is negative here: every sign is turned. Z is the number of "
        "positions, not a sum of weights.",
        0.5,
    ),
)
