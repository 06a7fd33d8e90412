"""The bounds of every number of a training, written down once more: what is taken, what refused.

Budgets and step lengths are in units of 1/255 here.
"""

from __future__ import annotations

from typing import NamedTuple


class Bounds(NamedTuple):
    taken: tuple[float, ...]
    refused: tuple[float, ...]


BOUNDS = {
    "epochs": Bounds((1, 1000), (0, -1, 1001)),
    "batch_size": Bounds((8, 4096), (7, 0, -128, 4097)),
    "seed": Bounds((0, 2**31 - 1), (-1, 2**31)),
    "learning_rate": Bounds((1e-6, 10), (0, -0.1, 10.1)),
    "momentum": Bounds((0, 0.999), (-0.1, 1)),
    "weight_decay": Bounds((0, 0.1), (-0.001, 0.11)),
    "ema_decay": Bounds((0, 0.9999), (-0.1, 1)),
    "label_smoothing": Bounds((0, 0.99), (-0.1, 1)),
    "epsilon": Bounds((0.1, 64), (0, -8, 64.5)),
    "step_size": Bounds((0.1, 64), (0, -2, 64.5)),
    "steps": Bounds((1, 100), (0, -10, 101)),
    "agkd_weight": Bounds((0, 1000), (-1, 1000.5)),
    "bml_weight": Bounds((0, 1000), (-2, 1000.5)),
    "margin": Bounds((0, 2), (-0.01, 2.1)),
    "mu": Bounds((0, 10), (-0.001, 10.1)),
    "mart_beta": Bounds((0, 100), (-6, 100.5)),
    "trades_beta": Bounds((0, 100), (-6, 100.5)),
    "awp_gamma": Bounds((0, 0.1), (-0.005, 0.11)),
    "awp_warmup": Bounds((0, 1000), (-1, 1001)),
    "processes": Bounds((1, 64), (0, 65)),
    "nodes": Bounds((1, 64), (0, 65)),
}
IN_255 = ("epsilon", "step_size")


def each_refused() -> list[tuple[str, float]]:
    return [(name, value) for name, bounds in BOUNDS.items() for value in bounds.refused]


def each_taken() -> list[tuple[str, float]]:
    return [(name, value) for name, bounds in BOUNDS.items() for value in bounds.taken]


def as_json(name: str, value: float) -> float | str:
    """As a program sends it."""
    return f"{value}/255" if name in IN_255 else value
