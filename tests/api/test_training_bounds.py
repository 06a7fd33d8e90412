"""Bad parameters of a training are refused before there is a job."""

from __future__ import annotations

import httpx
import pytest

from app.contracts.params import TrainParams
from app.services.lab import Lab
from app.web.forms.entries import Rejected, read
from tests.api.problems import problem
from tests.plugins.bounds import each_refused
from tests.plugins.stock import stock_dataset, train_body


def test_the_form_says_the_bounds_at_the_field() -> None:
    for name, value in each_refused():
        typed = {"name": ("Model",), "dataset": ("a" * 32,), name: (str(value),)}
        with pytest.raises(Rejected) as refusal:
            read(TrainParams, typed)
        assert set(refusal.value.messages) == {name}, value
        assert refusal.value.messages[name].startswith("must be "), value


def test_a_batch_larger_than_the_dataset_is_refused(client: httpx.Client, lab: Lab) -> None:
    dataset = stock_dataset(lab)  # of 900 images
    answer = client.post("/api/jobs", json=train_body(dataset, batch_size=901))
    assert problem(answer, 422) == ["batch_size"]
    assert "900" in answer.json()["hint"]
    assert client.post("/api/jobs", json=train_body(dataset, batch_size=900)).status_code == 202
