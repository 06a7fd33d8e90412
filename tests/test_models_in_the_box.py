"""The models that the repository holds: complete, small, as good as their cards say; and what the
first page shows of them, computed again."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from app.contracts.params import EvaluateParams, ImportParams, Recipe, TrainParams
from app.contracts.results import Accuracy, ShowcasePicture
from app.store import catalogue
from app.store.shipped import SUMS, Shipped, listed, read_card, register
from app.store.showcase import DRAWN, drawn, picture_file, pool
from app.store.showcase import read as read_showcase
from tests.jobs.runs import open_lab
from tests.plugins.images import MINI
from worker.agkd_bml.attention import attention_map
from worker.attacks import pgd
from worker.data import decode_image, draw_shapes
from worker.models import Classifier
from worker.registry import load_model
from worker.shipping.showcase import EPSILON, default_pair, summary
from worker.shipping.table import table

FOLDER = Path(__file__).resolve().parents[1] / "models"
BOX = listed(FOLDER)
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip
OF_PHOTOGRAPHS = [one for one in BOX if read_card(one).classes == CLASSES]
OF_SHAPES = [one for one in BOX if read_card(one).classes == drawn()]
JOBS = {"CIFAR-10 (JPEG)": FOLDER / "jobs", "Shapes": FOLDER / "jobs" / "shapes"}
MAX_BYTES = 12 * 2**20
SHOWN = read_showcase(FOLDER)
each = pytest.mark.parametrize("shipped", BOX, ids=lambda shipped: shipped.slug)


def test_there_are_a_teacher_and_its_students_in_the_space_allowed() -> None:
    assert {one.slug for one in OF_PHOTOGRAPHS} == {"clean", "pgd-at", "agkd-bml"}
    assert {one.slug for one in OF_SHAPES} == {"shapes-clean", "shapes-agkd-bml"}
    assert len(OF_PHOTOGRAPHS) + len(OF_SHAPES) == len(BOX)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= MAX_BYTES


def test_every_file_is_listed_and_is_what_the_list_says() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".json", ".safetensors")}
    assert files == {path.name for shipped in BOX for path in (shipped.weights, shipped.card)}
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_a_card_is_complete(shipped: Shipped) -> None:
    card = read_card(shipped)
    assert (card.origin, card.kept) == ("shipped", "best")
    assert card.dataset.name in JOBS
    assert card.params is not None
    assert card.params.dataset == card.dataset.id
    assert card.environment.code_version
    measured = {one.measure: one for one in card.test}
    assert measured.keys() == {"clean", "PGD-20", "AutoAttack"}
    for one in card.test:
        assert one.accuracy == Accuracy.of(one.accuracy.correct, one.accuracy.n)
        assert one.accuracy.n >= 1000
        assert one.dataset.sha256 == card.dataset.sha256
    assert measured["AutoAttack"].accuracy.value <= measured["clean"].accuracy.value


@each
def test_a_teacher_is_in_the_box(shipped: Shipped) -> None:
    card = read_card(shipped)
    assert card.params is not None
    if card.teacher is None:
        assert card.params.teacher is None
        return
    teacher = next(one for one in BOX if one.id == card.teacher.id)
    assert card.teacher.sha256 == teacher.weights_sha256
    assert card.params.teacher in (None, teacher.id)
    assert read_card(teacher).recipe is Recipe.CLEAN


@each
def test_a_job_trains_it_again(shipped: Shipped) -> None:
    card = read_card(shipped)
    assert card.params is not None
    job = json.loads((JOBS[card.dataset.name] / f"{shipped.slug}.json").read_bytes())
    ids = {one.slug: one.id for one in BOX}
    named = {"dataset": card.dataset.id, "teacher": ids.get(job["teacher"])}
    again = TrainParams.model_validate(job | named)
    assert again.model_dump(exclude={"continue_from"}) == card.params.model_dump(
        exclude={"continue_from"}
    )


@pytest.mark.parametrize(
    ("jobs", "box"),
    [
        (FOLDER / "jobs", OF_PHOTOGRAPHS),
        (FOLDER / "jobs" / "gpu", OF_PHOTOGRAPHS),
        (FOLDER / "jobs" / "shapes", OF_SHAPES),
    ],
    ids=["jobs", "gpu", "shapes"],
)
def test_the_jobs_are_valid(jobs: Path, box: list[Shipped]) -> None:
    ImportParams.model_validate(_import(jobs))
    trainings, evaluations = (list(jobs.glob(of)) for of in ("*.json", "evaluate/*.json"))
    assert {path.stem for path in trainings} >= {one.slug for one in box}
    assert evaluations
    for path in trainings:
        values = json.loads(path.read_bytes())
        teacher = values["teacher"] and BOX[0].id
        TrainParams.model_validate(values | {"dataset": BOX[0].id, "teacher": teacher})
    for path in evaluations:
        what = {"models": [one.id for one in BOX], "dataset": BOX[0].id}
        EvaluateParams.model_validate(json.loads(path.read_bytes()) | what)


def _import(jobs: Path) -> dict[str, str]:
    """The import; an archive is given beside it."""
    values: dict[str, str] = json.loads((jobs / "import" / "images.json").read_bytes())
    return values if "source" in values else values | {"source": "archive", "upload": BOX[0].id}


def test_the_readme_shows_the_figures_of_cards_and_showcase() -> None:
    written = table([(shipped.slug, read_card(shipped)) for shipped in BOX])
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"\n{written}\n" in readme
    assert f"\n{summary(SHOWN.showcase)}\n" in readme


@each
def test_weights_are_finite_and_small(shipped: Shipped) -> None:
    weights = safetensors.torch.load(shipped.weights.read_bytes())
    for name, value in weights.items():
        assert value.isfinite().all(), name
        assert value.ndim <= 1 or value.dtype == torch.float16, name
    trained = sum(
        value.numel() for name, value in weights.items() if name.endswith(("weight", "bias"))
    )
    assert trained == read_card(shipped).parameters


def test_a_new_lab_has_them_and_they_see_what_their_cards_say(tmp_path: Path) -> None:
    lab = open_lab(tmp_path)
    register(lab.database, lab.files, FOLDER)
    rows, total = catalogue.models(lab.database)
    assert [row.id for row in rows] == [shipped.id for shipped in BOX]
    assert total == len(BOX)
    x, y = _test_images()
    of_photographs = {shipped.id for shipped in OF_PHOTOGRAPHS}
    for row in (row for row in rows if row.id in of_photographs):
        with torch.no_grad():
            predicted = load_model(lab.files, row)(x).argmax(dim=1)
        clean = next(one for one in row.card["test"] if one["measure"] == "clean")
        # 500 images against those of the card: seven points are over three standard errors.
        assert abs((predicted == y).float().mean().item() - clean["accuracy"]["value"]) < 0.07


def _test_images() -> tuple[torch.Tensor, torch.Tensor]:
    """500 real test images (N, 3, 32, 32) in [0, 1], and their classes (N,)."""
    with zipfile.ZipFile(MINI) as archive:
        names = sorted(n for n in archive.namelist() if "/test/" in n and n.endswith(".jpg"))
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(n)))) for n in names])
    labels = [CLASSES.index(name.split("/")[-2]) for name in names]
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor(labels)


def test_drawn_images_are_seen_and_attacked_as_the_cards_of_their_models_say(
    tmp_path: Path,
) -> None:
    lab = open_lab(tmp_path)
    register(lab.database, lab.files, FOLDER)
    rows = catalogue.models_by_id(lab.database, [one.id for one in OF_SHAPES])
    models = {one.slug: load_model(lab.files, rows[one.id]) for one in OF_SHAPES}
    drawn_images = draw_shapes(
        tmp_path / "drawn", image_size=32, train_per_class=2, test_per_class=30, seed=1,
        progress=lambda done, of: None,
    )  # fmt: skip
    x = _batch(drawn_images.arrays["test_images"])
    y = torch.from_numpy(drawn_images.arrays["test_labels"].copy())
    left = {}
    for shipped in OF_SHAPES:
        model, card = models[shipped.slug], read_card(shipped)
        says = {one.measure: one.accuracy.value for one in card.test}
        x_adv = pgd(
            model, x, y, eps=EPSILON, step_size=EPSILON / 4, steps=20, norm="linf",
            targeted=False, random_start=True, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        with torch.no_grad():
            clean, robust = (
                (model(z).argmax(dim=1) == y).float().mean().item() for z in (x, x_adv)
            )
        # 300 images that nothing was trained on: ten points are over three standard errors.
        assert abs(clean - says["clean"]) < 0.1
        assert abs(robust - says["PGD-20"]) < 0.1
        left[shipped.slug] = robust
    assert left["shapes-agkd-bml"] > left["shapes-clean"] + 0.1


def test_the_samples_are_images_that_the_lab_draws(tmp_path: Path) -> None:
    chosen = ImportParams.model_validate(_import(FOLDER / "jobs" / "shapes"))
    images = draw_shapes(
        tmp_path / "drawn", image_size=32, train_per_class=chosen.train_per_class,
        test_per_class=chosen.train_per_class // 5, seed=chosen.seed,
        progress=lambda done, of: None,
    )  # fmt: skip
    assert images.class_names == drawn()
    for label, name in enumerate(drawn()):
        first = np.flatnonzero(images.arrays["test_labels"] == label)[0]
        with Image.open(DRAWN / f"{name}.png") as sample:
            shown = np.asarray(sample).astype(int)
        # Another processor may round otherwise.
        assert np.abs(shown - images.arrays["test_images"][first]).max() <= 1


def test_the_showcase_is_that_of_the_default_pair_and_of_all_models() -> None:
    pair = [shipped.weights_sha256 for shipped in default_pair(FOLDER)]
    for shown in SHOWN.pictures:
        assert [model.sha256 for model in shown.models] == pair
        assert shown.holds(EPSILON)
    assert len({shown.picture.label for shown in SHOWN.pictures}) >= 6
    facts = SHOWN.showcase
    assert (facts.epsilon, facts.tried) == (EPSILON, len(pool()))
    assert len(SHOWN.pictures) <= facts.held <= facts.tried
    of_curves = {model.sha256 for model in facts.curves.models}
    assert of_curves == {one.weights_sha256 for one in OF_PHOTOGRAPHS}
    assert facts.curves.images >= 200
    assert facts.curves.dataset.sha256 == read_card(OF_PHOTOGRAPHS[0]).dataset.sha256


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Classifier]:
    """Teacher and student of the showcase, from the weights in the box."""
    lab = open_lab(tmp_path_factory.mktemp("pair"))
    register(lab.database, lab.files, FOLDER)
    rows = catalogue.models_by_id(lab.database, [one.id for one in default_pair(FOLDER)])
    return [load_model(lab.files, rows[one.id]) for one in default_pair(FOLDER)]


@pytest.mark.parametrize("shown", SHOWN.pictures, ids=lambda shown: shown.picture.name)
def test_the_weights_say_what_the_showcase_says(
    shown: ShowcasePicture, pair: list[Classifier]
) -> None:
    clean = decode_image(picture_file(shown.picture.name).read_bytes(), image_size=32)
    assert (clean == _pixels(shown.clean_png)).all()
    for model, view in zip(pair, shown.views, strict=True):
        changes = _pixels(view.changes_png).reshape(-1, *clean.shape)  # (B, H, W, 3)
        pictures = clean + changes - np.uint8(128)  # modulo 256
        largest = np.abs(pictures.astype(int) - clean).reshape(len(pictures), -1).max(axis=1)
        assert (largest <= 255 * np.array(shown.budgets) + 0.5).all()
        with torch.no_grad():
            outputs = model.outputs(_batch(pictures))
        confidence, top = outputs.logits.softmax(dim=1).max(dim=1)
        assert top.tolist() == list(view.top)
        assert confidence.tolist() == pytest.approx(view.confidence, abs=1e-3)
        maps = _pixels(view.attention.png).reshape(-1, view.attention.height, view.attention.width)
        assert np.abs(255 * attention_map(outputs.features).numpy() - maps).max() < 1.5


def test_another_attack_breaks_the_teacher_and_not_the_student(pair: list[Classifier]) -> None:
    pictures = np.stack([_pixels(shown.clean_png) for shown in SHOWN.pictures])
    x = _batch(pictures)
    y = torch.tensor([CLASSES.index(shown.picture.label) for shown in SHOWN.pictures])
    right = []
    for model in pair:
        with torch.no_grad():
            assert (model(x).argmax(dim=1) == y).all()
        x_adv = pgd(
            model, x, y, eps=EPSILON, step_size=EPSILON / 4, steps=10, norm="linf",
            targeted=False, random_start=True, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        with torch.no_grad():
            right.append(model(x_adv).argmax(dim=1) == y)
    teacher, student = right
    assert not teacher.any()
    assert student.all()


def _pixels(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Of a PNG in base64; of one with a palette, the numbers of its colours."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def _batch(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> torch.Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255
