from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from xaiteach import data
from xaiteach.errors import OptionError

FROZEN = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist1d_frozen.npz"
SHA_X = "d53506bddd12d3b72c7153b1ae7f34807724b1dd078a7273809bf9d0792319f6"
SHA_X_TEST = "30addc43827c82aafa5db8bc97cea63349ca687e87db2f201cc4f5415d9a4ebd"


def digest(array):
    return hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()


def resampled(values, width):
    """Linear resampling with both ends kept, one sample at a time."""
    out = []
    for i in range(width):
        place = i * (len(values) - 1) / (width - 1)
        low = min(int(place), len(values) - 2)
        out.append(values[low] + (place - low) * (values[low + 1] - values[low]))
    return np.array(out)


def noise_free(label, pad, shift):
    """Slow form of the signal before noise and shear."""
    long = resampled(np.concatenate([data.templates()[label] + 1e-8, np.zeros(pad)]), 72)
    return resampled(np.array([long[(j - shift) % 72] for j in range(72)]), 40)


def replayed(seed, n_per_class):
    """(pad, shift) of each signal before the permutation, and the permutation, from a stream of our own."""
    rng = np.random.RandomState(seed)
    places = []
    for _ in range(10 * n_per_class):
        pad = 36 + int(rng.rand() * 25)
        rng.rand()
        shift = int(rng.choice(48))
        rng.randn(144)
        rng.rand()
        places.append((pad, shift))
    return places, rng.permutation(10 * n_per_class)


def test_signals_are_the_published_bits():
    d = data.mnist1d()
    assert (digest(d.x_train), digest(d.x_test)) == (SHA_X, SHA_X_TEST)


def test_frozen_set_agrees_in_signals_classes_and_axis():
    if not FROZEN.is_file():
        pytest.skip("the published arrays are not beside this checkout (shared/data/mnist1d_frozen.npz)")
    frozen, d = np.load(FROZEN), data.mnist1d()
    # The published set is float32 and standardised: 1e-6 is some ten units in the last place.
    np.testing.assert_allclose(d.x_train, frozen["x"], atol=1e-6)
    np.testing.assert_allclose(d.x_test, frozen["x_test"], atol=1e-6)
    np.testing.assert_array_equal(d.y_train, frozen["y"])
    np.testing.assert_array_equal(d.y_test, frozen["y_test"])
    np.testing.assert_allclose(d.t, frozen["t"], rtol=1e-12)  # float64, one division apart


def test_shapes_and_types():
    d = data.mnist1d()
    assert d.x_train.shape == d.mask_train.shape == (4000, 40)
    assert d.x_test.shape == d.mask_test.shape == (1000, 40)
    assert (d.x_train.dtype, d.y_train.dtype, d.mask_train.dtype, d.t.shape) == (np.float32, np.int64, np.bool_, (40,))
    assert np.bincount(np.concatenate([d.y_train, d.y_test])).tolist() == [500] * 10


def test_masks_are_where_the_noise_free_signal_is_not_zero():
    seed, n = 7, 20
    d = data.mnist1d(seed, n)
    places, order = replayed(seed, n)
    labels = np.repeat(np.arange(10), n)
    slow = np.array([noise_free(labels[i], *places[i]) != 0 for i in order])
    np.testing.assert_array_equal(labels[order], np.concatenate([d.y_train, d.y_test]))
    np.testing.assert_array_equal(slow, np.concatenate([d.mask_train, d.mask_test]))


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        # Sample i of 40 lies at 71 i / 39 of the 72: 0, 1.8, 3.6, 5.5, 7.3, 9.1, 10.9, 12.7, ...
        pytest.param(0, 11, range(0, 7), id="longest padding, no shift: 12 of 72 samples"),
        pytest.param(0, 12, range(0, 8), id="12.7 has 12 for a neighbour"),
        pytest.param(5, 5, [3], id="a single sample between two places is seen by the nearer pair"),
        pytest.param(71, 71, [39], id="the last place is exact: 69.2 before it has 69 and 70"),
        pytest.param(70, 70, [38], id="and the last place gives 70 no weight"),
        pytest.param(4, 4, [2], id="3.6 has 4 for a neighbour"),
    ],
)
def test_mask_resampling_by_hand(first, last, expected):
    from xaiteach.data.mnist1d import _resampled_mask

    long = np.zeros((1, 72), dtype=bool)
    long[0, first : last + 1] = True
    assert np.flatnonzero(_resampled_mask(long)[0]).tolist() == list(expected)


def test_masks_move_circularly():
    from xaiteach.data.mnist1d import _rolled

    rows = np.zeros((2, 72), dtype=bool)
    rows[:, :12] = True
    moved = _rolled(rows, np.array([65, 3]))
    assert np.flatnonzero(moved[0]).tolist() == [0, 1, 2, 3, 4, *range(65, 72)]  # wraps round the end
    assert np.flatnonzero(moved[1]).tolist() == list(range(3, 15))


def test_every_mask_is_one_stretch_of_seven_to_eleven_samples():
    mask = data.mnist1d().mask_train
    starts = (mask & ~np.roll(mask, 1, axis=1)).sum(axis=1)
    assert set(starts.tolist()) == {1}
    assert set(mask.sum(axis=1).tolist()) == {7, 8, 9, 10, 11}


def test_signal_inside_the_mask_depends_on_the_class_more_than_outside():
    # A property of the data: on samples outside the mask only noise and shear are left.
    d = data.mnist1d()
    assert d.x_train[d.mask_train].std() > 1.3 * d.x_train[~d.mask_train].std()


def test_templates_start_at_zero_with_a_sixth_of_unit_spread():
    shapes = data.templates()
    np.testing.assert_array_equal(shapes[:, 0], 0)
    np.testing.assert_allclose(shapes.std(axis=1), 1 / 6, rtol=1e-12)  # float64 rounding


def test_same_arguments_share_one_read_only_set():
    d = data.mnist1d(3, 5)
    assert data.mnist1d(seed=3, n_per_class=5) is d
    with pytest.raises(ValueError, match="read-only"):
        d.x_train[0, 0] = 1


def test_seeds_differ():
    assert not np.array_equal(data.mnist1d(3, 5).x_train, data.mnist1d(4, 5).x_train)


def test_tensors_are_copies_with_a_channel_axis():
    d = data.mnist1d(3, 5)
    x, y = d.tensors("test")
    assert (x.shape, x.dtype, y.dtype) == ((10, 1, 40), torch.float32, torch.int64)
    before = d.x_test.copy()
    x.zero_()
    np.testing.assert_array_equal(d.x_test, before)


def test_making_the_set_leaves_the_global_random_states_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    data.mnist1d(11, 2)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_unknown_split_lists_the_known_ones():
    with pytest.raises(OptionError, match="unknown split 'tests'; did you mean 'test'"):
        data.mnist1d(3, 5).tensors("tests")


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 2**32}, {"n_per_class": 0}])
def test_arguments_out_of_range_say_what_to_try(wrong):
    with pytest.raises(OptionError, match="Try"):
        data.mnist1d(**wrong)
