"""What jobs are called: by the names of what they use, or its id where the lab does not hold it."""

from __future__ import annotations

from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    ExplainParams,
    ImportModelParams,
    ImportParams,
    TrainParams,
)
from app.services.lab import Lab
from app.store import catalogue
from app.store.tables import UploadRow
from app.store.titles import title
from tests.plugins.stock import stock_dataset, stock_model

GONE = "0" * 32


def test_what_the_lab_holds_is_called_by_its_name(lab: Lab) -> None:
    dataset, one, other = stock_dataset(lab), stock_model(lab), stock_model(lab, name="Other")
    upload = UploadRow(id="a" * 32, filename="cat.png", sha256="", size_bytes=1, created_at=0.0)
    catalogue.add_upload(lab.database, upload)
    training = TrainParams(name="Net", dataset=dataset)
    titles = {
        "Import Mini": ImportParams(name="Mini"),
        "Import the model Net": ImportModelParams(
            name="Net", upload=GONE, architecture="wrn-10-1", dataset=dataset
        ),
        "Train Net on Pets": training,
        "Evaluate Other, Teacher": EvaluateParams(models=(other, one), dataset=dataset),
        "Explain cat.png": ExplainParams(upload=upload.id, models=(one, other)),
        "Ablation Nets on Pets": AblationParams(
            name="Nets", training=training, recipes=("clean",), seeds=(0,)
        ),
    }
    assert {title(lab.database, params): params for params in titles.values()} == titles


def test_what_it_does_not_hold_by_its_id(lab: Lab) -> None:
    model = stock_model(lab)
    training = TrainParams(name="Net", dataset=GONE)
    assert title(lab.database, training) == f"Train Net on {GONE}"
    evaluation = EvaluateParams(models=(model, GONE), dataset=GONE)
    assert title(lab.database, evaluation) == f"Evaluate Teacher, {GONE}"
    explanation = ExplainParams(upload=GONE, models=(model,))
    assert title(lab.database, explanation) == f"Explain {GONE}"
