"""Networks on photographs of 128 and 224 pixels, one of them with attention of its own: imported,
evaluated and attacked live."""

from __future__ import annotations

import uuid
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, EvaluateParams, ExplainParams
from app.contracts.results import EvaluationResult, ExplainResult, ImportResult
from app.store.tables import JobRow
from tests.jobs.measured import register
from tests.jobs.runs import open_lab, run
from tests.jobs.test_explain import _maps as maps_of
from tests.jobs.test_importing import _upload as upload
from tests.plugins.images import MINI
from worker.data import Dataset, load_dataset
from worker.jobs.context import WorkerLab
from worker.models import Classifier, build

VIT = "timm:test_vit"


class Photographs(NamedTuple):
    lab: WorkerLab
    dataset_id: str
    dataset: Dataset
    models: tuple[tuple[str, Classifier], ...]
    """By their ids."""

    @property
    def side(self) -> int:
        return self.dataset.image_size


@pytest.fixture(scope="module", params=[128, 224])
def photographs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Photographs:
    """A few of the real images, enlarged by the import; a transformer and a convolutional net."""
    folder, side = tmp_path_factory.mktemp("photographs"), request.param
    archive = folder / "few.zip"
    with zipfile.ZipFile(MINI) as source, zipfile.ZipFile(archive, "w") as target:
        for name in source.namelist():
            if name.endswith(("0001.jpg", "0002.jpg", "0003.jpg")):
                target.writestr(name, source.read(name))
    lab = open_lab(folder / "data")
    asked = upload(lab, archive).model_copy(update={"image_size": side})
    imported = ImportResult.model_validate_json(_result(lab, run(lab, JobKind.IMPORT, asked)))
    assert imported.dataset is not None
    assert imported.report.image_size == side
    dataset, models = load_dataset(lab.files.dataset(imported.dataset)), []
    for architecture in (VIT, "timm:test_resnet"):
        torch.manual_seed(0)
        model = build(
            architecture, num_classes=10, mean=dataset.mean, std=dataset.std, image_size=side
        ).eval()
        knowing(model, dataset)
        model_id = register(
            lab, model, dataset.class_names, architecture=architecture, image_size=side
        )
        models.append((model_id, model.requires_grad_(False)))
    return Photographs(lab, imported.dataset, dataset, tuple(models))


def knowing(model: Classifier, dataset: Dataset) -> None:
    """A head that tells the test images apart: there are fewer of them than features."""
    x, y = dataset.split("test").to("cpu").batch(torch.arange(len(dataset.split("test").labels)))
    with torch.no_grad():
        features = model.outputs(x).embedding.double()  # (N, C)
        one_hot = torch.nn.functional.one_hot(y, 10).double()
        weights = torch.linalg.lstsq(features, 8 * one_hot).solution
        model.head.weight.copy_(weights.T)
        model.head.bias.zero_()


def _result(lab: WorkerLab, row: JobRow) -> bytes:
    assert row.status == JobStatus.SUCCEEDED, row.failure
    return lab.files.result(row.result_name).read_bytes()


def own_attention(model: Classifier, x: Tensor) -> Tensor:
    """What timm's own network has after the softmax of its last block: the class token's row,
    summed over the heads, with its smallest value at 0 and its largest at 1; (N, h, w)."""
    network = model.native()  # type: ignore[operator]
    last, seen = network.blocks[-1].attn, []
    last.fused_attn = False
    last.attn_drop.register_forward_hook(lambda _, given, out: seen.append(given[0]))
    network((x - model.mean.view(3, 1, 1)) / model.std.view(3, 1, 1))
    (weights,) = seen  # (N, heads, T, T)
    row = weights[:, :, 0, 1:].sum(dim=1)
    low, high = row.amin(dim=1, keepdim=True), row.amax(dim=1, keepdim=True)
    side = int(row.shape[1] ** 0.5)
    return ((row - low) / (high - low)).view(-1, side, side)


@pytest.mark.slow
def test_an_evaluation_measures_both(photographs: Photographs) -> None:
    (vit, model), (other, _) = photographs.models
    params = EvaluateParams(
        models=(vit, other), dataset=photographs.dataset_id, images=8, attack=Attack(steps=2),
        epsilon=2 / 255, epsilons=(0, 2 / 255), step_counts=(1, 2), minimal_epsilon=False,
        attention=True, batch_size=8,
    )  # fmt: skip
    row = run(photographs.lab, JobKind.EVALUATE, params)
    result = EvaluationResult.model_validate_json(_result(photographs.lab, row))
    figures = result.models[0]
    numbers = list(result.image_numbers)
    images = photographs.dataset.split("test").images[numbers]
    x = torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).float() / 255
    assert model(x).argmax(dim=1).tolist() == list(result.labels)
    assert figures.clean.correct == 8
    assert figures.robust.correct < 8
    assert figures.attention is not None
    assert figures.attention.reference.id == vit
    assert figures.attention.images == 8
    assert max(figures.attention.clean_l1) == 0  # its own map of the clean image
    assert max(figures.attention.adversarial_l1) > 0
    assert figures.gallery is not None
    assert figures.gallery.images


@pytest.mark.slow
def test_live_its_attention_is_its_own(photographs: Photographs) -> None:
    (vit, model), (other, _) = photographs.models
    sent = uuid.uuid4().hex
    pixels = photographs.dataset.split("test").images[3]
    Image.fromarray(pixels).save(photographs.lab.files.upload(sent), "PNG")
    params = ExplainParams(models=(vit, other), upload=sent, attack=Attack(steps=2))
    row = run(photographs.lab, JobKind.EXPLAIN, params)
    result = ExplainResult.model_validate_json(_result(photographs.lab, row))
    look = result.attacks[0].looks[0]
    sheet, columns = look.attention.sheet, len(result.iterates)
    assert (sheet.height, sheet.width) == (photographs.side // 16,) * 2
    clean = torch.from_numpy(np.asarray(pixels)).permute(2, 0, 1)[None].float() / 255
    shown = maps_of(sheet, len(result.budgets), columns)
    np.testing.assert_allclose(shown[0], own_attention(model, clean)[0].detach(), atol=0.51 / 255)
    assert np.abs(shown[-1] - shown[0]).max() > 1 / 255  # the attack moves it
