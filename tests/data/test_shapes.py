"""The shapes dataset: what is drawn, its masks, and that it can be learnt but not too easily."""

from math import acos, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from worker.data import Dataset, TensorSplit, draw_shapes, load_dataset
from worker.data.augment import random_crop_flip
from worker.data.sampling import EpochSampler

TRAIN, TEST = 150, 20
_LENS = (  # of discs of radius 1 and 0.75, their centres 0.5 apart
    acos((0.25 + 1 - 0.5625) / (2 * 0.5))
    + 0.5625 * acos((0.25 + 0.5625 - 1) / (2 * 0.5 * 0.75))
    - 0.5 * sqrt((-0.5 + 1.75) * (0.5 + 0.25) * (0.5 - 0.25) * (0.5 + 1.75))
)
AREAS = {  # of the shapes in the unit disc
    "arrow": 0.5 * 1.5 * 0.85 + 0.56 * 1.1,
    "circle": pi * 0.9**2,
    "crescent": pi - _LENS,
    "cross": 2 * 0.6 * 1.9 - 0.6**2,
    "heart": 3.66197 / 1.2**2,
    "hexagon": 3 * sqrt(3) / 2,
    "ring": pi * (0.98**2 - 0.55**2),
    "square": 2.0,
    "star": 5 * 0.45 * 0.587785,  # 5 R r sin(36 degrees)
    "triangle": 3 * sqrt(3) / 4,
}


def draw(folder: Path, *, seed: int = 0, image_size: int = 32, train: int = TRAIN) -> Dataset:
    return draw_shapes(
        folder,
        image_size=image_size,
        train_per_class=train,
        test_per_class=TEST,
        seed=seed,
        progress=lambda done, total: None,
    )


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return draw(tmp_path_factory.mktemp("shapes") / "d")


def test_every_class_has_its_images_and_masks(shapes: Dataset) -> None:
    assert shapes.class_names == tuple(AREAS)
    assert shapes.info.train_counts == (TRAIN,) * 10
    assert shapes.info.test_counts == (TEST,) * 10
    assert shapes.arrays["train_images"].shape == (1500, 32, 32, 3)
    assert shapes.arrays["train_masks"].shape == (1500, 32, 32)
    assert load_dataset(shapes.folder).split("validation").to("cpu").masks is not None


def test_masks_have_the_area_of_their_shape(shapes: Dataset) -> None:
    masks, labels = shapes.arrays["train_masks"], shapes.arrays["train_labels"]
    mean_square_radius = (0.42**3 - 0.26**3) / (3 * (0.42 - 0.26))
    for label, (name, area) in enumerate(AREAS.items()):
        share = masks[labels == label].mean()
        assert share == pytest.approx(area * mean_square_radius, rel=0.08), name


def test_objects_lie_whole_inside_the_image(shapes: Dataset) -> None:
    masks, labels = shapes.arrays["train_masks"], shapes.arrays["train_labels"]
    round_ones = np.isin(labels, [shapes.class_names.index(n) for n in ("circle", "ring")])
    heights = masks[round_ones].any(axis=2).sum(1)
    widths = masks[round_ones].any(axis=1).sum(1)
    assert (np.abs(heights - widths) <= 1).all()  # one that the border cuts would not be round
    assert heights.min() >= 0.85 * 2 * 0.26 * 32


def test_objects_stand_out_where_their_mask_says(shapes: Dataset) -> None:
    images, masks = shapes.arrays["train_images"] / 255, shapes.arrays["train_masks"][..., None]
    inside = (images * masks).sum((1, 2)) / masks.sum((1, 2))
    outside = (images * ~masks).sum((1, 2)) / (~masks).sum((1, 2))
    distance = np.linalg.norm(inside - outside, axis=1)
    assert np.quantile(distance, 0.01) > 0.15
    spread = np.sqrt(
        (((images - inside[:, None, None]) ** 2) * masks).sum((1, 2)) / masks.sum((1, 2))
    )
    assert np.median(spread) < 0.1


def test_colours_and_backgrounds_do_not_tell_the_class(shapes: Dataset) -> None:
    images, masks = shapes.arrays["train_images"] / 255, shapes.arrays["train_masks"][..., None]
    labels = shapes.arrays["train_labels"]
    for where in (masks, ~masks):
        colours = (images * where).sum((1, 2)) / where.sum((1, 2))
        by_class = np.stack([colours[labels == c].mean(0) for c in range(10)])
        error = colours.std(0) / np.sqrt(TRAIN)
        # 30 means: one above 4 standard errors is expected once in 500 seeds.
        assert (np.abs(by_class - colours.mean(0)) < 4 * error).all()


def test_the_seed_tells_the_images(tmp_path: Path, shapes: Dataset) -> None:
    assert draw(tmp_path / "same").checksum == shapes.checksum
    assert draw(tmp_path / "other", seed=1).checksum != shapes.checksum


def test_train_and_test_share_no_image(shapes: Dataset) -> None:
    both = [*shapes.arrays["train_images"], *shapes.arrays["test_images"]]
    assert len({image.tobytes() for image in both}) == len(both)


def test_larger_images_show_the_same_objects(tmp_path: Path, shapes: Dataset) -> None:
    large = draw(tmp_path / "d", image_size=64, train=20)
    assert large.arrays["train_images"].shape == (200, 64, 64, 3)
    small = draw(tmp_path / "s", image_size=32, train=20)
    for name in ("train_masks", "test_masks"):
        shrunk = large.arrays[name].reshape(200, 32, 2, 32, 2).mean((2, 4)) >= 0.5
        assert (shrunk == small.arrays[name]).mean((1, 2)).min() > 0.95


def test_progress_and_cancelling(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_shapes(
            tmp_path / "d",
            image_size=32,
            train_per_class=40,
            test_per_class=10,
            seed=0,
            progress=progress,
        )
    assert calls == [(0, 500), (250, 500)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("image_size", "train"), [(8, 10), (32, 1), (32, 0)])
def test_refuses_too_little(tmp_path: Path, image_size: int, train: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        draw(tmp_path / "d", image_size=image_size, train=train)


def test_refuses_to_replace_a_dataset(shapes: Dataset) -> None:
    with pytest.raises(FileExistsError):
        draw(shapes.folder)


def accuracy(model: nn.Module, train: TensorSplit, test: TensorSplit, epochs: int) -> float:
    """Test accuracy after training with SGD and a one-cycle schedule."""
    sampler = EpochSampler(len(train.labels), 128, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 0.2, total_steps=epochs * len(sampler)
    )
    for _ in range(epochs):
        model.train()
        for indices in sampler:
            x, y = train.batch(indices)
            loss = nn.functional.cross_entropy(model(random_crop_flip(x, generator=generator)), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        x, y = test.batch(torch.arange(len(test.labels)))
        return float((model(x).argmax(1) == y).float().mean())


@pytest.mark.slow
@pytest.mark.trains
def test_a_small_network_learns_it_and_a_linear_one_does_not(tmp_path: Path) -> None:
    dataset = draw(tmp_path / "d", train=500)
    train, test = dataset.split("train").to("cpu"), dataset.split("test").to("cpu")

    def learned(seed: int) -> float:
        torch.manual_seed(seed)
        return accuracy(convolutional(), train, test, epochs=7)

    assert any(learned(seed) > 0.65 for seed in range(4))
    linear = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, 10))
    assert accuracy(linear, train, test, epochs=2) < 0.4


def convolutional() -> nn.Module:
    """Three convolutions, 24,000 weights."""
    stages = [
        layer
        for wide_in, wide_out in ((3, 16), (16, 32), (32, 64))
        for layer in (
            nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(wide_out),
            nn.ReLU(),
        )
    ]
    small = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return small.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
