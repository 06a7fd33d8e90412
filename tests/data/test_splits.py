"""Parts of a dataset: disjoint, stratified, repeatable, and the same on a device."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.data import Dataset, stratified_holdout, write_dataset

label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=120)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four classes of 40 training and 10, 20, 30 and 40 test images."""
    train_labels = np.repeat(np.arange(4), 40)
    test_labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    images = np.random.default_rng(0).integers(0, 256, (260, 16, 16, 3), dtype=np.uint8)
    return write_dataset(
        tmp_path_factory.mktemp("splits") / "d",
        class_names=("a", "b", "c", "d"),
        train_images=images[:160],
        train_labels=train_labels,
        test_images=images[160:],
        test_labels=test_labels,
        label="Test",
        source="here",
        notes={},
    )


@given(label_lists, st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_holdout_is_a_stratified_partition(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    kept, held = stratified_holdout(array, fraction=fraction, seed=seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert sorted(kept) == list(kept)
    assert sorted(held) == list(held)
    for c in set(labels):
        n, out = labels.count(c), int((array[held] == c).sum())
        if n == 1:
            assert out == 0
        else:
            assert 1 <= out <= n - 1
            assert abs(out - fraction * n) <= 0.5 or out in (1, n - 1)
    again = stratified_holdout(array, fraction=fraction, seed=seed)
    np.testing.assert_array_equal(again[1], held)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_holdout_refuses_fractions_that_are_none(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        stratified_holdout(np.zeros(4, dtype=np.int64), fraction=fraction, seed=0)


def test_another_seed_holds_out_other_images(dataset: Dataset) -> None:
    first, second = (dataset.split("validation", seed=seed).indices for seed in (0, 1))
    assert set(first) != set(second)


def test_validation_is_a_tenth_of_train_and_test_stands_apart(dataset: Dataset) -> None:
    train, validation, test = (dataset.split(n) for n in ("train", "validation", "test"))
    assert sorted([*train.indices, *validation.indices]) == list(range(160))
    assert np.bincount(validation.labels).tolist() == [4, 4, 4, 4]
    np.testing.assert_array_equal(train.images, dataset.arrays["train_images"][train.indices])
    np.testing.assert_array_equal(validation.labels, validation.indices // 40)
    np.testing.assert_array_equal(test.images, dataset.arrays["test_images"])
    assert (len(train), len(validation), len(test)) == (144, 16, 100)
    assert test.masks is None
    np.testing.assert_array_equal(dataset.split("validation").indices, validation.indices)


def test_refuses_unknown_parts(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="'valid'"):
        dataset.split("valid")  # type: ignore[arg-type]


@given(st.integers(1, 100), st.integers(0, 1000))
def test_sample_is_drawn_evenly_from_the_part(dataset: Dataset, count: int, seed: int) -> None:
    test = dataset.split("test")
    drawn = test.sample(count, seed=seed)
    assert len(drawn) == len(set(drawn.indices.tolist())) == count
    assert set(drawn.indices) <= set(test.indices)
    taken, available = np.bincount(drawn.labels, minlength=4), np.array([10, 20, 30, 40])
    most = taken.max()
    assert all(t in (most, most - 1) or t == a for t, a in zip(taken, available, strict=True))
    np.testing.assert_array_equal(test.sample(count, seed=seed).indices, drawn.indices)


@given(st.integers(1, 100), st.integers(0, 1000))
def test_samples_of_one_seed_are_the_beginnings_of_one_draw(
    dataset: Dataset, count: int, seed: int
) -> None:
    test = dataset.split("test")
    drawn = test.drawn(seed=seed)
    np.testing.assert_array_equal(np.sort(drawn), test.indices)
    sample = test.sample(count, seed=seed)
    np.testing.assert_array_equal(np.sort(drawn[:count]), sample.indices)
    np.testing.assert_array_equal(test.only(drawn[:count]).labels, sample.labels)


def test_samples_of_two_seeds_differ(dataset: Dataset) -> None:
    test = dataset.split("test")
    assert set(test.sample(20, seed=0).indices) != set(test.sample(20, seed=1).indices)


@pytest.mark.parametrize("count", [0, -1, 101])
def test_sample_refuses_counts_that_are_not_there(dataset: Dataset, count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        dataset.split("test").sample(count, seed=0)


def test_tensors_hold_the_same_images(dataset: Dataset) -> None:
    split = dataset.split("train")
    tensors = split.to("cpu")
    assert tensors.images.dtype == torch.uint8
    assert tensors.images.shape == (144, 3, 16, 16)
    assert tensors.images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(tensors.images.permute(0, 2, 3, 1).numpy(), split.images)
    np.testing.assert_array_equal(tensors.labels.numpy(), split.labels)


def test_batches_are_float_in_0_1_and_channels_last(dataset: Dataset) -> None:
    split = dataset.split("train")
    which = [5, 0, 143, 5]
    x, y = split.to("cpu").batch(torch.tensor(which))
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    expected = split.images[which].astype(np.float32) / 255
    np.testing.assert_array_equal(x.permute(0, 2, 3, 1).numpy(), expected)
    np.testing.assert_array_equal(y.numpy(), split.labels[which])
