"""What every method of the registry says of the same input, in three contact sheets.

XAITEACH_SHOTS=DIR pytest tests/test_pictures_methods.py leaves them in DIR. A method that is new to the registry is in
them by itself; one that refuses is shown with its words, and has to stand in the lists here.
"""

from __future__ import annotations

import helpers_pictures as p
import pytest
import torch
from torch import Tensor, nn

from xaiteach import data, models
from xaiteach.runtime import require

pytestmark = pytest.mark.slow

NOT_GAP = {"cam": "global average pooling"}
"""CAM is defined for average pooling and one dense layer."""


def of(found: p.Told, mask: Tensor) -> str:
    """Share of the map's positive part in the mask, for a title."""
    share = p.energy(found, mask)
    return f"{share:.2f}" if share == share else "-"


def test_every_method_says_something_of_two_classes_in_one_image() -> None:
    model, split = models.load("crops_cnn"), data.crops("train", n_per_class=1)
    pair = next(pair for pair in data.crops("test", n_per_class=1).pairs if pair.names == ("gravel", "astronaut"))
    background = torch.cat([split.pair(i, (i + 3) % 10).x for i in range(6)])
    right = torch.as_tensor(pair.mask)
    names = pair.names[::-1]  # of pair.y, which is on the right, and of pair.other
    tellings = [p.told_by_all(model, pair.x, c, background) for c in (pair.y, pair.other)]
    cells = [p.Cell(f"input: {names[0]}", pair.x[0], right, picture=True)]
    cells += [p.Cell(f"input: {names[1]}", pair.x[0], ~right, picture=True)]
    for method in tellings[0]:
        for told, mask, title in zip(tellings, (right, ~right), (f"{method} ", ""), strict=True):
            cells.append(p.Cell(title + of(told[method], mask), told[method], mask))
    heading = f"crops_cnn: {names[0]} and {names[1]} by each method; how much of what is positive lies on their half"
    p.keep(p.image_sheet(cells, 0.5, 6, heading), "methods-crops")
    for told in tellings:
        p.check_told(told, {})


def trained_on_signals() -> tuple[nn.Module, float]:
    """A small net for MNIST-1D, by the same draws each time, and its accuracy on the test signals."""
    d = data.mnist1d()
    x, y = torch.tensor(d.x_train)[:, None], torch.tensor(d.y_train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 3), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 38, 10))
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(20):
            for rows in torch.randperm(len(x)).split(100):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()
    right = net.eval()(torch.tensor(d.x_test)[:, None]).argmax(1) == torch.tensor(d.y_test)
    return net, float(right.double().mean())


def test_every_method_says_something_of_a_signal() -> None:
    net, accuracy = trained_on_signals()
    assert accuracy > 0.8  # some nets reach 0.94; a map of one that has learnt nothing shows nothing
    d = data.mnist1d()
    x, y = torch.tensor(d.x_test)[:, None], torch.tensor(d.y_test)
    sure = net(x).softmax(1).gather(1, y[:, None])[:, 0] > 0.9
    place = int(sure.nonzero()[0])
    one, target, mask = x[place : place + 1], int(y[place]), torch.tensor(d.mask_test[place])
    told = p.told_by_all(net, one, target, torch.tensor(d.x_train[:20])[:, None])
    cells = [p.Cell(f"signal {place} of the test set, class {target}", one[0, 0], mask, picture=True)]
    cells += [p.Cell(f"{method} {of(found, mask)}", found, mask) for method, found in told.items()]
    heading = f"MNIST-1D: the template lies where it is green ({float(mask.double().mean()):.2f} of the signal)"
    p.keep(p.signal_sheet(cells, 5, heading), "methods-mnist1d")
    p.check_told(told, NOT_GAP)


def test_every_method_says_something_of_a_resnet() -> None:
    try:
        require("torchvision")
    except ImportError as error:
        pytest.skip(f"torchvision does not load here: {error}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = models.pretrained("resnet18", weights=None)
    pair = data.crops("test", n_per_class=1).pairs[0]
    x, background = pair.x[..., :64], torch.tensor(data.crops("train", n_per_class=1).x[:6])
    target = int(net(x).argmax())
    # Of 1000 classes each has some 0.001; prices that are made for a score near 1 would delete nothing.
    cheap = {"l1": 1e-4, "tv": 1e-2}
    told = p.told_by_all(net, x, target, background, meaningful_perturbation=cheap)
    cells = [p.Cell("input: cat", x[0], picture=True)]
    cells += [p.Cell(method, found) for method, found in told.items()]
    heading = f"torchvision's resnet18 with random weights, class {target}: nothing to see but that each method runs"
    p.keep(p.image_sheet(cells, 1.0, 8, heading), "methods-resnet18")
    p.check_told(told, {})
