"""One record a parser: what reads bytes from outside, what it may refuse with, whole files to begin
with.

Parsers are imported where they are used: whoever measures what they cover has to be first.
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parser:
    """Something that reads bytes from outside."""

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    """What it says no with, in words; anything else is a fault."""
    whole: Sequence[bytes]
    """What it takes; the first fuzzed inputs are made of these."""

    def meet(self, data: bytes) -> None:
        """Raises what is no refusal."""
        try:
            self.read(data)
        except self.refusals:
            return


# Pictures and archives


def image() -> Parser:
    """Of the live view and of datasets."""
    from imagefile import UnreadableImageError, read_picture
    from worker.data.images import FORMATS

    return Parser(
        partial(read_picture, formats=FORMATS), (UnreadableImageError, MemoryError), _pictures()
    )


def _pictures(side: int = 12) -> list[bytes]:
    import numpy as np
    from PIL import Image, ImageCms
    from PIL.PngImagePlugin import PngInfo

    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture, deep = Image.fromarray(pixels), Image.fromarray(pixels[..., 0].astype(np.uint16) << 4)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    exif, said = Image.Exif(), PngInfo()
    exif[0x0112] = 6
    said.add_text("Comment", "said", zip=True)
    grey = Image.fromarray(pixels).convert("LA")
    frames: dict[str, Any] = {"save_all": True, "append_images": [picture.rotate(90)]}
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (picture, "PNG", {"icc_profile": profile, "exif": exif, "pnginfo": said}),
        (picture.quantize(8), "PNG", {"transparency": 0}), (deep, "PNG", {}), (grey, "PNG", {}),
        (picture, "JPEG", {"exif": exif, "icc_profile": profile, "comment": b"said"}),
        (picture, "JPEG", {"progressive": True}), (picture.convert("CMYK"), "JPEG", {}),
        (picture, "WEBP", {"exif": exif}), (picture, "WEBP", frames), (picture, "GIF", frames),
        (picture, "BMP", {}), (picture, "PPM", {}), (picture, "TIFF", {"compression": "tiff_lzw"}),
        (deep, "TIFF", {}), (picture, "AVIF", {}),
    ]  # fmt: skip
    files = []
    for shown, kind, options in kinds:
        file = io.BytesIO()
        shown.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def archive() -> Parser:
    """Zips of class folders, of WebDataset, of files with a table of labels."""
    import zipfile

    packed = []
    for files in _layouts():
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in files.items():
                out.writestr(name, data)
        packed.append(file.getvalue())
    return _importing(packed)


def tar() -> Parser:
    """Headers of every dialect, bare and compressed."""
    import tarfile

    packed = []
    for files in _layouts():
        for dialect in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
            packed.append(_tarred(files, "w", dialect))
    packed += [_tarred(files, mode, tarfile.PAX_FORMAT) for mode in ("w:gz", "w:xz")]
    return _importing(packed)


def _tarred(files: Mapping[str, bytes], mode: Any, dialect: int) -> bytes:
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=dialect) as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 0.5 if dialect == tarfile.PAX_FORMAT else 0
            if dialect == tarfile.PAX_FORMAT:
                info.pax_headers = {"comment": "said"}
            out.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _layouts() -> list[dict[str, bytes]]:
    png, jpeg = _pictures(8)[1], _pictures(8)[5]
    several = range(6)
    lines = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in several).encode()
    records = "".join(f'{{"file_name": "{i}.png", "label": {i % 2}}}\n' for i in several).encode()
    bare = {f"{i}.png": png for i in several}
    parts = [f"{part}/{name}" for part in ("train", "test") for name in "ab"]
    return [
        {f"{part}/{i}.png": png for part in parts for i in range(2)},
        {f"{'éß'[i % 2]}/{i}.jpg": jpeg for i in several} | {"classes.txt": "ß\né".encode()},
        bare | {"labels.csv": b"file,label\n" + lines},
        bare | {"metadata.jsonl": records},
        bare | {f"{i}.cls": b"01"[i % 2 :][:1] for i in several},
        {f"{i % 2}/{i}.png": png for i in several} | {"labels.json": b'{"0": "cat", "1": "dog"}'},
    ]


def _importing(packed: Sequence[bytes]) -> Parser:
    from worker.data import DatasetError, Wishes, import_archive

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sent")
            path.write_bytes(data)
            import_archive(
                path, Path(folder, "made"), wishes=Wishes(32), label="Fuzzed", source="sent",
                progress=lambda *_: None, keep=False,
            )  # fmt: skip

    return Parser(read, (DatasetError,), packed)


# Weights and networks


def weights() -> Parser:
    """Safetensors, and what `torch.save` writes."""
    import safetensors.torch
    import torch

    from app.errors import JobError
    from worker.jobs import converting, weights_file

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, target = Path(folder, "sent"), Path(folder, "made")
            path.write_bytes(data)
            if data.startswith((b"PK\x03\x04", b"\x80")):
                converting.convert(path, target, 2**28)
                return
            with weights_file.opened(
                path, network="", scratch=target, check=lambda: None
            ) as opened:
                for name in list(opened.shapes)[:20]:
                    opened.numbers(name)

    state = {"conv.weight": torch.zeros(2, 3, 1, 1), "bn.num_batches_tracked": torch.tensor(3)}
    nested = {"state_dict": state, "epoch": 3, "ema": dict(state)}
    files = [safetensors.torch.save(state)]
    for value, as_zip in ((state, True), (nested, True), (state, False)):
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=as_zip)
        files.append(file.getvalue())
    return Parser(read, (JobError, converting.Refused, MemoryError), files)


def onnx() -> Parser:
    """A network: it is run, and made plain values."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from worker.jobs import plain_onnx, reading_onnx
    from worker.jobs.onnx_operators import Refused

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sent")
            path.write_bytes(data)
            found = reading_onnx.found(path, 8, "", "")
            plain_onnx.convert(path, Path(folder, "network"), found["output"])

    shape: list[Any] = ["N", 3, 8, 8]
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    expected = (Refused, plain_onnx.Unknown, MemoryError)
    return Parser(read, expected, [model.SerializeToString()])


# Files of many images


def _unpacking(kind: str, names: Mapping[str, bytes], whole: Sequence[bytes]) -> Parser:
    """The bytes are the file in `names` that is empty."""
    from worker.data import DatasetError
    from worker.jobs.unpacking.unpacked import unpack

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, (name, fixed) in enumerate(names.items()):
                path = Path(folder, str(number))
                path.write_bytes(fixed or data)
                files.append((name, 1, path))
            unpack(kind, files, Path(folder))

    return Parser(read, (DatasetError, MemoryError), whole)


def _saved(save: Callable[[Any, Any], object], value: Any) -> bytes:
    file = io.BytesIO()
    save(file, value)
    return file.getvalue()


def mat() -> Parser:
    """SVHN."""
    import numpy as np
    from scipy.io import savemat

    held = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [10]], np.uint8)}
    whole = [_saved(partial(savemat, do_compression=packed), held) for packed in (False, True)]
    return _unpacking("svhn", {"train_32x32.mat": b""}, whole)


def parquet() -> Parser:
    """As Hugging Face's datasets are kept."""
    import pyarrow
    from pyarrow import parquet as tables

    pictures = [{"bytes": _pictures(8)[1], "path": None}] * 2
    whole = []
    for labels in ([0, 1], ["cat", "dog"]):
        table = pyarrow.table({"image": pictures, "label": labels})
        for packed in ("none", "snappy", "gzip"):
            file = io.BytesIO()
            tables.write_table(table, file, compression=packed)
            whole.append(file.getvalue())
    return _unpacking("parquet", {"train-00000-of-00001.parquet": b""}, whole)


def idx() -> Parser:
    """MNIST and its kin, with labels that fit."""
    import gzip

    images = struct.pack(">IIII", 0x803, 2, 4, 4) + bytes(32)
    labels = struct.pack(">II", 0x801, 2) + bytes([0, 1])
    names = {"train-images-idx3-ubyte": b"", "train-labels-idx1-ubyte": labels}
    return _unpacking("idx", names, [images, gzip.compress(images)])


def npy() -> Parser:
    """An array a file."""
    import numpy as np

    labels = _saved(np.save, np.array([0, 1]))
    shapes = ((2, 8, 8, 3), (2, 8, 8))
    whole = [_saved(np.save, np.zeros(shape, np.uint8)) for shape in shapes]
    return _unpacking("npy", {"x_train.npy": b"", "y_train.npy": labels}, whole)


def npz() -> Parser:
    """Several arrays in a zip."""
    import numpy as np

    images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1])
    whole = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, x_train=images, y_train=labels)
        whole.append(file.getvalue())
    return _unpacking("npz", {"sent.npz": b""}, whole)


def pickle() -> Parser:
    """CIFAR."""
    import pickle as pickles

    import numpy as np

    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    whole = [pickles.dumps(batch, protocol) for protocol in (2, 4)]
    return _unpacking("cifar", {"data_batch_1": b"", "test_batch": whole[0]}, whole)


# Requests


def body() -> Parser:
    """JSON of the API, under every model that reads it."""
    from fastapi.exceptions import RequestValidationError
    from pydantic import TypeAdapter

    from app.api import fields
    from app.api.jobs import JobRequest
    from app.contracts.changes import JobChanges
    from app.contracts.export import Export
    from app.errors import LabError

    kinds: list[tuple[TypeAdapter[Any], bool]] = [
        (TypeAdapter(JobRequest), True), (TypeAdapter(JobChanges), False),
        (TypeAdapter(Export), False),
    ]  # fmt: skip

    def read(data: bytes) -> None:
        fields.check_count(data, fields.MOST_VALUES)
        for adapter, tagged in kinds:
            try:
                fields.read_json(adapter, data, tagged=tagged)
            except RequestValidationError:
                continue

    an_id = "0" * 32
    train = {"kind": "train", "params": {"name": "Net", "dataset": an_id, "epochs": 3}}
    attack = {"method": "pgd", "steps": 20, "goal": "untargeted"}
    evaluate = {
        "kind": "evaluate",
        "params": {"models": [an_id], "dataset": an_id, "attack": attack},
    }
    grid = {"kind": "ablation", "params": {"training": train["params"], "seeds": [0, 1]}}
    changes = {"name": "n", "note": "é\n", "tags": ["a"], "pinned": True}
    whole = [json.dumps(one).encode() for one in (train, evaluate, grid, changes)]
    return Parser(read, (RequestValidationError, LabError), whole)


def request() -> Parser:
    """Headers, query and forms, from the border to the parameters of a job."""
    from h11 import RemoteProtocolError

    from bench.fuzz import requests

    return Parser(requests.read, (RemoteProtocolError,), requests.WHOLE)


PARSERS: Mapping[str, Callable[[], Parser]] = {
    made.__name__: made
    for made in (
        image, archive, tar, weights, onnx, mat, parquet, idx, npy, npz, pickle, body, request,
    )
}  # fmt: skip
