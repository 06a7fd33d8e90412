"""The measurement behind docs/results/attention.md: numbers of each image, as arrays in a file.

    PYTHONPATH=. python docs/results/attention.py OUT.npz LAB IMAGES DATASET TEACHER [MODEL ...]

LAB is the data folder of a lab, DATASET, TEACHER and MODEL are ids in it. Arrays are named
`<model>/<move>/<reference>/<side>/<measure>`; `move` is 0 for random signs, else the budget of
PGD-20 in units of 1/255; `reference` is `teacher` or `itself`; the page's tables are their means.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from worker.agkd_bml.attention import attention_map, cosine_distance, l1_distance
from worker.attacks import pgd
from worker.data import Dataset, load_dataset
from worker.evaluation.attention import Seen, see, top_iou
from worker.models import Classifier, build

MOVES = (0, 2, 8)
Rows = defaultdict[str, list[Tensor]]


def above(maps: Tensor, masks: Tensor) -> Tensor:
    """P(a position on the object is attended more than one off it), ties half: (N,).

    The share of attention changes with a map's contrast; this does not.
    """
    on = F.adaptive_avg_pool2d(masks[:, None].float(), maps.shape[1:]).flatten(1)  # (N, P)
    a = maps.flatten(1)
    more = (a[:, :, None] > a[:, None]).float() + 0.5 * (a[:, :, None] == a[:, None]).float()
    pairs = on[:, :, None] * (1 - on[:, None])  # (N, P, P)
    return (more * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2))


def moved(model: Classifier, x: Tensor, y: Tensor, move: int, noise: Tensor) -> Tensor:
    """The images under a move; `noise` is uniform in [-1, 1] and the same for every model."""
    if move == 0:
        return (x + 8 / 255 * noise.sign()).clamp(0, 1)
    eps = move / 255
    return pgd(
        model, x, y, eps=eps, step_size=eps / 4, steps=20, norm="linf", targeted=False,
        random_start=True, generator=None, noise=noise,
    )  # fmt: skip


def keep(rows: Rows, name: str, seen: Seen) -> None:
    rows[f"{name}/flipped"].append(seen.flipped)
    for side in ("clean", "adversarial", "inside"):
        for measure, values in getattr(seen, side).items():
            rows[f"{name}/{side}/{measure}"].append(values)


@torch.no_grad()
def keep_object(
    rows: Rows, name: str, model: Classifier, x: Tensor, x_adv: Tensor, pair: tuple[Tensor, Tensor]
) -> None:
    """Against the image's own mask, and against another image's: the chance level of the place."""
    own, other = pair
    for measure, values in see(model, model, x, x_adv, other).inside.items():
        rows[f"{name}/other_masks/{measure}"].append(values)
    for side, images in (("clean", x), ("adversarial", x_adv)):
        maps = attention_map(model.outputs(images).features)
        rows[f"{name}/above/{side}"].append(above(maps, own))
        rows[f"{name}/above_other/{side}"].append(above(maps, other))


def load(lab: Path, dataset: Dataset, model_id: str) -> Classifier:
    model = build("wrn-10-2", num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std)
    model.load_state_dict(safetensors.torch.load_file(lab / "models" / f"{model_id}.safetensors"))
    return model.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def main(out: str, folder: str, count: str, dataset_id: str, *ids: str) -> None:
    lab = Path(folder)
    dataset = load_dataset(lab / "datasets" / dataset_id)
    split = dataset.split("test").sample(int(count), seed=0).to("cpu")
    models = {model_id: load(lab, dataset, model_id) for model_id in ids}
    teacher = models[ids[0]]
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(split.labels), generator=generator)  # rows may go class by class
    rows: Rows = defaultdict(list)
    rows["labels"].append(split.labels[order])
    for batch in order.split(100):
        x, y = split.batch(batch)
        noise = 2 * torch.rand(x.shape, generator=generator) - 1
        others = torch.roll(torch.arange(len(x)), 1)  # beside every image another one
        with torch.no_grad():
            maps = attention_map(teacher.outputs(x).features)
        for name, measure in (("l1", l1_distance), ("cosine", cosine_distance), ("iou", top_iou)):
            rows[f"chance/{name}"].append(measure(maps[others], maps))
        for model_id, model in models.items():
            with torch.no_grad():
                rows[f"{model_id}/right"].append(model(x).argmax(dim=1) == y)
            for move in MOVES:
                x_adv = moved(model, x, y, move, noise)
                name = f"{model_id}/{move}"
                masks = None if split.masks is None else split.masks[batch]
                with torch.no_grad():
                    rows[f"{name}/right"].append(model(x_adv).argmax(dim=1) == y)
                keep(rows, f"{name}/teacher", see(teacher, model, x, x_adv, masks))
                keep(rows, f"{name}/itself", see(model, model, x, x_adv, None))
                if masks is not None:
                    keep_object(rows, name, model, x, x_adv, (masks, masks[others]))
    np.savez(out, **{name: torch.cat(parts).double().numpy() for name, parts in rows.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
