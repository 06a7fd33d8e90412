"""Models over REST: look, download, bin."""

from __future__ import annotations

import time

import httpx
import pytest

from app.services.lab import Lab
from app.services.upkeep import clear
from app.store import jobs
from app.store.tables import ModelRow
from tests.api.problems import problem
from tests.plugins.rows import job_row
from tests.plugins.stock import WEIGHTS, stock_model


def test_looking_at_models(client: httpx.Client, lab: Lab) -> None:
    ids = [stock_model(lab, name=f"Model {i}") for i in range(3)]
    page = client.get("/api/models", params={"page_size": 2}).json()
    assert [view["id"] for view in page["items"]] == [ids[2], ids[1]]
    assert page["total"] == 3
    one = client.get(f"/api/models/{ids[1]}").json()
    assert one == page["items"][1]
    assert one["card"]["classes"] == ["cat", "dog", "ship"]
    problem(client.get(f"/api/models/{'0' * 32}"), 404)
    assert problem(client.get("/api/models/x"), 422) == ["model_id"]


def test_models_are_found_by_their_exact_name(client: httpx.Client, lab: Lab) -> None:
    twins = [stock_model(lab, name="Twin") for _ in range(2)]
    for name in ("Twin 2", "twin", "Tw_n"):
        stock_model(lab, name=name)

    def found(**query: object) -> list[str]:
        page = client.get("/api/models", params=query).json()  # type: ignore[arg-type]
        assert page["total"] == len(page["items"])
        return [view["id"] for view in page["items"]]

    assert found(name="Twin") == twins[::-1]
    assert found(name="Tw%") == []
    client.delete(f"/api/models/{twins[0]}")
    assert found(name="Twin") == [twins[1]]
    assert found(name="Twin", deleted=True) == [twins[0]]
    assert problem(client.get("/api/models", params={"name": ""}), 422) == ["name"]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("Teacher 1", "Teacher-1"),
        ("Löwe größer", "Lowe-groer"),
        ("../../etc/passwd", "etc-passwd"),
        ('a"; filename="evil.exe', "a-filename-evil-exe"),
        ("模型", "model"),
        ("<script>", "script"),
        ("x" * 80, "x" * 60),
    ],
)
def test_a_download_has_a_harmless_name(
    client: httpx.Client, lab: Lab, name: str, start: str
) -> None:
    model = stock_model(lab, name=name)
    answer = client.get(f"/api/models/{model}/weights")
    assert answer.content == WEIGHTS
    assert answer.headers["content-type"] == "application/octet-stream"
    expected = f'attachment; filename="{start}-{model[:8]}.safetensors"'
    assert answer.headers["content-disposition"] == expected
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_lost_file_is_a_clear_error(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    lab.files.weights(model).unlink()
    problem(client.get(f"/api/models/{model}/weights"), 404)


def test_deleting_has_a_way_back(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    assert client.delete(f"/api/models/{model}").status_code == 204
    problem(client.get(f"/api/models/{model}"), 404)
    problem(client.delete(f"/api/models/{model}"), 404)
    assert client.get("/api/models").json()["total"] == 0
    binned = client.get("/api/models", params={"deleted": True}).json()
    assert [view["id"] for view in binned["items"]] == [model]
    restored = client.post(f"/api/models/{model}/restore")
    assert (restored.status_code, restored.json()["id"]) == (200, model)
    problem(client.post(f"/api/models/{model}/restore"), 404)
    assert client.get(f"/api/models/{model}/weights").content == WEIGHTS


def test_a_model_that_a_job_needs_stays(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    row = job_row(params={"models": [model]})
    jobs.add(lab.database, row)
    problem(client.delete(f"/api/models/{model}"), 409)
    client.post(f"/api/jobs/{row.id}/cancel")
    assert client.delete(f"/api/models/{model}").status_code == 204


def test_after_a_week_in_the_bin_the_file_goes(client: httpx.Client, lab: Lab) -> None:
    old, young = stock_model(lab), stock_model(lab)
    for model in (old, young):
        client.delete(f"/api/models/{model}")
    with lab.database.writing() as session:
        session.get_one(ModelRow, old).deleted_at = time.time() - 8 * 24 * 3600
    clear(lab)
    assert not lab.files.weights(old).exists()
    assert lab.files.weights(young).exists()
    binned = client.get("/api/models", params={"deleted": True}).json()
    assert [view["id"] for view in binned["items"]] == [young]
