"""Pictures from outside: what is kept of them is pixels, and everything bad is a clear error."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.contracts.jobs import JobKind
from app.contracts.params import ImportParams, Source
from app.errors import InvalidInput, LabError, TooLarge, UnsupportedMedia
from app.services import uploads
from app.services.lab import Lab
from app.store import catalogue
from tests.api.problems import problem
from tests.plugins.stock import stock_dataset, stock_model


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(lab: Lab, data: bytes) -> Image.Image:
    """What the lab keeps of a picture."""
    upload = uploads.save_image(lab, io.BytesIO(data), "picture")
    with Image.open(lab.files.upload(upload)) as image:
        image.load()
    return image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds hardly any."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


GRADIENT = Image.fromarray(
    np.stack(np.meshgrid(np.arange(48), np.arange(64), [5]), -1)[:, :, 0].astype(np.uint8) * 3
)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_formats_keep_their_pixels(lab: Lab, kind: str) -> None:
    kept = saved(lab, encoded(GRADIENT, kind, lossless=True))
    assert (kept.format, kept.mode, kept.size) == ("PNG", "RGB", (48, 48))
    assert np.array_equal(np.asarray(kept), np.asarray(GRADIENT)[8:56])


@pytest.mark.parametrize(
    ("image", "kind", "colour"),
    [
        (Image.new("1", (9, 9), 1), "PNG", (255, 255, 255)),
        (Image.new("L", (9, 9), 90), "PNG", (90, 90, 90)),
        (Image.new("P", (9, 9), 0), "PNG", (0, 0, 0)),
        (Image.new("LA", (9, 9), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (255, 0, 0, 255)), "WEBP", (255, 0, 0)),
        (Image.new("I;16", (9, 9), 0x4040), "PNG", (0x40, 0x40, 0x40)),
        (Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(
    lab: Lab, image: Image.Image, kind: str, colour: tuple[int, int, int]
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    kept = np.asarray(saved(lab, encoded(image, kind, **options)))
    assert kept.shape == (9, 9, 3)
    assert np.abs(kept.astype(int) - colour).max() <= 3  # JPEG rounds


def test_transparent_palettes_are_shown_on_white(lab: Lab) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    kept = saved(lab, encoded(image, "PNG", transparency=1))
    assert kept.getpixel((0, 0)) == (255, 255, 255)


def test_a_camera_held_upright_gives_an_upright_picture(lab: Lab) -> None:
    image = Image.new("RGB", (20, 20), "black")
    image.paste("white", (0, 0, 10, 20))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to view: left becomes top
    kept = saved(lab, encoded(image, "JPEG", exif=exif, quality=95))
    top, bottom = kept.getpixel((10, 3)), kept.getpixel((10, 16))
    assert min(top) > 200  # type: ignore[arg-type]
    assert max(bottom) < 55  # type: ignore[arg-type]


def test_nothing_but_pixels_is_kept(lab: Lab) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET-PLACE"
    options = {"exif": exif, "icc_profile": b"SECRET-PROFILE" * 10, "comment": b"SECRET-NOTE"}
    data = encoded(GRADIENT, "JPEG", **options) + b"PK\x03\x04 SECRET-ARCHIVE"
    assert data.count(b"SECRET") >= 4
    upload = uploads.save_image(lab, io.BytesIO(data), "x.jpg")
    assert b"SECRET" not in lab.files.upload(upload).read_bytes()
    found = saved(lab, data).info
    assert found == {"Remarks": "with a colour profile that cannot be read, taken as sRGB"}


def test_the_first_picture_of_an_animation_is_taken(lab: Lab) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for kind in ("PNG", "WEBP"):
        data = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], duration=50, lossless=True
        )
        assert saved(lab, data).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize(("size", "kept"), [((4000, 1000), (512, 512)), ((1, 1), (1, 1)),
                                            ((9000, 40), (40, 40))])  # fmt: skip
def test_only_what_pages_need_is_stored(
    lab: Lab, size: tuple[int, int], kept: tuple[int, int]
) -> None:
    assert saved(lab, encoded(Image.new("RGB", size, "navy"), "PNG")).size == kept


@pytest.mark.parametrize(
    ("width", "height"),
    [(5001, 5000), (9500, 9500), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (25_000_001, 1)],
)
def test_bombs_are_too_large_and_never_decoded(lab: Lab, width: int, height: int) -> None:
    with pytest.raises(TooLarge, match="pixels"):
        saved(lab, png_header(width, height))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: b"", InvalidInput),
        (lambda: png_header(0, 5), (InvalidInput, UnsupportedMedia)),
        (lambda: png_header(100, 100), InvalidInput),
        (lambda: encoded(GRADIENT, "GIF"), UnsupportedMedia),
        (lambda: encoded(GRADIENT, "BMP"), UnsupportedMedia),
        (lambda: encoded(GRADIENT, "TIFF"), UnsupportedMedia),
        (lambda: encoded(GRADIENT, "ICO"), UnsupportedMedia),
        (lambda: encoded(GRADIENT, "PDF"), UnsupportedMedia),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", UnsupportedMedia),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UnsupportedMedia),
        (lambda: b"PK\x03\x04" + b"\0" * 100, UnsupportedMedia),
        (lambda: b"<html>" + encoded(GRADIENT, "PNG"), UnsupportedMedia),
        (lambda: encoded(GRADIENT, "PNG")[:-30], InvalidInput),
        (lambda: encoded(GRADIENT, "JPEG")[:200], (InvalidInput, UnsupportedMedia)),
        (lambda: encoded(GRADIENT, "WEBP")[:60], (InvalidInput, UnsupportedMedia)),
        (lambda: b"\0" * (uploads.MAX_IMAGE_BYTES + 1), TooLarge),
    ],
)
def test_what_is_no_picture_is_a_clear_error(
    lab: Lab, make: Callable[[], bytes], error: type[LabError]
) -> None:
    with pytest.raises(error) as raised:
        uploads.save_image(lab, io.BytesIO(make()), "picture.png")
    assert raised.value.field == "image"
    assert list((lab.settings.data_dir / "uploads").iterdir()) == []


def test_text_that_unpacks_without_end_is_never_unpacked(lab: Lab) -> None:
    """A PNG comment of a few kilobytes that unpacks to 20 MB; Pillow would refuse it."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 20_000_000, 9))
    plain = encoded(GRADIENT, "PNG")
    assert np.array_equal(saved(lab, plain[:33] + text + plain[33:]), saved(lab, plain))


def of_many_scans(scans: int) -> bytes:
    """A progressive JPEG of 23 megapixels whose last scan comes again and again."""
    data = encoded(Image.new("L", (5600, 4200), 90), "JPEG", progressive=True)
    start, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:start] + data[start:end] * scans + data[end:]


def test_a_picture_that_takes_too_long_is_given_up(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(lab, of_many_scans(1))
    monkeypatch.setattr(uploads, "_DECODES_WITHIN_S", 0.2)
    data = of_many_scans(90)
    assert len(data) < uploads.MAX_IMAGE_BYTES
    with pytest.raises(TooLarge, match="more time or memory") as raised:
        uploads.save_image(lab, io.BytesIO(data), "slow.jpg")
    assert raised.value.field == "image"
    monkeypatch.undo()
    assert saved(lab, encoded(GRADIENT, "PNG")).mode == "RGB"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0, 1),
)
def test_damaged_bytes_are_a_picture_or_a_clear_error(
    lab: Lab, kind: str, changes: list[tuple[float, int]], cut: float
) -> None:
    data = bytearray(encoded(GRADIENT, kind))
    for place, value in changes:
        data[int(place * len(data))] = value
    if cut < 0.5:
        data = data[: int(2 * cut * len(data))]
    with suppress(LabError):
        assert saved(lab, bytes(data)).mode == "RGB"


@pytest.mark.parametrize("keeps", [False, True])
def test_an_upload_whose_job_is_refused_once_it_is_stored_goes_unless_it_is_kept(
    lab: Lab, keeps: bool
) -> None:
    """Another one took the name in between."""
    seen = []

    def typed(upload_id: str) -> ImportParams:
        if lab.files.upload(upload_id).exists():
            seen.append(upload_id)
            stock_dataset(lab)
        return ImportParams(name="Pets", source=Source.ARCHIVE, upload=upload_id)

    with pytest.raises(uploads.Kept if keeps else InvalidInput, match="a dataset named “Pets”"):
        uploads.submit(lab, JobKind.IMPORT, io.BytesIO(b"PK"), "x", typed, keeps=keeps)
    (upload_id,) = seen
    assert (catalogue.upload(lab.database, upload_id) is not None) is keeps
    assert lab.files.upload(upload_id).exists() is keeps


class Door(NamedTuple):
    """A way for a file into the lab, and what it asks beside the file."""

    path: str
    file: str
    asks: dict[str, str]


DOORS = [
    Door("/api/datasets", "file", {"name": "Pets"}),
    Door("/datasets", "file", {"name": "Pets", "source": "archive"}),
    Door("/api/models", "file", {"name": "Net", "architecture": "wrn-10-1"}),
    Door("/models/import", "file", {"name": "Net", "architecture": "wrn-10-1"}),
    Door("/api/live", "image", {}),
]


def sent(lab: Lab, client: httpx.Client, door: Door, size: int, **wrong: str) -> httpx.Response:
    asks = door.asks | {"dataset": stock_dataset(lab)} if "models" in door.path else door.asks
    asks = asks | {"models": stock_model(lab)} if "live" in door.path else asks
    files = {door.file: ("sent.bin", io.BytesIO(b"x" * size))}
    return client.post(door.path, data=asks | wrong, files=files)


@pytest.mark.parametrize("wrong", [{}, {"name": ""}, {"seed": "x", "architecture": "x"}])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.path)
@pytest.mark.parametrize(
    ("limits", "status"), [({"max_waiting": 0}, 429), ({"min_free_mb": 2**30}, 503)]
)
def test_where_there_is_no_room_for_the_job_its_file_is_not_looked_at(
    app: FastAPI,
    client: httpx.Client,
    door: Door,
    limits: dict[str, int],
    status: int,
    wrong: dict[str, str],
) -> None:
    """It is too large, which nobody hears of."""
    lab = app.state.lab
    changed = lab.settings.model_copy(update={"max_upload_mb": 1, **limits})
    app.state.lab = replace(lab, settings=changed)
    answer = sent(lab, client, door, 2**20 + 1, **wrong)
    for_programs = bool(wrong) and door.path.startswith("/api/")
    assert answer.status_code == (422 if for_programs else status), answer.text
    assert list((lab.settings.data_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize("door", [DOORS[0], DOORS[2]], ids=lambda door: door.path)
def test_what_is_wrong_beside_a_file_is_said_first(
    lab: Lab, client: httpx.Client, door: Door
) -> None:
    assert problem(sent(lab, client, door, 0, name=""), 422) == ["name"]


def test_weights_without_their_network_are_refused_by_name_alone(
    lab: Lab, client: httpx.Client
) -> None:
    asks = {"name": "Net", "dataset": stock_dataset(lab)}
    answer = client.post("/api/models", data=asks, files={"file": ("net.pt", b"")})
    assert problem(answer, 422) == ["architecture"]
    answer = client.post("/api/models", data=asks, files={"file": ("net.onnx", b"")})
    assert problem(answer, 422) == ["file"], "it is empty"


def test_a_full_disk_is_said_to_be_full(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LabError, match="No space left on device") as raised:
        uploads.save_archive(lab, io.BytesIO(b"PK"), "a.zip")
    assert raised.value.status == 503
    assert list((lab.settings.data_dir / "uploads").iterdir()) == []
