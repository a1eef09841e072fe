"""Facts of unit 03: its truths by a second route, the clip that it looks at, and its exploration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xaiteach import data, explain, models
from xaiteach.questions import find, of_unit
from xaiteach.questions.running import cases_of, keys_of
from xaiteach.questions.video_cam_pan import clip_maps
from xaiteach.widgets import frame_slider, frames

UNIT = "03_video_cam"


def keys(question: str, seed: int = 0) -> list[Any]:
    asked = find(f"video_cam.{question}")
    return keys_of(asked, cases_of(asked, seed, fresh=True))


def given(key: Any, *names: str) -> tuple[Any, ...]:
    return tuple(torch.tensor(v) if isinstance(v := key.case.inputs[n], np.ndarray) else v for n in names)


@pytest.mark.parametrize("seed", range(3))
def test_no_frame_of_a_case_is_blank_and_something_is_cut(seed: int) -> None:
    for key in keys("frame_cam", seed):
        A, G = given(key, "A", "G")
        signed = (G.mean((2, 3), keepdim=True) * A).sum(1)
        assert float(signed.amax((1, 2)).min()) > 0.1
        assert float(signed.min()) < 0
        np.testing.assert_allclose(key.truth["maps"], signed.relu().numpy(), atol=1e-12)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("head", ["stacked", "mean", "late"])
def test_gradients_of_the_heads_are_those_of_automatic_differentiation(head: str, seed: int) -> None:
    for key in keys(f"{head}_gradient", seed):
        A, V, b, c = given(key, "A", "V", "b", "c")
        A.requires_grad_()
        if head == "stacked":
            score = V[c] @ A.flatten() + b[c]
        elif head == "mean":
            score = V[c] @ A.flatten(1).mean(0) + b[c]
        else:
            y = (A.flatten(1) @ V.T + b).softmax(1)
            score = y[:, c].mean()
            assert float(y.detach().max()) < 0.999  # nowhere so sure that float32 loses the rivals
        (gradient,) = torch.autograd.grad(score, A)
        np.testing.assert_allclose(key.truth["gradient"], gradient.numpy(), atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_windows_are_those_of_a_convolution_in_time(seed: int) -> None:
    for key in keys("window", seed):
        T, kernel, stride, padding, t = given(key, "T", "kernel", "stride", "padding", "t")
        layer = torch.nn.Conv1d(1, 1, kernel, stride=stride, padding=padding)
        torch.nn.init.ones_(layer.weight)
        x = torch.zeros(1, 1, T, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(x)[0, 0, t], x)
        seen = gradient[0, 0].nonzero().flatten()
        assert key.truth["window"].tolist() == [int(seen[0]), int(seen[-1])]


def test_shares_add_up_to_the_score_and_are_those_of_the_real_network() -> None:
    (key,) = keys("shares")
    clip, model = data.pan("cat", "rocket"), models.load("crops_cnn")
    A = model.features(clip.x).detach().requires_grad_()
    score = model.classifier(A.mean((0, 2, 3)))[clip.y]
    (G,) = torch.autograd.grad(score, A)
    share = (G * A).sum((1, 2, 3)).detach().numpy()
    np.testing.assert_allclose(key.truth["shares"][:, 0], share, atol=1e-5)
    bias = clip_maps()[2]
    assert float(key.truth["shares"][:, 0].sum()) == pytest.approx(float(score.detach()) - bias, abs=1e-5)


def test_what_the_unit_says_of_the_clip_holds() -> None:
    (key,) = keys("shares")
    share, energy = key.truth["shares"].T
    assert int((share > 0).argmax()) == 6  # before t*
    assert data.pan("cat", "rocket").t_star == 7
    assert (share[:5] < -0.1).all()
    assert energy[0] < 0.01 < energy[11]
    found = keys("per_frame")[0].truth["choice"]
    assert str(found) == "c"
    assert str(keys("pooled")[0].truth["choice"]) == "b"


def test_a_unit_takes_75_minutes_at_most_and_says_what_it_gives() -> None:
    assert sum(question.minutes for question in of_unit(UNIT)) == 64
    assert sum(question.points for question in of_unit(UNIT)) == 21


@pytest.mark.parametrize("head", ["mean", "late"])
def test_the_explorations_maps_are_grad_cam_of_the_clips_score(head: str) -> None:
    clip, model = data.pan("cat", "rocket"), models.load("crops_cnn").double()
    A = model.features(clip.x.double()).detach().requires_grad_()
    if head == "mean":
        score = model.classifier(A.mean((0, 2, 3)))[clip.y]
    else:
        score = model.classifier(A.mean((2, 3))).softmax(1)[:, clip.y].mean()
    (G,) = torch.autograd.grad(score, A)
    found = frames.curves_of("cat to rocket", clip.y, head)
    np.testing.assert_allclose(
        found.maps, (G.mean((2, 3), keepdim=True) * A).sum(1).relu().detach().numpy(), atol=1e-12
    )
    np.testing.assert_allclose(found.share, (G * A).sum((1, 2, 3)).detach().numpy(), atol=1e-12)


def test_a_single_frames_map_is_the_packages_grad_cam_but_for_the_mean_over_time() -> None:
    clip, model = data.pan("cat", "rocket"), models.load("crops_cnn").double()
    alone = explain(model, clip.x[11:].double(), target=clip.y, method="grad_cam").values
    np.testing.assert_allclose(
        12 * frames.curves_of("cat to rocket", clip.y, "mean").maps[11], alone.numpy().reshape(8, 8), atol=1e-9
    )


@pytest.mark.parametrize(
    ("clip", "known"), [("cat to rocket", 7), ("cat to gravel", 7), ("tissue to coffee", 9), ("brick to gravel", 5)]
)
def test_the_task_is_solved_in_one_frame_of_one_clip_and_t_star_is_named_in_all(clip: str, known: int) -> None:
    shown = [frame_slider(clip=clip, t=t).frame() for t in range(12)]
    assert [t for t in range(12) if not shown[t]["note"].startswith("Not t*")] == [known]
    assert [t for t in range(12) if shown[t]["solved"]] == ([known] if clip == "brick to gravel" else [])


def test_a_preset_makes_an_empty_frame_shine_and_the_note_says_so() -> None:
    shown = frame_slider().answer({"id": "1", "values": {}, "action": "shines"})
    assert not shown["solved"]
    assert "Nothing of it is, and still its map fills the colours" in shown["note"]
    assert "2.2 % of the clip's largest value" in shown["note"]
    one_scale = frame_slider(clip="tissue to coffee", target="coffee", t=3).frame()
    assert one_scale["picture"] != shown["picture"]


def test_a_blank_map_is_said_to_be_blank_on_any_scale() -> None:
    frame = frame_slider(clip="cat to gravel", target="gravel", t=0, scale="frame").frame()
    assert "blank" in frame["note"]
    assert "blank" in frame["reading"]


def test_a_sure_frame_is_dim_under_late_fusion() -> None:
    frame = frame_slider(clip="cat to gravel", target="gravel", t=11, head="late").frame()
    assert "94.0 %" in frame["reading"]
    assert "(largest: frame 7)" in frame["reading"]
