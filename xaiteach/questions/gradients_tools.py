"""Unit 01, the tools: SmoothGrad, two hooks, and how far a gradient holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.gradients_by_hand import BY_HAND, net_case
from xaiteach.questions.gradients_tool_mistakes import CATCH_MISTAKES, HOW_FAR_MISTAKES, SMOOTHGRAD_MISTAKES
from xaiteach.questions.model import Case, Question, Size, Tolerance, Variant

__all__ = ["CATCH", "HOW_FAR", "SMOOTHGRAD"]

UNIT = "01_gradients"

Array = np.ndarray[Any, Any]


def _smooth_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int], draws: int) -> Case:
    net = net_case(name, rng, sizes, int(rng.integers(sizes[2])))
    x, n = net.inputs["x"], sizes[0]
    noise = rng.normal(size=(draws, n))
    noise += 0.3 - noise.mean(0)  # its mean is not 0: who forgets to add x, or takes it off, gets something else
    edges = (x + noise) @ net.inputs["W1"].T + net.inputs["b1"]
    noise[np.abs(edges).min(1) < 1e-3] *= 1.01
    return Case(name, {**net.inputs, "noise": noise}, symbols={**net.symbols, "N": draws})


def _smooth_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(12)
        tiny = _smooth_case("3 inputs, 4 draws", rng, (3, 6, 3), 4)
        return [tiny, _smooth_case("5 inputs, 9 draws", rng, (5, 10, 4), 9)]
    rng = np.random.default_rng([seed, 13])
    return [_smooth_case(str(i), rng, s, draws) for i, (s, draws) in enumerate([((4, 9, 3), 7), ((6, 8, 4), 12)])]


def _smooth_expected(case: Case) -> Mapping[str, Any]:
    """The slope at each noisy point, unit by unit in plain numbers, and their mean."""
    x, W1, b1, V, c = (case.inputs[name] for name in ("x", "W1", "b1", "V", "c"))
    total = [0.0] * len(x)
    for draw in case.inputs["noise"]:
        for h, row in enumerate(W1):
            if sum(row[i] * (x[i] + draw[i]) for i in range(len(x))) + b1[h] > 0:
                total = [t + V[c, h] * row[i] for i, t in enumerate(total)]
    return {"smooth": np.array(total) / len(case.inputs["noise"])}


SMOOTHGRAD = Question(
    id="gradients.smoothgrad",
    unit=UNIT,
    title="SmoothGrad",
    points=3,
    minutes=7,
    difficulty=2,
    importance=4,
    kind="function",
    answer="smoothgrad",
    stub="return ...",
    cases=_smooth_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    x, W1, b1, V, noise = (torch.tensor(case[name]).float() for name in ('x', 'W1', 'b1', 'V', 'noise'))\n"
        "    c = case['c']\n"
        "    def gradient_at(point):\n"
        "        point = torch.as_tensor(point).float().reshape(x.shape)\n"
        "        return (V[c] * (W1 @ point + b1 > 0).float()) @ W1\n"
        "    return {'smooth': answer(gradient_at, x, noise)}\n"
    ),
    expected=_smooth_expected,
    forbids=("captum", "NoiseTunnel", "explain"),
    tolerance=Tolerance(1e-4, 1e-5, "float32 means of at most a dozen gradients of order 1"),
    shape_words="(n,), like x",
    context="import torch\n",
    mistakes=SMOOTHGRAD_MISTAKES,
    variants=(
        Variant(
            "loop",
            "def smoothgrad(gradient_at, x, noise):\n"
            "    total = 0 * x\n"
            "    for draw in noise:\n"
            "        total = total + gradient_at(x + draw)\n"
            "    return (total / len(noise)).tolist()\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def smoothgrad(gradient_at, x, noise):\n"
            "    return np.mean([np.asarray(gradient_at(x + draw)) for draw in noise], axis=0)\n",
        ),
    ),
    hints=(
        "gradient_at takes one point at a time: call it for x plus each row of the noise.",
        "Stack the N gradients and take their mean over the draws, signs kept.",
        "torch.stack([gradient_at(x + draw) for draw in noise]).mean(0)",
    ),
)


def _catch_case(name: str, layer: str, seed: int, c: int) -> Case:
    x = np.random.default_rng([seed, 14]).normal(size=(1, 1, 40))
    return Case(name, {"layer": layer, "seed": seed, "x": x, "c": c}, symbols={"K": 25})


def _catch_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        return [_catch_case("relu2, class 3", "relu2", 5, 3), _catch_case("relu1, class 0", "relu1", 6, 0)]
    rng = np.random.default_rng([seed, 15])
    drawn = [int(n) for n in rng.integers(1, 10_000, size=2)]
    return [_catch_case("0", "relu3", drawn[0], 7), _catch_case("1", "relu2", drawn[1], int(rng.integers(10)))]


def _catch_expected(case: Case) -> Mapping[str, Any]:
    """The layers one after the other in float64; the gradient by central differences of what comes after the layer."""
    import torch

    from xaiteach import models

    model = models.build("convnet1d", case.inputs["seed"]).double().eval()
    names, step = [name for name, _ in model.named_children()], 1e-5
    at = names.index(case.inputs["layer"]) + 1
    before, after = (
        torch.nn.Sequential(*(model.get_submodule(name) for name in part)) for part in (names[:at], names[at:])
    )
    with torch.no_grad():
        found = before(torch.tensor(case.inputs["x"], dtype=torch.float64))
        moves = step * torch.eye(found.numel(), dtype=torch.float64).reshape(-1, *found.shape[1:])
        up, down = (after(found + sign * moves)[:, case.inputs["c"]] for sign in (1, -1))
        gradient = ((up - down) / (2 * step)).reshape(found.shape)
    return {"activation": found.numpy(), "gradient": gradient.numpy(), "hooks left": 0, "gradients left": 0}


CATCH = Question(
    id="gradients.catch",
    unit=UNIT,
    title="Two hooks: what a layer says, and what comes back to it",
    points=3,
    minutes=10,
    difficulty=4,
    importance=4,
    kind="function",
    answer="catch",
    stub="return ...",
    cases=_catch_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    from xaiteach import models\n"
        "    model = models.build('convnet1d', case['seed']).eval()\n"
        "    x = torch.tensor(case['x']).float()\n"
        "    kinds = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')\n"
        "    found = answer(model, case['layer'], x, case['c'])\n"
        "    if found is ... or found is None:\n"
        "        return {'activation': found}\n"
        "    activation, gradient = found\n"
        "    left = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)\n"
        "    grads = sum(p.grad is not None for p in model.parameters())\n"
        "    return {'activation': activation, 'gradient': gradient, 'hooks left': left, 'gradients left': grads}\n"
    ),
    expected=_catch_expected,
    requires=("models.convnet1d",),
    forbids=("captum", "explain", "capture"),
    tolerance=Tolerance(1e-3, 1e-6, "float32 against float64 differences; gradients are of order 0.01 to 0.1"),
    deadline_s=30.0,
    shape_words="a pair, each (1, K, 40) like the layer's output",
    context="import torch\n",
    mistakes=CATCH_MISTAKES,
    variants=(
        Variant(
            "two_hooks",
            "import torch\n"
            "def catch(model, layer, x, c):\n"
            "    seen = {}\n"
            "    module = model.get_submodule(layer)\n"
            "    first = module.register_forward_hook(lambda m, i, o: seen.update(activation=o.detach()))\n"
            "    second = module.register_full_backward_hook(lambda m, i, o: seen.update(gradient=o[0].detach()))\n"
            "    leaf = x.clone().requires_grad_()\n"
            "    torch.autograd.grad(model(leaf)[0, c], leaf)\n"
            "    first.remove(); second.remove()\n"
            "    return seen['activation'], seen['gradient']\n",
        ),
        Variant(
            "tensor_hook",
            "import torch\n"
            "def catch(model, layer, x, c):\n"
            "    seen = {}\n"
            "    def keep(module, inputs, output):\n"
            "        seen['activation'] = output\n"
            "        output.register_hook(lambda g: seen.update(gradient=g))\n"
            "    handle = model.get_submodule(layer).register_forward_hook(keep)\n"
            "    try:\n"
            "        score = model(x.clone().requires_grad_())[0, c]\n"
            "        score.backward()\n"
            "    finally:\n"
            "        handle.remove()\n"
            "        model.zero_grad(set_to_none=True)\n"
            "    return seen['activation'].detach(), seen['gradient']\n",
        ),
    ),
    hints=(
        "model.get_submodule(layer).register_forward_hook(f) calls f(module, inputs, output) after the layer; "
        "register_full_backward_hook(f) calls f(module, grad_input, grad_output) on the way back.",
        "Keep `output` and `grad_output[0]` in a dictionary. Then run the model, differentiate its logit c, and remove "
        "both handles.",
        "With one hook: keep the output, and after that torch.autograd.grad(model(x)[0, c], output) gives the gradient "
        "and fills nobody's .grad.",
    ),
)


def _far_case(name: str, rng: np.random.Generator, sizes: tuple[int, int]) -> Case:
    n, hidden = sizes
    for _ in range(500):
        x, d = rng.normal(size=n), rng.normal(size=n)
        W1, b1 = rng.normal(size=(hidden, n)), rng.normal(size=hidden)
        z, rate = W1 @ x + b1, W1 @ d
        crossing = -z / rate
        ahead = np.sort(crossing[crossing > 0])
        behind = -np.sort(-crossing[crossing < 0])
        plain = -(W1 @ x) / rate
        # The next edge ahead, one behind that is nearer, and other edges than those of a net without biases.
        nearer = len(ahead) > 1 and len(behind) > 0 and -behind[0] < 0.7 * ahead[0]
        other = (plain > 0).any() and len(ahead) > 0 and abs(plain[plain > 0].min() - ahead[0]) > 0.1
        if nearer and other and ahead[1] > 1.3 * ahead[0] > 0.1:
            break
    return Case(name, {"x": x, "d": d, "W1": W1, "b1": b1}, symbols={"n": n, "H": hidden})


def _far_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(16)
        return [_far_case("2 inputs, 4 hidden units", rng, (2, 4)), _far_case("3 inputs, 8 units", rng, (3, 8))]
    rng = np.random.default_rng([seed, 17])
    return [_far_case(str(i), rng, sizes) for i, sizes in enumerate([(3, 6), (5, 10), (4, 7)])]


def _far_expected(case: Case) -> Mapping[str, Any]:
    """Walk until some gate has turned, then halve the last stretch; no edge is solved for."""
    x, d, W1, b1 = (case.inputs[name] for name in ("x", "d", "W1", "b1"))

    def gates(t: float) -> Array:
        open_: Array = W1 @ (x + t * d) + b1 > 0
        return open_

    low, high, start = 0.0, 1e-3, gates(0.0)
    while (gates(high) == start).all():
        low, high = high, high + 1e-3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (gates(middle) == start).all() else (low, middle)
    return {"t": low}


HOW_FAR = Question(
    id="gradients.how_far",
    unit=UNIT,
    title="How far does a gradient hold?",
    points=2,
    minutes=10,
    difficulty=4,
    importance=3,
    stretch=True,
    kind="function",
    answer="how_far",
    stub="return ...",
    cases=_far_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    x, d, W1, b1 = (torch.tensor(case[name]).float() for name in ('x', 'd', 'W1', 'b1'))\n"
        "    return {'t': answer(x, d, W1, b1)}\n"
    ),
    expected=_far_expected,
    forbids=BY_HAND,
    tolerance=Tolerance(1e-3, 1e-5, "a float32 quotient"),
    shape_words="one positive number",
    context="import torch\n",
    mistakes=HOW_FAR_MISTAKES,
    variants=(
        Variant(
            "loop",
            "def how_far(x, d, W1, b1):\n"
            "    found = []\n"
            "    for row, bias in zip(W1, b1):\n"
            "        rate = float(row @ d)\n"
            "        t = -float(row @ x + bias) / rate if rate else -1.0\n"
            "        if t > 0:\n"
            "            found.append(t)\n"
            "    return min(found)\n",
        ),
        Variant(
            "masked",
            "import torch\n"
            "def how_far(x, d, W1, b1):\n"
            "    t = -(W1 @ x + b1) / (W1 @ d)\n"
            "    return torch.where(t > 0, t, torch.inf).min()\n",
        ),
    ),
    hints=(
        "Along x + t d each hidden unit's sum is a straight line in t: its value at x, and a rate.",
        "W1 (x + t d) + b1 = z + t (W1 d) with z = W1 x + b1. When is that 0 for unit h? Which of these t count?",
        "t = -z / (W1 @ d); of the positive ones the smallest.",
    ),
)
