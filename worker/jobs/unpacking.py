"""Files that hold many images become plain arrays, in a process that can do little else.

    python -m worker.jobs.unpacking KIND TARGET MEGABYTES SECONDS (NAME PART FILE)...

The files are hostile until unpacked: a pickle may ask for no type but numpy's arrays, and the
parsers of .mat and Parquet are large; so they run without a network and within limits of memory,
time and written bytes (decision 19). What is left in TARGET is described in
`worker.data.containers`; the last line on standard output is JSON: `{}`, or what is wrong.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confinement import guard, leave_network, limit
from worker.jobs.converting import Refused

Files = Sequence[tuple[str, int, Path]]
"""Their names, without folders, and their parts as `worker.data.containers.PARTS` numbers them."""
_TRAIN, _VALIDATION, _TEST = 1, 2, 3
_LONGEST_PICTURE = 32 * 2**20


@dataclass
class _Unpacked:
    """Images with labels: pixels (N, H, W, 3), or files one after the other."""

    kind: str
    labels: Any
    parts: Any
    classes: Sequence[str] | None
    pixels: Any = None
    ordered: bool = True
    """Whether the order of the classes is the source's own."""
    files: Iterator[bytes] | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def main(kind: str, target: Path, megabytes: int, seconds: int, files: Files) -> int:
    """Unpack files of one kind; 0 when they could be read."""
    leave_network()
    limit(megabytes, seconds)
    guard()
    try:
        _write(target, _KINDS[kind](files))
        said: dict[str, Any] = {}
    except Refused as refused:
        said = {"detail": refused.detail, "hint": refused.hint}
    except MemoryError:
        said = {
            "detail": f"Reading the file takes more than {megabytes:,} MB of memory.",
            "hint": "Import fewer images.",
        }
    except Exception as error:  # hostile bytes make parsers fail in every way there is
        said = {
            "detail": f"The file is damaged, or not what its name says ({str(error)[:200]}).",
            "hint": "Compare its checksum with the published one, and upload it again.",
        }
    print(json.dumps(said), flush=True)
    return 1 if said else 0


def _write(target: Path, found: _Unpacked) -> None:
    import numpy as np

    labels = np.asarray(found.labels, dtype=np.int64)
    np.save(target / "labels.npy", labels, allow_pickle=False)
    parts = np.broadcast_to(np.asarray(found.parts, dtype=np.uint8), labels.shape)
    np.save(target / "parts.npy", parts, allow_pickle=False)
    if found.pixels is not None:
        np.save(target / "pixels.npy", np.asarray(found.pixels, np.uint8), allow_pickle=False)
    else:
        assert found.files is not None
        ends = []
        with (target / "files.bin").open("wb") as out:
            for data in found.files:
                out.write(data)
                ends.append(out.tell())
        np.save(target / "ends.npy", np.array(ends, dtype=np.int64), allow_pickle=False)
    about = {
        "kind": found.kind, "classes": found.classes, "ordered": found.ordered,
        "notes": found.notes, "warnings": found.warnings, "left_out": found.left_out,
    }  # fmt: skip
    (target / "about.json").write_text(json.dumps(about), encoding="utf-8")


# CIFAR


class _ArraysOnly(pickle.Unpickler):
    """Builds plain containers and numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
            known = {
                "ndarray": np.ndarray,
                "dtype": np.dtype,
                "_reconstruct": np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            }
            if name in known:
                return known[name]
        if (module, name) == ("_codecs", "encode"):  # bytes of Python 2, written by Python 3
            return lambda text, encoding: text.encode("latin-1")
        raise Refused(
            f"The file holds more than images ({module}.{name}); reading that would run its code, "
            "which the lab never does.",
            "Upload the archive as it is published, or class folders.",
        )


def _pickled(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        found = _ArraysOnly(file, encoding="latin-1").load()
    if not isinstance(found, dict):
        raise Refused("The pickle holds no dictionary.", "Upload the archive as it is published.")
    return {key.decode() if isinstance(key, bytes) else str(key): v for key, v in found.items()}


def _cifar(files: Files) -> _Unpacked:
    """CIFAR-10 and CIFAR-100 for Python (Krizhevsky, 2009)."""
    import numpy as np

    pixels, labels, parts = [], [], []
    classes: Sequence[str] | None = None
    for name, _, path in sorted(files):
        page = _pickled(path)
        listed = page.get("label_names", page.get("fine_label_names"))
        if listed is not None:
            classes = [n.decode() if isinstance(n, bytes) else str(n) for n in listed]
        if "data" not in page:
            continue
        own = page.get("fine_labels", page.get("labels"))
        data = np.asarray(page["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        if own is None or len(own) != len(data):
            raise Refused(f"{name} has no labels.", "Upload the archive as it is published.")
        pixels.append(data.transpose(0, 2, 3, 1))
        labels += [int(label) for label in own]
        parts += [_TEST if "test" in name else _TRAIN] * len(data)
    if not pixels:
        raise Refused("The archive holds no batches.", "Upload it as it is published.")
    return _Unpacked("CIFAR for Python", labels, parts, classes, np.concatenate(pixels))


# SVHN


def _svhn(files: Files) -> _Unpacked:
    """Cropped digits of SVHN (Netzer et al., 2011), where the label 10 stands for 0."""
    import numpy as np
    from scipy.io import loadmat

    pixels, labels, parts, left = [], [], [], Counter[str]()
    for name, part, path in sorted(files):
        if "extra" in name.lower():
            left["files of extra training images, which are not the usual training set"] += 1
            continue
        page = loadmat(path, variable_names=("X", "y"))
        x, y = np.asarray(page["X"]), np.asarray(page["y"]).ravel().astype(np.int64)
        if x.ndim != 4 or x.dtype != np.uint8 or x.shape[2] != 3 or x.shape[3] != len(y):
            raise Refused(
                f"{name} does not hold what SVHN's files hold.", "Upload them as they are."
            )
        pixels.append(x.transpose(3, 0, 1, 2))
        labels.append(np.where(y == 10, 0, y))
        parts += [part] * len(y)
    if not pixels:
        raise Refused("There is no train_32x32.mat or test_32x32.mat.", "Add one of them.")
    names = [str(digit) for digit in range(10)]
    found = _Unpacked("SVHN", np.concatenate(labels), parts, names, np.concatenate(pixels))
    found.left_out = dict(left)
    return found


# MNIST and its kin


def _idx(files: Files) -> _Unpacked:
    """Pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte (LeCun et al., 1998)."""
    import numpy as np

    arrays: dict[str, Any] = {}
    part_of: dict[str, int] = {}
    for name, part, path in sorted(files):
        if name in arrays:
            raise Refused(
                f"Several files are called {name}.", "Name them as MNIST does: train-… and t10k-… ."
            )
        data = path.read_bytes()
        packed = data[:2] == b"\x1f\x8b"
        arrays[name] = _idx_array(gzip.decompress(data) if packed else data)
        part_of[name] = _TEST if name.startswith("t10k") else part
    pixels, labels, parts = [], [], []
    for name, images in arrays.items():
        own = arrays.get(name.replace("images", "labels").replace("idx3", "idx1"))
        if images.ndim != 3 or own is None or own.ndim != 1 or len(own) != len(images):
            continue
        pixels.append(np.repeat(images[..., None], 3, axis=-1))
        labels.append(own.astype(np.int64))
        parts += [part_of[name]] * len(own)
    if not pixels:
        raise Refused("No file of images has one of labels beside it.", "Upload both of them.")
    return _Unpacked("MNIST's idx", np.concatenate(labels), parts, None, np.concatenate(pixels))


def _idx_array(data: bytes) -> Any:
    import numpy as np

    if data[:3] != b"\0\0\x08":
        raise Refused("A file is no idx of bytes.", "Upload the files as they are published.")
    dimensions = data[3]
    shape = [int.from_bytes(data[4 + 4 * d : 8 + 4 * d], "big") for d in range(dimensions)]
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _npz(files: Files) -> _Unpacked:
    """Arrays named as Keras (`x_train`, `y_train`) or MedMNIST (`train_images`) names them."""
    import numpy as np

    if len(files) > 1:
        raise Refused("The archive holds several .npz files.", "Upload one of them.")
    with np.load(files[0][-1], allow_pickle=False) as page:
        arrays = {name: page[name] for name in page.files}
    pixels, labels, parts = [], [], []
    for said, part in (("train", _TRAIN), ("val", _VALIDATION), ("test", _TEST)):
        for x, y in ((f"x_{said}", f"y_{said}"), (f"{said}_images", f"{said}_labels")):
            if x in arrays and y in arrays:
                pixels.append(_coloured(arrays[x], x))
                labels.append(_flat(arrays[y], y))
                parts += [part] * len(labels[-1])
    if not pixels:
        raise Refused(
            f"The .npz has no images under known names: {', '.join(arrays)[:200]}.",
            "Name them x_train, y_train, x_test, y_test, or train_images, train_labels and so on.",
        )
    return _Unpacked("arrays of numpy", np.concatenate(labels), parts, None, np.concatenate(pixels))


def _coloured(images: Any, name: str) -> Any:
    """(N, H, W, 3) of bytes."""
    import numpy as np

    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise Refused(
            f"{name} is of {images.dtype} and of shape {images.shape}: whose range is not known.",
            "Save images as (N, H, W, 3) or (N, H, W) of unsigned bytes.",
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[-1] not in (1, 3):
        raise Refused(f"{name} has {images.shape[-1]} channels.", "Save one or three.")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _flat(labels: Any, name: str) -> Any:
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and (labels.sum(axis=1) == 1).all():
        return labels.argmax(axis=1)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise Refused(f"{name} are no labels of one class each.", "Save one number an image.")
    return labels.astype(np.int64)


# Parquet


def _parquet(files: Files) -> _Unpacked:
    """Shards as Hugging Face's `datasets` writes them: a column of images and one of labels."""
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise Refused(
            "Parquet is not read here: pyarrow is not installed.",
            "Install it where the worker runs, or import class folders.",
        ) from None
    shards = [(part, parquet.ParquetFile(path)) for _, part, path in sorted(files)]
    (image, label, texts, classes), warnings = _agreed([s.schema_arrow for _, s in shards])
    labels: list[int] = []
    parts: list[int] = []
    kept: list[list[bool]] = []
    names: dict[str, int] = {}
    left = Counter[str]()
    for part, shard in shards:
        values = shard.read(columns=[label]).column(label).to_pylist()
        if texts:
            values = [None if v is None else names.setdefault(v, len(names)) for v in values]
        good = [value is not None and value >= 0 for value in values]
        labels += [int(v) for v, g in zip(values, good, strict=True) if g]
        parts += [part] * sum(good)
        left["rows without a label"] += len(good) - sum(good)
        kept.append(good)
    found = _Unpacked(
        "Parquet of images",
        labels,
        parts,
        list(names) if texts else classes,
        ordered=not texts,
        files=_pictures([shard for _, shard in shards], image, kept),
    )
    found.notes.append(f"Images are of the column “{image}”, labels of “{label}”.")
    found.warnings, found.left_out = warnings, {k: n for k, n in left.items() if n}
    return found


class _Columns(NamedTuple):
    """What a shard declares."""

    image: str
    label: str
    texts: bool
    """Whether labels are texts, not numbers."""
    classes: Sequence[str] | None


def _agreed(schemas: Sequence[Any]) -> tuple[_Columns, list[str]]:
    """The columns that all shards declare, and what is to be said of others."""
    columns, said = zip(*map(_columns, schemas), strict=True)
    if any(other != columns[0] for other in columns):
        raise Refused(
            "The shards declare other columns or classes.",
            "Pack those of one dataset, which declare the same.",
        )
    return columns[0], list(dict.fromkeys(text for each in said for text in each))


def _columns(schema: Any) -> tuple[_Columns, Sequence[str]]:
    """The columns that are meant, and what is to be said of others."""
    import pyarrow as pa

    features = _features(schema)
    images = [f.name for f in schema
              if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]  # fmt: skip
    images += [f.name for f in schema if pa.types.is_binary(f.type)]
    if not images:
        raise Refused(
            "The Parquet file has no column of pictures.",
            "It takes one with the bytes of picture files, as `datasets.Image` has it.",
        )
    plain = [f.name for f in schema
             if pa.types.is_integer(f.type) or pa.types.is_string(f.type)]  # fmt: skip
    if not plain:
        raise Refused(
            "The Parquet file has no column of labels.", "It takes one of numbers or of texts."
        )
    typed = {name: features.get(name, {}).get("_type") for name in (*images, *plain)}
    declared = [name for name in images if typed[name] == "Image"]
    image, said = _the_one(declared or images, ("image", "img"), "pictures", "the pictures")
    declared = [name for name in plain if typed[name] == "ClassLabel"]
    usual = [name for name in plain if name in ("label", "labels", "fine_label", "class", "target")]
    best = ("label", "fine_label")
    label, more = _the_one(declared or usual or plain, best, "labels", "the label")
    texts = pa.types.is_string(schema.field(label).type)
    return _Columns(image, label, texts, features.get(label, {}).get("names")), said + more


def _the_one(
    chosen: Sequence[str], best: Sequence[str], what: str, meant: str
) -> tuple[str, list[str]]:
    """Of several columns the one with one of the best names, and what is to be said of others."""
    found = [name for name in best if name in chosen] or chosen
    if len(found) > 1:
        raise Refused(
            f"Several columns may be {meant}: {', '.join(found)[:200]}.", "Keep one of them."
        )
    others = [name for name in chosen if name != found[0]]
    said = f"Other columns of {what} are not used: {', '.join(others)[:200]}."
    return found[0], [said] if others else []


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` says of the columns, in the file's metadata."""
    try:
        page = json.loads((schema.metadata or {})[b"huggingface"])
        found = page["info"]["features"]
        return found if isinstance(found, dict) else {}
    except (KeyError, ValueError, TypeError):
        return {}


def _pictures(shards: Sequence[Any], image: str, kept: Sequence[Sequence[bool]]) -> Iterator[bytes]:
    for shard, good in zip(shards, kept, strict=True):
        at = 0
        for batch in shard.iter_batches(batch_size=256, columns=[image]):
            for value in batch.column(0):
                data: Any = value.as_py()
                data = data.get("bytes") if isinstance(data, dict) else data
                if good[at]:
                    # An empty one is reported like any other picture that cannot be read.
                    whole = isinstance(data, bytes) and len(data) <= _LONGEST_PICTURE
                    yield data if whole else b""
                at += 1


_KINDS: Mapping[str, Callable[[Files], _Unpacked]] = {
    "cifar": _cifar,
    "svhn": _svhn,
    "idx": _idx,
    "npz": _npz,
    "parquet": _parquet,
}


if __name__ == "__main__":
    os.umask(0o077)
    _, kind, target, megabytes, seconds, *triples = sys.argv
    files = [
        (name, int(part), Path(path))
        for name, part, path in zip(triples[::3], triples[1::3], triples[2::3], strict=True)
    ]
    sys.exit(main(kind, Path(target), int(megabytes), int(seconds), files))
