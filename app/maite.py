"""What leaves the lab as MAITE takes it, and what MAITE has as the lab takes it.

MAITE (mit-ll-ai-technology.github.io/maite, 0.10) describes models and datasets of image
classification by what they can do, so nothing of it is imported here. Images are (3, H, W) in
[0, 1], answers probabilities (K,), targets one-hot (K,).
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Floats = NDArray[np.float32]


class ReleasedModel:
    """A model of the lab, from its release package (`job.export("net.zip")`). Needs onnxruntime.

    Raises OSError, and ValueError where the file is no such package.
    """

    def __init__(self, package: str | Path) -> None:
        # It would tell its makers what it runs.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        try:
            with zipfile.ZipFile(package) as archive:
                card = json.loads(archive.read("card.json"))
                network = archive.read("model.onnx")
        except (KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{package} is no release package: {error}") from error
        self._session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        self._side = int(card["image_size"])
        self.metadata = {
            "id": str(card["name"]),
            "index2label": dict(enumerate(card["classes"])),
        }

    def __call__(self, input_batch: Sequence[ArrayLike]) -> list[Floats]:
        """Probabilities (K,) of each image (3, H, W) in [0, 1], of the model's own size."""
        images = np.stack([np.asarray(image, np.float32) for image in input_batch])
        if images.shape[1:] != (3, self._side, self._side):
            raise ValueError(f"images are (3, {self._side}, {self._side}), not {images.shape[1:]}")
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError("images are in [0, 1]; divide whole numbers by 255")
        (logits,) = self._session.run(["logits"], {"images": images})
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return list(shares / shares.sum(axis=1, keepdims=True))


class KeptImages:
    """The images that an evaluation kept of a model (`job.export("kept.npz")`), as they are, or as
    the attacks left them.

    Raises OSError, and ValueError where the file is no such one.
    """

    def __init__(
        self, file: str | Path, which: Literal["adversarial", "clean"] = "adversarial"
    ) -> None:
        try:
            with np.load(file) as arrays:
                images = np.asarray(arrays[which])
                self._labels, self._numbers = arrays["label"], arrays["number"]
                self._classes = [str(name) for name in arrays["classes"]]
                source = str(arrays["dataset_sha256"])
        except KeyError as error:
            raise ValueError(f"{file} holds no images that a lab kept: {error}") from error
        self._images = images if which == "adversarial" else images / np.float32(255)
        self.metadata = {
            "id": f"{source[:12]}-{which}",
            "index2label": dict(enumerate(self._classes)),
        }

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Floats, Floats, dict[str, Any]]:
        target = np.zeros(len(self._classes), np.float32)
        target[self._labels[index]] = 1
        return self._images[index], target, {"id": int(self._numbers[index])}


class Classified(Protocol):
    """A dataset of MAITE's."""

    metadata: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any, Any]: ...


def class_folders(
    path: str | Path, *, train: Classified | None = None, test: Classified | None = None
) -> Path:
    """Write datasets of MAITE's as an archive that `lab.import_dataset` takes.

    Floats have to be in [0, 1], and are rounded to 256 values; whole numbers are 0 to 255. The
    lab sorts classes by name, unless it imports them with `order="file"`: `classes.txt` has them
    by their numbers.

    Raises ValueError: no dataset, images or targets of another form, class names that are no
    folders, a label without a name where others have one, and one name or number for two classes,
    in one dataset or in both.
    """
    parts = {"train": train, "test": test}
    given = {name: part for name, part in parts.items() if part is not None}
    if not given:
        raise ValueError("no dataset to write")
    folders: dict[int, str] = {}
    with zipfile.ZipFile(path, "w") as archive:
        for part, dataset in given.items():
            named: Mapping[int, str] = dataset.metadata.get("index2label", {})
            if len(set(named.values())) < len(named):
                raise ValueError(f"two classes of the {part} dataset have one name")
            for index in range(len(dataset)):
                image, target, _ = dataset[index]
                label = _label(np.asarray(target))
                folder = _folder(label, named)
                if folders.setdefault(label, folder) != folder:
                    raise ValueError(f"{label} is the class {folders[label]!r} and {folder!r}")
                archive.writestr(f"{part}/{folder}/{index:06d}.png", _png(np.asarray(image)))
        if len(set(folders.values())) < len(folders):
            raise ValueError("one class has two numbers")
        archive.writestr("classes.txt", "".join(f"{folders[k]}\n" for k in sorted(folders)))
    return Path(path)


def _label(target: NDArray[Any]) -> int:
    if target.ndim != 1:
        raise ValueError(f"targets are one-hot (K,), not {target.shape}")
    return int(target.argmax())


def _folder(label: int, named: Mapping[int, str]) -> str:
    if named and label not in named:
        raise ValueError(f"the class {label} has no name")
    name = named.get(label, str(label))
    if not name or name.startswith(".") or any(c in '/\\:*?"<>|' or c < " " for c in name):
        raise ValueError(f"the class {name!r} cannot be the name of a folder")
    return name


def _png(image: NDArray[Any]) -> bytes:
    """Of (3, H, W)."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"images are (3, H, W), not {image.shape}")
    if image.dtype.kind == "f":
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError("floats are in [0, 1]")
        image = np.rint(image * 255)
    elif not (image.min() >= 0 and image.max() <= 255):
        raise ValueError("whole numbers are in [0, 255]")
    buffer = BytesIO()
    Image.fromarray(image.astype(np.uint8).transpose(1, 2, 0).copy()).save(buffer, "PNG")
    return buffer.getvalue()
