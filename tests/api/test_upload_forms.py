"""Forms with a file have the parameters of their job, as those are defined and nowhere else."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import FastAPI, Form, UploadFile

from app.api.uploads import UploadForm, parameters, takes
from app.contracts.params import (
    Attack,
    ExplainParams,
    ImportModelParams,
    ImportParams,
    Params,
    parameter,
)
from app.main import create_app
from app.settings import Settings

DECLARED = {"image", "file", "source"}
"""What forms say themselves."""


@pytest.fixture
def described(settings: Settings) -> dict[str, Any]:
    parts: dict[str, Any] = create_app(settings).openapi()["components"]["schemas"]
    return parts


@pytest.mark.parametrize(
    ("form", "params", "flat"),
    [
        ("LiveForm", ExplainParams, {"attack": Attack}),
        ("ImportForm", ImportParams, {}),
        ("ImportModelForm", ImportModelParams, {}),
    ],
)
def test_a_form_describes_every_parameter_as_its_model_does(
    described: dict[str, Any], form: str, params: type[Params], flat: dict[str, type[Params]]
) -> None:
    reference = "#/components/schemas/{model}"
    expected = params.model_json_schema(ref_template=reference)["properties"]
    del expected["upload"]
    for name, model in flat.items():
        del expected[name]
        expected |= model.model_json_schema(ref_template=reference)["properties"]
    shown = described[form]["properties"]
    assert set(shown) - DECLARED == set(expected) - DECLARED
    for name in set(expected) - DECLARED:
        ours = dict(shown[name])
        # The description of the whole API leaves defaults out that are null.
        theirs = {key: value for key, value in expected[name].items() if value is not None}
        if name == "steps":  # a live attack takes fewer than an evaluation's
            assert (ours.pop("default"), theirs.pop("default")) == (10, 20)
        assert ours == theirs, name


class Blur(Params):
    """Several parameters in one."""

    sigma: float = parameter(1.0, title="Sigma", help="Width of the blur.", gt=0, le=9)
    passes: int = parameter(1, title="Passes", help="How often.", ge=1, le=5)


class Wide(Params):
    """Parameters of a job that the lab does not have."""

    upload: str = parameter(title="File", help="The stored file.")
    gamma: float = parameter(0.5, title="Gamma", help="Brightness.", ge=0, lt=1)
    side: Literal[32, 64] = parameter(32, title="Side", help="Of the picture.")
    marks: tuple[float, ...] | None = parameter(None, title="Marks", help="In order.", max_length=3)
    blur: Blur = parameter(lambda: Blur(passes=2), title="Blur", help="Before everything.")


@takes(Wide)
class WideForm(UploadForm):
    """A file and what is done with it."""

    file: UploadFile


service = FastAPI()


@service.post("/")
def echo(form: Annotated[WideForm, Form()]) -> dict[str, Any]:
    return parameters(Wide, form, upload="stored").model_dump()


def post(**data: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://lab") as client:
            return await client.post("/", data=data, files={"file": b"x"})

    return asyncio.run(send())


def test_a_new_parameter_is_described_with_title_bounds_default_and_help() -> None:
    shown = service.openapi()["components"]["schemas"]["WideForm"]
    assert shown["required"] == ["file"]
    assert set(shown["properties"]) == {"file", "gamma", "side", "marks", "sigma", "passes"}
    gamma = shown["properties"]["gamma"]
    assert (gamma["title"], gamma["description"], gamma["default"]) == ("Gamma", "Brightness.", 0.5)
    assert (gamma["minimum"], gamma["exclusiveMaximum"]) == (0, 1)
    assert shown["properties"]["side"]["enum"] == [32, 64]
    assert shown["properties"]["passes"]["default"] == 2


def test_a_new_parameter_arrives() -> None:
    assert post().json() == {
        "upload": "stored", "gamma": 0.5, "side": 32, "marks": None,
        "blur": {"sigma": 1.0, "passes": 2},
    }  # fmt: skip
    sent = {"gamma": "0.25", "side": "64", "marks": ["3", "1"], "sigma": "4", "passes": "5"}
    assert post(**sent).json() == {
        "upload": "stored", "gamma": 0.25, "side": 64, "marks": [3.0, 1.0],
        "blur": {"sigma": 4.0, "passes": 5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        ("gamma", "1"),
        ("gamma", "nan"),
        ("side", "48"),
        ("side", "0x20"),
        ("marks", ["1", "2", "3", "4"]),
        ("sigma", "0"),
        ("passes", "6"),
        ("blur", "1"),
        ("upload", "mine"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(field: str, entry: Any) -> None:
    answer = post(**{field: entry})
    assert answer.status_code == 422
    assert [error["loc"][1] for error in answer.json()["detail"]] == [field]
