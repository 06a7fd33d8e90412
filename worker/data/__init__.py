"""Datasets: import, storage, splits, sampling and augmentation."""

from worker.data.archive import ImportReport, SkippedFile, Wishes, import_archive
from worker.data.augment import random_crop_flip, to_float
from worker.data.builtin import import_torchvision
from worker.data.errors import DatasetError
from worker.data.images import decode_image
from worker.data.sampling import ClassIndex, EpochSampler, SamplerState
from worker.data.shapes import draw_shapes
from worker.data.splits import Split, TensorSplit, stratified_holdout
from worker.data.store_format import Dataset, DatasetInfo, Progress, load_dataset, write_dataset
from worker.data.weaknesses import Images, Weakness, weaknesses

__all__ = [
    "ClassIndex",
    "Dataset",
    "DatasetError",
    "DatasetInfo",
    "EpochSampler",
    "Images",
    "ImportReport",
    "Progress",
    "SamplerState",
    "SkippedFile",
    "Split",
    "TensorSplit",
    "Weakness",
    "Wishes",
    "decode_image",
    "draw_shapes",
    "import_archive",
    "import_torchvision",
    "load_dataset",
    "random_crop_flip",
    "stratified_holdout",
    "to_float",
    "weaknesses",
    "write_dataset",
]
