"""How many images BML's triplet moves: a table of docs/results/ablation.md.

    PYTHONPATH=. python docs/results/triplet.py LAB DATASET IMAGES MODEL ...

LAB is the data folder of a lab, DATASET and MODEL are ids in it. The examples are those of a
training step, on IMAGES training images without crop and flip, embedded 3 * 128 at a time in train
mode as a step does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.units import from_255
from app.store import catalogue
from app.store.db import Database
from app.store.files import Files
from worker import registry
from worker.agkd_bml.examples import (
    TrainingAttack,
    forward_and_backward_examples,
    most_confusing_class,
)
from worker.agkd_bml.metric import distance
from worker.data import TensorSplit
from worker.data.augment import to_float
from worker.data.sampling import ClassIndex
from worker.models import Classifier

MARGIN, BATCH = 0.03, 128
ATTACK = TrainingAttack(eps=from_255(8), step_size=from_255(2), steps=10)


def hinges(model: Classifier, train: TensorSplit, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """d(a, p), d(a, n) and max(0, m + d(a, p) - d(a, n)) of each image, (N,) each."""
    generator = torch.Generator().manual_seed(0)
    by_class, batches = ClassIndex(train.labels), []
    model.eval()
    chosen = torch.randperm(len(train.labels), generator=generator)[:count]
    for rows in torch.split(chosen, BATCH):
        x, y = train.batch(rows)
        with torch.no_grad():
            y_prime = most_confusing_class(model(x), y)
        x_prime = to_float(train.images[by_class.draw(y_prime, generator)])
        x_f, x_b = forward_and_backward_examples(
            model, x, y, x_prime, y_prime, attack=ATTACK, generator=generator
        )
        batches.append(torch.cat([x_f, x, x_b]))
    model.train()  # only now: it moves the running averages, which attacks look at
    with torch.no_grad():
        embeddings = [model.outputs(batch).embedding.chunk(3) for batch in batches]
    near, far = (
        torch.cat([distance(parts[0], parts[other]) for parts in embeddings]) for other in (1, 2)
    )
    return near, far, (MARGIN + near - far).relu()


def main(lab: Path, dataset: str, count: int, models: list[str]) -> None:
    database, files = Database(f"sqlite:///{lab / 'lab.sqlite3'}"), Files(lab)
    train = registry.dataset(database, files, dataset)[1].split("train").to(torch.device("cpu"))
    print("| model | d(a, p) | d(a, n) | hinge | images with a hinge above 0 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for model_id in models:
        row = catalogue.model(database, model_id)
        assert row is not None
        model = registry.load_model(files, row).to("cpu").requires_grad_(False)
        near, far, hinge = hinges(model, train, count)
        shown = (f"{near.mean():.3f}", f"{far.mean():.3f}", f"{hinge.mean():.5f}")
        print(f"| {row.card['name']} | {' | '.join(shown)} | {(hinge > 0).float().mean():.1%} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
