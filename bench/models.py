"""A model with something to lose, and images of it, for benchmarks of attacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from app.settings import Settings
from app.store.db import Database
from app.store.files import Files
from worker import registry
from worker.attacks import pgd
from worker.data import Dataset, draw_shapes, load_dataset
from worker.data.sampling import EpochSampler
from worker.models import Classifier, build

IMAGES = 2000
"""At most, of the test part, drawn evenly from the classes."""
_ARCHITECTURE, _BATCH, _EPSILON = "wrn-10-1", 64, 8 / 255
_CLEAN_EPOCHS, _EPOCHS = 6, 9
"""Then about as robust as a small model of CIFAR-10: 0.3 at 8/255, and hardly at 16/255."""


@dataclass(frozen=True)
class Trained:
    """A model and images in a folder, so that every process can load its own."""

    title: str
    architecture: str
    classes: int
    folder: Path

    def model(self) -> Classifier:
        """On the CPU, in eval mode, without gradients."""
        blank = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the stored buffers bring their own
        model = build(self.architecture, num_classes=self.classes, mean=blank[0], std=blank[1])
        model.load_state_dict(torch.load(self.folder / "weights.pt", weights_only=True))
        return model.eval().requires_grad_(False)

    def images(self) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [0, 1], and their classes (N,)."""
        x, y = torch.load(self.folder / "images.pt", weights_only=True)
        return x, y


def of_lab(folder: Path, lab: Path, model_id: str, dataset_id: str) -> Trained:
    """A registered model and its dataset; the lab is only read. Raises JobError."""
    settings, files = Settings(data_dir=lab), Files(lab)
    row = registry.model_row(Database(settings.sql_url), model_id)
    model = registry.load_model(files, row)
    architecture = row.card["architecture"]
    return _kept(folder, row.name, architecture, model, load_dataset(files.dataset(dataset_id)))


def of_shapes(folder: Path) -> Trained:
    """A small model that learns the drawn shapes, at last under attack at 8/255: a minute."""
    data = draw_shapes(
        folder / "shapes",
        image_size=32,
        train_per_class=400,
        test_per_class=100,
        seed=0,
        progress=lambda done, total: None,
    )
    torch.manual_seed(0)
    model = build(_ARCHITECTURE, num_classes=data.num_classes, mean=data.mean, std=data.std)
    model.to(registry.device()).to(memory_format=torch.channels_last)
    _train(model, data)
    return _kept(folder, f"{_ARCHITECTURE} on shapes", _ARCHITECTURE, model, data)


def _train(model: Classifier, data: Dataset) -> None:
    train = data.split("train").to(registry.device())
    sampler = EpochSampler(len(train.labels), _BATCH, torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = _EPOCHS * len(sampler)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.2, total_steps=steps)
    noise = torch.Generator(registry.device()).manual_seed(0)
    for epoch in range(_EPOCHS):
        # From scratch under the full budget, so small a model learns nothing.
        eps = _EPSILON * min(1.0, max(0, epoch - _CLEAN_EPOCHS + 1) / 1.5)
        for indices in sampler:
            x, y = train.batch(indices)
            if eps > 0:
                x = _attacked(model.eval(), x, y, eps, noise)
            optimiser.zero_grad()
            loss: Tensor = F.cross_entropy(model.train()(x), y)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()


def _attacked(
    model: Classifier, x: Tensor, y: Tensor, eps: float, generator: torch.Generator
) -> Tensor:
    return pgd(
        model,
        x,
        y,
        eps=eps,
        step_size=0.75 * eps,
        steps=2,
        norm="linf",
        targeted=False,
        random_start=True,
        generator=generator,
    )


def _kept(folder: Path, title: str, architecture: str, model: Classifier, data: Dataset) -> Trained:
    test = data.split("test")
    sample = test.sample(min(IMAGES, len(test)), seed=0)
    order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(0))
    images = sample.to("cpu").batch(order)
    torch.save(model.cpu().state_dict(), folder / "weights.pt")
    torch.save(images, folder / "images.pt")
    return Trained(f"{title}, {data.info.label}", architecture, data.num_classes, folder)
