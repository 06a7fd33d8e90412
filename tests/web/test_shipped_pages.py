"""A lab that starts with models: the live page, and data that it lacks."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from app.contracts.params import Attack, ExplainParams
from app.services import jobs
from app.services.lab import Lab
from app.store.tables import DatasetRow, ModelRow
from tests.web.browsing import browser as browser
from tests.web.browsing import page as page
from tests.web.examples import add_dataset, add_model, an_id
from tests.web.parsing import attributes, live_models

STATIC = Path(__file__).resolve().parents[2] / "static"
ABSENT = "d" * 32
"""The id of a dataset that the lab does not have."""


def ship(lab: Lab, model: str) -> str:
    """Make a model one that came with the lab."""
    with lab.database.writing() as session:
        row = session.get_one(ModelRow, model)
        row.card = row.card | {"origin": "shipped"}
    return model


def other_images(lab: Lab, dataset: str) -> str:
    """Give a dataset another checksum than models of these tests were trained on."""
    with lab.database.writing() as session:
        row = session.get_one(DatasetRow, dataset)
        row.report, row.checksum = row.report | {"checksum": "9" * 64}, "9" * 64
    return dataset


def html(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def chosen(client: httpx.Client, path: str) -> list[str]:
    return attributes(html(client, path), "value", "option[selected]")


def test_live_prefers_models_of_this_lab_to_shipped_ones(lab: Lab, client: httpx.Client) -> None:
    own_teacher = add_model(lab, ABSENT)
    own = add_model(lab, ABSENT, teacher=own_teacher)
    teacher = ship(lab, add_model(lab, ABSENT))
    ship(lab, add_model(lab, ABSENT, teacher=teacher))
    assert live_models(html(client, "/live")) == [own_teacher, own]


def test_live_starts_from_the_shipped_pair_in_a_new_lab(lab: Lab, client: httpx.Client) -> None:
    ship(lab, add_model(lab, ABSENT, classes=("other", "classes")))
    teacher = ship(lab, add_model(lab, ABSENT))
    student = ship(lab, add_model(lab, ABSENT, teacher=teacher))
    assert live_models(html(client, "/live")) == [teacher, student]


def test_a_student_without_its_teacher_meets_a_clean_model_of_its_classes(
    lab: Lab, client: httpx.Client
) -> None:
    clean = add_model(lab, ABSENT)
    add_model(lab, ABSENT, classes=("other", "classes"))
    student = add_model(lab, ABSENT, teacher=an_id())
    assert live_models(html(client, "/live")) == [clean, student]


def test_a_model_whose_images_are_elsewhere_links_to_none(lab: Lab, client: httpx.Client) -> None:
    model = ship(lab, add_model(lab, ABSENT))
    text = html(client, f"/models/{model}")
    assert "not in this lab" in text
    assert ABSENT not in text.replace(f"<code>{ABSENT}</code>", "")
    assert f'href="/evaluate?models={model}"' in text


def test_the_same_images_count_under_another_id(lab: Lab, client: httpx.Client) -> None:
    model = ship(lab, add_model(lab, ABSENT))
    dataset = add_dataset(lab)
    text = html(client, f"/models/{model}")
    assert f'href="/datasets/{dataset}"' in text
    assert f'href="/evaluate?models={model}&amp;dataset={dataset}"' in text


def test_an_evaluation_begins_with_images_of_the_models_classes(
    lab: Lab, client: httpx.Client
) -> None:
    model = ship(lab, add_model(lab, ABSENT))
    path = f"/evaluate?models={model}"
    html(client, path)
    fitting = other_images(lab, add_dataset(lab, name="More pets"))
    other_images(lab, add_dataset(lab, name="Ships", classes=("liner", "sail")))
    assert fitting in chosen(client, path)
    the_same = add_dataset(lab, name="Pets again")
    other_images(lab, add_dataset(lab, name="Yet more pets"))
    assert the_same in chosen(client, path)


@pytest.mark.slow
@pytest.mark.browser
def test_an_example_is_attacked_by_keyboard_alone(page: Page, lab: Lab) -> None:
    teacher = ship(lab, add_model(lab, ABSENT))
    student = ship(lab, add_model(lab, ABSENT, teacher=teacher))
    page.goto("/live")
    for name, key, label in (
        ("A tabby cat", "Enter", "cat"),
        ("A kingfisher", "Space", ""),  # no class of these models
    ):
        with page.expect_response("**/api/live") as sent:
            page.get_by_role("button", name=name).focus()
            page.keyboard.press(key)
        assert sent.value.status == 202
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#field-label")).to_have_value(label)
        params = ExplainParams.model_validate(jobs.get(lab, sent.value.json()["id"]).params)
        assert (params.models, params.label) == ((teacher, student), label or None)
        assert params.attack == Attack(steps=10)
    with Image.open(lab.files.upload(params.upload)) as kept:
        assert kept.size == (160, 160)
