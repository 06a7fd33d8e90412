"""Epochs that resume where they stopped, and random images of the right class."""

import io
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.data.sampling import ClassIndex, EpochSampler

sizes = st.integers(1, 60)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def next_batches(sampler: EpochSampler, count: int) -> list[list[int]]:
    batches: list[list[int]] = []
    while True:
        for batch in sampler:
            batches.append(batch.tolist())
            if len(batches) == count:
                return batches


@given(sizes, sizes, st.integers(0, 1000))
def test_an_epoch_gives_each_image_once(size: int, batch_size: int, seed: int) -> None:
    sampler = EpochSampler(size, batch_size, generator(seed))
    for epoch in range(3):
        assert sampler.epoch == epoch
        batches = [batch.tolist() for batch in sampler]
        assert sorted(chain.from_iterable(batches)) == list(range(size))
        assert len(batches) == len(sampler)
        assert all(len(batch) == batch_size for batch in batches[:-1])


def test_epochs_are_shuffled_anew() -> None:
    sampler = EpochSampler(50, 50, generator(0))
    first, second = next_batches(sampler, 2)
    assert first != second
    assert list(range(50)) not in (first, second)


@given(sizes, st.integers(1, 20), st.integers(0, 30), st.integers(0, 1000))
def test_a_restored_sampler_goes_on_with_the_next_batch(
    size: int, batch_size: int, before: int, seed: int
) -> None:
    sampler = EpochSampler(size, batch_size, generator(seed))
    if before:
        next_batches(sampler, before)
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    restored = EpochSampler(size, batch_size, generator(seed + 1))
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert (restored.epoch, restored.position) == (sampler.epoch, sampler.position)
    after = 2 * len(sampler) + 1
    assert next_batches(restored, after) == next_batches(sampler, after)


def test_a_state_is_not_changed_by_going_on() -> None:
    sampler = EpochSampler(20, 3, generator(0))
    next_batches(sampler, 4)
    state = sampler.state_dict()
    expected = next_batches(sampler, 20)
    sampler.load_state_dict(state)
    assert next_batches(sampler, 20) == expected


@pytest.mark.parametrize(("size", "batch_size"), [(0, 4), (4, 0), (-1, 1)])
def test_sampler_refuses_what_is_not_positive(size: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        EpochSampler(size, batch_size, generator(0))


@pytest.mark.parametrize("change", [{"position": 8}, {"position": -1}, {"epoch": -1}])
def test_sampler_refuses_a_state_that_does_not_fit(change: dict[str, int]) -> None:
    sampler = EpochSampler(20, 3, generator(0))
    with pytest.raises(ValueError, match="no batch"):
        sampler.load_state_dict(sampler.state_dict() | change)  # type: ignore[arg-type]


@st.composite
def labelled_requests(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Labels in which every class occurs, in any order, and classes to draw."""
    classes = draw(st.integers(1, 6))
    extra = draw(st.lists(st.integers(0, classes - 1), max_size=40))
    labels = draw(st.permutations([*range(classes), *extra]))
    return labels, draw(st.lists(st.integers(0, classes - 1), max_size=50))


@given(labelled_requests(), st.integers(0, 1000))
def test_drawn_images_have_the_requested_class(
    request_: tuple[list[int], list[int]], seed: int
) -> None:
    labels = torch.tensor(request_[0])
    wanted = torch.tensor(request_[1], dtype=torch.int64)
    index = ClassIndex(labels)
    drawn = index.draw(wanted, generator(seed))
    assert drawn.shape == wanted.shape
    assert torch.equal(labels[drawn], wanted)
    assert torch.equal(index.draw(wanted, generator(seed)), drawn)


def test_images_of_a_class_are_drawn_uniformly() -> None:
    labels = torch.tensor([2, 0, 1, 2, 2, 0, 2])
    draws = 40_000
    drawn = ClassIndex(labels).draw(torch.full((draws,), 2), generator(0))
    counts = torch.bincount(drawn, minlength=7)[[0, 3, 4, 6]].double()
    assert counts.sum() == draws
    # Chi-square of 3 degrees of freedom: 16.3 is passed once in a thousand seeds.
    assert ((counts - draws / 4) ** 2 / (draws / 4)).sum() < 16.3


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0, 2, 2]), torch.zeros(0, dtype=torch.int64), torch.zeros(3), torch.ones(2, 2)],
)
def test_class_index_refuses_labels_without_an_image_for_each_class(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected|every class"):
        ClassIndex(labels)
