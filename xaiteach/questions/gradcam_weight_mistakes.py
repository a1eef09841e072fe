"""Unit 02: classic wrong answers to the questions on weights and maps, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["ALPHA_GAP_MISTAKES", "ALPHA_SUMS_MISTAKES", "HEATMAP_MISTAKES"]

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

_ALL = "alpha_sums = torch.stack([{} for c in range(len(scores))])\n"

ALPHA_SUMS_MISTAKES = (
    Mistake(
        "no_mean",
        _ALL.format("slope(scores[c]).sum()"),
        "Every number is Z = d1 d2 times too large: alpha_k is the mean over the positions, not the sum. The signs are "
        "right already.",
        0.7,
    ),
    Mistake(
        "mean_over_maps",
        _ALL.format("slope(scores[c]).mean()"),
        "You averaged over the maps as well. Asked is the sum of the K weights, each a mean over the positions.",
        0.7,
    ),
    Mistake(
        "probability",
        "y = torch.softmax(scores, 0)\n" + _ALL.format("slope(y[c]).mean((1, 2)).sum()"),
        "You differentiated the probabilities. Take the logits: scores as they are.",
        0.5,
    ),
    Mistake(
        "absolute",
        _ALL.format("slope(scores[c]).mean((1, 2)).abs().sum()"),
        "You added up absolute values. A weight may be negative, and that is what this question is about.",
        0.3,
    ),
    Mistake(
        "relu",
        _ALL.format("slope(scores[c]).mean((1, 2)).relu().sum()"),
        "You cut the negative weights off before adding up. A map may speak against a class; keep its sign.",
        0.3,
    ),
    Mistake(
        "contribution",
        _ALL.format("(slope(scores[c]) * A[0].detach()).sum()"),
        "You multiplied by A: that adds up to the score less its bias. Asked are the weights alone.",
        0.4,
    ),
    Mistake(
        "map_sum",
        _ALL.format("(slope(scores[c]).mean((1, 2)) * A[0].detach().sum((1, 2))).mean()"),
        "You multiplied by A: that is what the maps contribute. Asked are the weights alone.",
        0.4,
    ),
    Mistake(
        "normalised",
        _ALL.format("(slope(scores[c]).mean((1, 2)) / slope(scores[c]).mean((1, 2)).sum()).sum()"),
        "All ones: you divided by the very sum that is asked for.",
        0.2,
    ),
)

_BODY = "def heatmap(A, gradient):\n    alpha = gradient.mean((1, 2))\n    return {}\n"
_SUM = "(alpha[:, None, None] * A).sum(0)"

HEATMAP_MISTAKES = (
    Mistake(
        "relu_before_sum",
        _BODY.format("(alpha[:, None, None] * A).relu().sum(0)"),
        "The ReLU came too early, on the weights or on each product (which is the same, as A is never negative). Cut "
        "after the sum over the channels: before it, channels must be allowed to argue against the class.",
        0.5,
    ),
    Mistake(
        "no_relu",
        _BODY.format(_SUM),
        "The last step is missing: Grad-CAM keeps only what speaks for the class, ReLU of the sum.",
        0.7,
    ),
    Mistake(
        "no_mean",
        _BODY.format(_SUM + ".relu()").replace("gradient.mean(", "gradient.sum("),
        "The map is Z = d1 d2 times too large: alpha_k is the mean over the positions.",
        0.7,
    ),
    Mistake(
        "sum_to_one",
        _BODY.format(f"({_SUM} / alpha.sum()).relu()"),
        "You divided by the sum of the weights. Where that sum is negative, the picture turns into the evidence "
        "against the class; near zero it blows up. Grad-CAM's Z is the number of positions.",
        0.4,
    ),
    Mistake(
        "gradient_x_activation",
        "def heatmap(A, gradient):\n    return (gradient * A).sum(0).relu()\n",
        "You multiplied gradient and activation position by position. That is another method (HiResCAM). Grad-CAM "
        "first averages the gradient over each map.",
        0.5,
    ),
    Mistake(
        "absolute",
        _BODY.format(_SUM + ".abs()"),
        "The absolute value turns evidence against the class into evidence for it. The ReLU drops it.",
        0.4,
    ),
    Mistake(
        "own_maximum",
        _BODY.format(_SUM + ".relu() / " + _SUM + ".relu().max()"),
        "You divided the map by its own maximum. Then two maps cannot be compared any more: red would mean more than "
        "elsewhere in this map, and nothing beyond it.",
        0.7,
    ),
    Mistake(
        "mean_over_maps",
        _BODY.format("(alpha[:, None, None] * A).mean(0).relu()"),
        "You averaged over the channels: the map is K times too small. Grad-CAM adds them up.",
        0.7,
    ),
    Mistake(
        "positive_gradient",
        _BODY.format(_SUM + ".relu()").replace("gradient.mean(", "gradient.relu().mean("),
        "You cut the gradient before averaging. Its negative entries belong to the mean; the only ReLU is the last "
        "step.",
        0.4,
    ),
    Mistake(
        "no_activation",
        "def heatmap(A, gradient):\n    return gradient.sum(0).relu()\n",
        "The maps A do not occur in it. The weights say how much, only the maps say where.",
        0.2,
    ),
)
