from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xaiteach import data, models, runtime
from xaiteach.errors import OptionError
from xaiteach.models import training

TINY = training.Recipe(epochs=1, n_per_class=4, batch=16, seed=5)


@pytest.fixture(scope="module")
def tiny():
    lines: list[str] = []
    return training.train_crops_cnn(TINY, lines.append), lines


def test_one_tiny_epoch_trains_and_reports(tiny):
    trained, lines = tiny
    assert len(trained.history) == len(lines) == 1
    assert "epoch  1 of 1: loss " in lines[0]
    assert math.isfinite(trained.history[0][0])
    assert not trained.net.training
    start = models.build("crops_cnn", TINY.seed)
    assert not torch.equal(trained.net.classifier.weight, start.classifier.weight)


def test_training_is_seeded_and_leaves_the_global_random_state(tiny):
    state = torch.get_rng_state()
    again = training.train_crops_cnn(TINY)
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in tiny[0].net.state_dict().items():
        # float32 sums may be split over threads differently: three steps of training stay within this.
        torch.testing.assert_close(again.net.state_dict()[key], value, atol=1e-5, rtol=1e-4)


def test_saved_weights_load_again_and_the_json_states_what_they_are(tiny, tmp_path):
    path = tmp_path / "made" / "net.safetensors"
    facts = training.save(tiny[0], path)
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == facts
    assert (facts["licence"], facts["parameters"], facts["recipe"]["seed"]) == ("Apache-2.0", 28698, 5)
    assert facts["test_accuracy"] == pytest.approx(tiny[0].history[-1][1], abs=5e-5)  # written with four digits
    net = models.build("crops_cnn", 0)
    net.load_state_dict(load_file(path))
    assert torch.equal(net.classifier.weight, tiny[0].net.classifier.weight)


def test_saving_twice_gives_the_same_bytes(tiny, tmp_path):
    hashes = {training.save(tiny[0], tmp_path / f"{i}.safetensors")["sha256"] for i in range(8)}
    assert len(hashes) == 1


def test_per_class_accuracies_average_to_the_accuracy(tiny):
    # The classes are equally frequent; float32 mean of 500 zeros and ones.
    assert np.mean(list(tiny[0].per_class.values())) == pytest.approx(tiny[0].history[-1][1], abs=1e-6)


@pytest.mark.parametrize("name", [name for name in training.RECIPES if models.card(name).packaged])
def test_packaged_weights_come_from_the_default_recipe(name):
    assert training.Recipe(**models.provenance(name)["recipe"]) == training.RECIPES[name]


def test_every_packaged_model_has_a_recipe():
    assert {name for name in models.available() if models.card(name).packaged} <= set(training.RECIPES)


SHORT = {
    "convnet1d": training.Recipe(epochs=2, batch=32, rate=0.01, jitter=0, n_per_class=10, optimiser="sgd"),
    "digits_cnn": training.Recipe(epochs=1, batch=128, jitter=0),
    "digits_cnn_norm": training.Recipe(epochs=1, batch=128, jitter=0),
    "vgg64_narrow": training.Recipe(epochs=1, batch=16, n_per_class=4),
    "vgg64_narrow_scenes": training.Recipe(epochs=1, batch=16, n_per_class=4, bare=0.5),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_short_run_of_each_recipe_trains_its_net(name):
    trained = training.train(name, SHORT[name])
    assert len(trained.history) == SHORT[name].epochs
    assert set(trained.per_class) == set(models.card(name).class_names)
    assert 0 <= trained.train_accuracy <= 1
    before, after = models.build(name, 0).state_dict(), trained.net.state_dict()
    changed = [key for key, value in before.items() if value.ndim > 1 and not torch.equal(value, after[key])]
    assert changed == [key for key, value in before.items() if value.ndim > 1]
    assert all(value.is_contiguous() for value in after.values())


def test_digits_recipe_comes_with_and_without_batch_norm(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "train", lambda name, *args, **options: asked.append((name, args, options)))
    training.train_digits_cnn()
    training.train_digits_cnn(batch_norm=True, recipe=TINY, permuted_labels=True)
    assert asked == [
        ("digits_cnn", (None, None), {"permuted_labels": False}),
        ("digits_cnn_norm", (TINY, None), {"permuted_labels": True}),
    ]


def given_to_fit(monkeypatch, name, recipe, **options):
    """Inputs and labels that a recipe trains on."""
    seen = []

    def stand_in(net, x, y, *, after_epoch, **settings):
        seen.append((x.clone(), y.clone(), settings))
        after_epoch(1, 0.0)

    monkeypatch.setattr(training, "fit", stand_in)
    training.train(name, recipe, **options)
    return seen[0]


def test_permuted_labels_are_the_labels_in_another_order(monkeypatch):
    recipe = SHORT["convnet1d"]
    x, y, _ = given_to_fit(monkeypatch, "convnet1d", recipe)
    same, permuted, _ = given_to_fit(monkeypatch, "convnet1d", recipe, permuted_labels=True)
    assert torch.equal(same, x)
    assert torch.equal(permuted, models.permuted(y, recipe.seed))
    assert not torch.equal(permuted, y)
    _, again, _ = given_to_fit(monkeypatch, "convnet1d", dataclasses.replace(recipe, permuted_labels=True))
    assert torch.equal(again, permuted)


def test_the_scenes_net_sees_half_its_images_without_the_object(monkeypatch):
    x, y, _ = given_to_fit(monkeypatch, "vgg64_narrow_scenes", SHORT["vgg64_narrow_scenes"])
    d = data.scenes("train", n=40)
    np.testing.assert_array_equal(x[:20].numpy(), d.background[:20])
    np.testing.assert_array_equal(x[20:].numpy(), d.x[20:])
    np.testing.assert_array_equal(y.numpy(), d.scene)


def test_the_objects_net_sees_the_objects_and_the_recipes_settings(monkeypatch):
    x, y, settings = given_to_fit(monkeypatch, "vgg64_narrow", SHORT["vgg64_narrow"])
    d = data.scenes("train", n=40)
    np.testing.assert_array_equal(x.numpy(), d.x)
    np.testing.assert_array_equal(y.numpy(), d.object)
    assert (settings["epochs"], settings["batch"], settings["optimiser"]) == (1, 16, "adamw")
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_augmented_images_stay_in_range_and_differ(tiny):
    x = torch.rand(8, 3, 16, 16, generator=runtime.generator(0))
    before = x.clone()
    y = training.augmented(x, 0.3, runtime.generator(1))
    assert torch.equal(x, before)
    assert y.shape == x.shape
    assert y.min() >= 0
    assert y.max() <= 1
    assert len({float(d) for d in (y - x).abs().mean(dim=(1, 2, 3))}) == 8


def test_without_jitter_an_augmented_image_is_one_of_its_four_flips():
    x = torch.rand(16, 3, 4, 4, generator=runtime.generator(0))
    y = training.augmented(x, 0.0, runtime.generator(1))
    kinds = set()
    for before, after in zip(x, y, strict=True):
        flips = [before, before.flip(2), before.flip(1), before.flip(1, 2)]
        # mean + (x - mean) rounds twice in float32
        kinds.add(next(i for i, flip in enumerate(flips) if torch.allclose(flip, after, atol=1e-6)))
    assert kinds == {0, 1, 2, 3}


def test_accuracy_counts_right_answers_over_uneven_batches():
    net = torch.nn.Identity()
    x = torch.eye(3)[torch.tensor([0, 1, 2, 2, 1])]
    assert training.accuracy(net, x, torch.tensor([0, 1, 2, 0, 0]), batch=2) == pytest.approx(0.6)  # float32 mean


def test_command_line_trains_prints_and_writes(tmp_path, monkeypatch, capsys, tiny):
    chosen = []

    def stand_in(name, recipe, report):
        chosen.append((name, recipe.epochs, recipe.seed, torch.get_num_threads()))
        report("epoch  1 of 1: loss 2.303, test accuracy 0.100")
        return tiny[0]

    threads = torch.get_num_threads()
    monkeypatch.setattr(training, "train", stand_in)
    out = tmp_path / "net.safetensors"
    assert training.main(["crops_cnn", "--out", str(out), "--epochs", "1", "--seed", "8", "--threads", "1"]) == 0
    assert chosen == [("crops_cnn", 1, 8, 1)]
    assert torch.get_num_threads() == threads
    assert out.is_file()
    assert "loss 2.303" in capsys.readouterr().out


def test_unknown_model_and_empty_recipe_are_refused():
    with pytest.raises(OptionError, match="did you mean 'crops_cnn'"):
        training.main(["crops_net"])
    with pytest.raises(OptionError, match="at least 1"):
        training.train_crops_cnn(training.Recipe(epochs=0))
