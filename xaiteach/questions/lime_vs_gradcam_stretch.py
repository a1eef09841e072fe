"""Unit 06, stretch: how much of a map's edges are the segmentation's, and the cost in pictures passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_vs_gradcam_pieces import _labels
from xaiteach.questions.model import Case, Mistake, Question, Size, Tolerance, Variant

__all__ = ["EDGE_SHARE", "PASSES"]

UNIT = "06_lime_vs_gradcam"


def _edge_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng, shapes = np.random.default_rng(65), [("2 by 3 pixels", (2, 3), 2), ("5 by 4 pixels", (5, 4), 3)]
    else:
        rng = np.random.default_rng([seed, 66])
        shapes = [("0", (4, 6), 3), ("1", (7, 5), 4), ("2", (6, 9), 5)]
    return [
        Case(
            name,
            {"heat": rng.normal(size=shape), "labels": _labels(rng, shape, n)},
            symbols={"H": shape[0], "W": shape[1]},
        )
        for name, shape, n in shapes
    ]


def _edge_expected(case: Case) -> Mapping[str, Any]:
    """Pixel by pixel: each with its right and its lower neighbour."""
    heat, labels = case.inputs["heat"], case.inputs["labels"]
    rows, columns = heat.shape
    across = total = 0.0
    for i in range(rows):
        for j in range(columns):
            for k, m in ((i + 1, j), (i, j + 1)):
                if k < rows and m < columns:
                    jump = abs(float(heat[k, m] - heat[i, j]))
                    total += jump
                    across += jump if labels[k, m] != labels[i, j] else 0.0
    return {"share": across / total, "share of a map painted on the superpixels": 1.0}


def _edge(*lines: str) -> str:
    return "import torch\ndef edge_share(heat, labels):\n" + "".join(f"    {line}\n" for line in lines)


_BOTH = (
    "jumps = [heat.diff(dim=d).abs() for d in (0, 1)]",
    "over = [labels.diff(dim=d) != 0 for d in (0, 1)]",
)
_TOTAL = "total = sum(j.sum() for j in jumps)"

EDGE_SHARE = Question(
    id="lime_vs_gradcam.edge_share",
    unit=UNIT,
    title="Whose edges?",
    points=2,
    minutes=8,
    difficulty=3,
    importance=3,
    stretch=True,
    kind="function",
    answer="edge_share",
    stub="return ...",
    cases=_edge_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    heat, labels = torch.tensor(case['heat']), torch.tensor(case['labels'])\n"
        "    painted = torch.arange(1.0, 10.0).double()[labels] ** 2\n"
        "    return {'share': answer(heat, labels), "
        "'share of a map painted on the superpixels': answer(painted, labels)}\n"
    ),
    expected=_edge_expected,
    tolerance=Tolerance(1e-4, 1e-6, "float32 sums of some dozens of numbers"),
    shape_words="one number from 0 to 1 from each call",
    context="import torch\n",
    mistakes=(
        Mistake(
            "within",
            _edge(*_BOTH, _TOTAL, "return sum(j[~o].sum() for j, o in zip(jumps, over)) / total"),
            "That is the share of the jumps within superpixels. Asked is the share across their borders.",
            0.5,
        ),
        Mistake(
            "counted",
            _edge(*_BOTH, "return sum(o.sum() for o in over) / sum(o.numel() for o in over)"),
            "You counted the borders, whatever the map does there. Weigh each pair of neighbours by the size of "
            "its jump.",
            0.3,
        ),
        Mistake(
            "one_direction",
            _edge(
                "jumps, over = heat.diff(dim=1).abs(), labels.diff(dim=1) != 0",
                "return jumps[over].sum() / jumps.sum()",
            ),
            "You looked along the rows only. A border can run either way: take the neighbours below as well.",
            0.5,
        ),
        Mistake(
            "squared",
            _edge(
                "jumps = [heat.diff(dim=d) ** 2 for d in (0, 1)]",
                _BOTH[1],
                _TOTAL,
                "return sum(j[o].sum() for j, o in zip(jumps, over)) / total",
            ),
            "The jumps are squared, so that a few large ones decide. Asked are their sizes.",
            0.7,
        ),
    ),
    variants=(
        Variant(
            "slices",
            "def edge_share(heat, labels):\n"
            "    down, right = (heat[1:] - heat[:-1]).abs(), (heat[:, 1:] - heat[:, :-1]).abs()\n"
            "    d, r = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]\n"
            "    return ((down * d).sum() + (right * r).sum()) / (down.sum() + right.sum())\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def edge_share(heat, labels):\n"
            "    heat, labels = np.asarray(heat), np.asarray(labels)\n"
            "    jumps = np.concatenate([np.abs(np.diff(heat, axis=a)).ravel() for a in (0, 1)])\n"
            "    over = np.concatenate([(np.diff(labels, axis=a) != 0).ravel() for a in (0, 1)])\n"
            "    return jumps[over].sum() / jumps.sum()\n",
        ),
    ),
    hints=(
        "All pairs of neighbours, below and to the right: the size of the map's jump, and whether the labels differ.",
        "heat.diff(dim=0).abs() and labels.diff(dim=0) != 0 are the pairs one above the other; dim=1 the others.",
        "Sum jumps[labels differ] over both directions, divided by the sum of all jumps over both directions.",
    ),
)


def _pass_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        plans = [("two calls", [3, 2], [0, 1]), ("five calls", [1, 50, 50, 7, 1], [1, 0, 0, 0, 1])]
    else:
        rng = np.random.default_rng([seed, 67])
        plans = []
        for i in range(3):
            calls = rng.integers(1, 9, 6)
            back = rng.permutation([1, 1, 0, 0, 1, 0])
            plans.append((str(i), calls.tolist(), back.tolist()))
    return [
        Case(
            name, {"calls": np.array(calls), "back": np.array(back), "layer": 2 * (i % 2)}
        )  # layer 0: no gradient goes in
        for i, (name, calls, back) in enumerate(plans)
    ]


def _pass_expected(case: Case) -> Mapping[str, Any]:
    calls, back = case.inputs["calls"].tolist(), case.inputs["back"].tolist()
    return {
        "passes": np.array([sum(calls), sum(n for n, b in zip(calls, back, strict=True) if b)]),
        "hooks left": 0,
    }


def _pass(forward: str, backward: str, after: str = "    first.remove()\n    second.remove()\n") -> str:
    return (
        "def passes(run, layer):\n"
        "    seen = [0, 0]\n"
        "    def count(module, inputs, output):\n"
        f"        seen[0] += {forward}\n"
        "    def count_back(module, before, after):\n"
        f"        seen[1] += {backward}\n"
        "    first, second = layer.register_forward_hook(count), layer.register_full_backward_hook(count_back)\n"
        "    run()\n" + after + "    return seen\n"
    )


PASSES = Question(
    id="lime_vs_gradcam.passes",
    unit=UNIT,
    title="What does a map cost?",
    points=2,
    minutes=8,
    difficulty=3,
    importance=3,
    stretch=True,
    kind="function",
    answer="passes",
    stub="return ...",
    cases=_pass_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))\n"
        "    layer = model[case['layer']]\n"
        "    def run():\n"
        "        for n, back in zip(case['calls'].tolist(), case['back'].tolist()):\n"
        "            score = model(torch.ones(n, 3))\n"
        "            if back:\n"
        "                score.sum().backward()\n"
        "    found = answer(run, layer)\n"
        "    return {'passes': found, 'hooks left': len(layer._forward_hooks) + len(layer._backward_hooks)}\n"
    ),
    expected=_pass_expected,
    tolerance=Tolerance(0.0, 0.01, "whole numbers"),
    shape_words="two whole numbers: pictures that went forward, and backward",
    context="import torch\n",
    mistakes=(
        Mistake(
            "calls_counted",
            _pass("1", "1"),
            "You counted calls. A call may hold fifty pictures, and costs fifty times as much: count len(output).",
            0.5,
        ),
        Mistake(
            "length_of_inputs",
            _pass("len(inputs)", "len(after[0])"),
            "Forward you took the length of `inputs`. A hook is handed a tuple, whose length is 1: take that of "
            "the tensor "
            "in it, or of the output.",
            0.6,
        ),
        Mistake(
            "length_of_gradients",
            _pass("len(output)", "len(after)"),
            "Backward you took the length of a tuple, which is 1. Take that of the tensor in it: len(grad_output[0]).",
            0.6,
        ),
        Mistake(
            "forward_for_backward",
            _pass("len(output)", "0", "    first.remove()\n    second.remove()\n    seen[1] = seen[0]\n"),
            "You took as many backward passes as forward ones. A picture of which only the score is asked never goes "
            "back; count them with a hook of their own.",
            0.4,
        ),
        Mistake(
            "hooks_left",
            _pass("len(output)", "len(after[0])", ""),
            "The counts are right, but the hooks are still on the layer: the next map will be counted into this one's "
            "lists, and slowed down. Remove them.",
            0.7,
        ),
        Mistake(
            "entries",
            _pass("output.numel()", "after[0].numel()"),
            "You counted numbers. One picture gives several of them: take the length of the batch, len(output).",
            0.5,
        ),
    ),
    variants=(
        Variant(
            "tensor_hook",
            "def passes(run, layer):\n"
            "    seen = {'forward': 0, 'backward': 0}\n"
            "    def back(gradient):\n"
            "        seen['backward'] += gradient.shape[0]\n"
            "    def count(module, inputs, output):\n"
            "        seen['forward'] += output.shape[0]\n"
            "        if output.requires_grad:\n"
            "            output.register_hook(back)\n"
            "    handle = layer.register_forward_hook(count)\n"
            "    try:\n"
            "        run()\n"
            "    finally:\n"
            "        handle.remove()\n"
            "    return seen['forward'], seen['backward']\n",
        ),
        Variant("lists", _pass("output.shape[0]", "after[0].shape[0]").replace("return seen", "return tuple(seen)")),
    ),
    hints=(
        "A forward hook is called with the layer's output: its first axis says how many pictures came through.",
        "register_full_backward_hook is called as hook(module, grad_input, grad_output) with tuples of gradients.",
        "seen[0] += len(output) in one hook, seen[1] += len(grad_output[0]) in the other; run(); remove both.",
    ),
)
