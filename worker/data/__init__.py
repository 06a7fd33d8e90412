"""Datasets: import, storage and splits. Importing them takes no torch, as readers of archives want
it; augmentation, sampling and corruptions, which are tensors' own, are modules of their own."""

from worker.data.archive import ImportReport, SkippedFile, Wishes, import_archive
from worker.data.builtin import import_torchvision
from worker.data.errors import DatasetError
from worker.data.images import decode_image
from worker.data.shapes import draw_shapes
from worker.data.splits import Split, TensorSplit, stratified_holdout
from worker.data.store_format import Dataset, DatasetInfo, Progress, load_dataset, write_dataset
from worker.data.weaknesses import Images, Weakness, weaknesses

__all__ = [
    "Dataset",
    "DatasetError",
    "DatasetInfo",
    "Images",
    "ImportReport",
    "Progress",
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
    "stratified_holdout",
    "weaknesses",
    "write_dataset",
]
