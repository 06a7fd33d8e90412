"""Does each path of the lab run on this device? Each is a small job of a lab of its own."""

from __future__ import annotations

import gc
import hashlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from app.contracts.attacks import Method, Norm
from app.contracts.events import EVENT, LogEvent, LogLevel
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    Attack,
    EvaluateParams,
    ExplainParams,
    ImportParams,
    Params,
    Recipe,
    TrainParams,
)
from app.contracts.results import EvaluationResult
from app.contracts.units import from_255
from app.settings import Settings
from app.store import catalogue, job_queries, jobs
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow, UploadRow
from bench.gpu import Tell
from bench.steps import LabStep, Setting
from worker import registry
from worker.job_run import run_job
from worker.jobs.context import WorkerLab
from worker.jobs.replaying import WARM_UPS, aside, recorded
from worker.models import build, frozen

_PICTURE = Path(__file__).resolve().parents[2] / "static" / "examples" / "cat.jpg"
_IMAGES, _SMALL = 20, from_255(0.1)
"""Of an evaluation, and a budget that leaves the next attack something to break."""
_ROOM = 2 * 2**30
"""Further bytes of the device, in which 176 images of the largest network do not fit."""
_UNDER_THEIR_OWN = {Method.NOISE, Method.TRANSFER}
"""Attacks that every evaluation runs, and that which needs a source."""


class _Errors(NamedTuple):
    """Relative, in the Euclidean norm."""

    logits: float
    gradients: float

    def are_within(self, limits: _Errors) -> bool:
        return self.logits < limits.logits and self.gradients < limits.gradients


_FAR = {"float32": _Errors(1e-4, 1e-2), "bfloat16": _Errors(0.05, 0.3)}
"""From float64. Gradients jump where a ReLU's input is near zero; logits tell float32 from TF32."""

Check = Callable[[], str]
"""Raises what is wrong; else a word about what it found."""


def run(tell: Tell, seconds: float) -> None:
    """Every check in turn, as long as there is time; a failure is told and stops none."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        bench = Bench(Path(folder))
        tell("device", {"text": f"{bench.device}, torch {torch.__version__}"})
        for name, check in bench.checks():
            begin = time.monotonic()
            if begin > end - 1.0:
                tell(name, {"skipped": True, "text": "skipped: no time left"})
                continue
            try:
                said: dict[str, Any] = {"text": check()}
            except Exception as error:
                said = {"failed": True, "text": f"FAILED: {type(error).__name__}: {error}"[:300]}
            took = round(time.monotonic() - begin, 2)
            tell(name, said | {"seconds": took, "text": f"{said['text']} ({took:.1f} s)"})


class Bench:
    """A lab in a folder, and the models that the checks train in it."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(data_dir=folder, shipped_dir=folder / "none", database_url=None)
        files, database = Files(folder), Database(settings.sql_url)
        files.prepare()
        database.migrate()
        self._lab = WorkerLab(settings, database, files, ring=lambda _: None)
        self._models: dict[str, str] = {}
        device = registry.device()
        self._cuda = device.type == "cuda"
        self.device = registry.environment(0).device

    def checks(self) -> Iterator[tuple[str, Check]]:
        """What is cheap and wanted first."""
        yield "import", self._import
        yield "folded copy", self._folded
        yield "recorded step", self._recorded
        for recipe in Recipe:
            yield f"recipe {recipe}", partial(self._recipe, recipe)
        yield "resume", self._resume
        yield "live", self._live
        yield "memory", self._memory
        yield "pictures", self._pictures
        for method in Method:
            if method not in (*_UNDER_THEIR_OWN, Method.AUTOATTACK):
                yield f"attack {method}", partial(self._attack, method)
        yield "attack transfer", lambda: self._attack(Method.TRANSFER)
        yield "attacks in L2", lambda: self._attacks_in(Norm.L2)
        yield "attacks in L1", lambda: self._attacks_in(Norm.L1)
        yield "attack autoattack", lambda: self._attack(Method.AUTOATTACK)

    def _job(self, kind: JobKind, params: Params, stopping: Callable[[], bool] = bool) -> JobRow:
        row = jobs.queued(kind, kind, params)
        jobs.add(self._lab.database, row)
        return self._go(row.id, stopping)

    def _go(self, job_id: str, stopping: Callable[[], bool] = bool) -> JobRow:
        run_job(self._lab, job_id, stopping=stopping)
        done = job_queries.get(self._lab.database, job_id)
        assert done is not None
        return done

    def _succeed(self, kind: JobKind, params: Params) -> JobRow:
        return _succeeded(self._job(kind, params))

    def _import(self) -> str:
        self._succeed(JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=20))
        self._dataset = catalogue.datasets(self._lab.database)[0].id
        return "drawn"

    def _training(self, recipe: Recipe, name: str | None = None, **changes: Any) -> TrainParams:
        robust = recipe.record.robust_teacher
        teacher = None if recipe is Recipe.CLEAN else self._models["pgd_at" if robust else "clean"]
        small = {"architecture": "wrn-10-1", "epochs": 1, "batch_size": 32, "steps": 2}
        given = {"recipe": recipe, "dataset": self._dataset, "teacher": teacher, **small, **changes}
        return TrainParams.model_validate(
            {"name": name or recipe.value, "precision": "auto", **given}
        )

    def _recipe(self, recipe: Recipe) -> str:
        epochs = 8 if recipe is Recipe.CLEAN else 1
        row = self._succeed(JobKind.TRAIN, self._training(recipe, epochs=epochs))
        model = self._newest()
        self._models[recipe.value] = model.id
        events = job_queries.events_after(self._lab.database, row.id, 0, limit=1000)
        told = [EVENT.validate_python(event.body) for event in events]
        warned = [e.text for e in told if isinstance(e, LogEvent) and e.level is LogLevel.WARNING]
        return " ".join([f"trained in {model.card['precision']}.", *warned])

    def _newest(self) -> Any:
        return max(catalogue.models(self._lab.database)[0], key=lambda row: row.created_at)

    def _resume(self) -> str:
        """Interrupted in its second epoch, and gone on with, against one that ran through."""
        wanted = {"epochs": 2, "ema_decay": 0.5, "precision": "float32"}
        whole = self._training(Recipe.AGKD_BML, "Whole", **wanted)
        self._succeed(JobKind.TRAIN, whole)
        expected = self._weights(self._newest().id)
        asked = itertools.count()
        parts = self._training(Recipe.AGKD_BML, "In parts", **wanted)
        row = self._job(JobKind.TRAIN, parts, stopping=lambda: next(asked) > 6)
        if row.status != JobStatus.QUEUED:
            raise RuntimeError(f"it was {row.status} when it should have been interrupted")
        _succeeded(self._go(row.id))
        found = self._weights(self._newest().id)
        most = max(float((found[n].double() - w.double()).abs().max()) for n, w in expected.items())
        return (
            "went on, and to the same weights"
            if most == 0
            else f"went on; weights {most:.0e} apart"
        )

    def _weights(self, model_id: str) -> dict[str, Tensor]:
        return safetensors.torch.load_file(self._lab.files.weights(model_id))

    def _live(self) -> str:
        upload = hashlib.sha256(_PICTURE.read_bytes()).hexdigest()[:32]
        shutil.copyfile(_PICTURE, self._lab.files.upload(upload))
        row = UploadRow(
            id=upload, filename="cat.jpg", sha256="", size_bytes=0, created_at=time.time()
        )
        catalogue.add_upload(self._lab.database, row)
        models = (self._models["clean"], self._models["agkd_bml"])
        params = ExplainParams(upload=upload, models=models)
        self._succeed(JobKind.EXPLAIN, params)
        begin = time.monotonic()
        self._succeed(JobKind.EXPLAIN, params)
        return f"{time.monotonic() - begin:.2f} s, warm"

    def _memory(self) -> str:
        """A step that does not fit is refused with the batch size that would."""
        if not self._cuda:
            return "only on a GPU"
        params = self._training(
            Recipe.AGKD_BML, "Too large", architecture="wrn-28-10", batch_size=176,
            start_from_teacher=False,
        )  # fmt: skip
        gc.collect()
        torch.cuda.empty_cache()
        room = torch.cuda.memory_reserved() + _ROOM
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, room / whole))
        try:
            row = self._job(JobKind.TRAIN, params)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        if row.failure is None or "batch size of at most" not in row.failure["hint"]:
            raise RuntimeError(f"{row.status}: {row.failure}")
        return f"refused: {row.failure['hint']}"

    def _evaluate(self, **changes: Any) -> EvaluateParams:
        bare = {"images": _IMAGES, "epsilons": (), "step_counts": (), "minimal_epsilon": False,
                "attention": False, "queries": 50, "attack": Attack(steps=3)}  # fmt: skip
        bare["epsilon"] = _SMALL
        given = bare | {"models": (self._models["clean"],), "dataset": self._dataset} | changes
        return EvaluateParams.model_validate(given)

    def _attack(self, method: Method) -> str:
        if Norm.LINF not in method.record.norms:
            return "not in L∞: see L2"
        if method.record.iterative:
            params = self._evaluate(attack=Attack(method=method, steps=3), epsilons=(0.0, _SMALL))
        elif method.record.needs_source:
            params = self._evaluate(further=(method,), sources=(self._models["pgd_at"],))
        else:
            params = self._evaluate(further=(method,))
        return self._attacked(params)

    def _attacked(self, params: EvaluateParams) -> str:
        """Over how few images each of the attacks ran. Raises RuntimeError where one saw none."""
        row = self._succeed(JobKind.EVALUATE, params)
        file = self._lab.files.result(row.result_name)
        result = EvaluationResult.model_validate_json(file.read_bytes())
        rows = result.models[0].attacks
        least = min(row.attacked for row in rows if row.method is not Method.NOISE)
        if least == 0:
            raise RuntimeError("no image was left to attack")
        return f"{len(rows)} attacks on at least {least} images"

    def _attacks_in(self, norm: Norm) -> str:
        """All but those that take seconds, which run in L∞."""
        found = [
            method for method in Method
            if norm in method.record.norms
            and method not in (Method.AUTOATTACK, *_UNDER_THEIR_OWN)
        ]  # fmt: skip
        first = Attack(method=Method.APGD_CE, norm=norm, steps=3)
        further = tuple(method for method in found if method is not Method.APGD_CE)
        return self._attacked(self._evaluate(attack=first, further=further))

    def _pictures(self) -> str:
        """Curves, corruptions, attention, features and the minimal budget."""
        params = self._evaluate(
            models=(self._models["clean"], self._models["agkd_bml"]), images=20,
            epsilons=(0.0, 0.01, 0.03), step_counts=(1, 3), minimal_epsilon=True, attention=True,
            corruptions=True, embedding=True,
        )  # fmt: skip
        self._succeed(JobKind.EVALUATE, params)
        return "ran"

    def _folded(self) -> str:
        """Logits and gradients of the copy with folded batch norms, beside those in float64."""
        torch.manual_seed(0)
        model = build("wrn-16-4", num_classes=10, mean=[0.5] * 3, std=[0.25] * 3)
        model.to(registry.device()).to(memory_format=torch.channels_last)
        x = torch.rand(16, 3, 32, 32, device=registry.device())
        model.train()(x)  # so that the batch norms have something to fold
        model.eval().requires_grad_(False)
        fast = {
            "float32": frozen(model, dtype=None),
            "bfloat16": frozen(model, dtype=torch.bfloat16),
        }
        found = {name: _seen(call, x) for name, call in fast.items()}
        exact = _seen(model.double(), x.double())
        errors = {name: _apart(seen, exact) for name, seen in found.items()}
        text = ", ".join(
            f"{name}: logits {of.logits:.0e}, gradients {of.gradients:.0e} from float64"
            for name, of in errors.items()
        )
        if not all(of.are_within(_FAR[name]) for name, of in errors.items()):
            raise RuntimeError(f"too far: {text}")
        return text

    def _recorded(self) -> str:
        """A step replayed as a CUDA graph takes the same random starts to the same losses."""
        if not self._cuda:
            return "only on a GPU"
        setting = Setting(images=64, steps=3, device="cuda")
        usual, other = LabStep(setting, torch.bfloat16), LabStep(setting, torch.bfloat16)
        for seed in range(WARM_UPS):
            usual(seed)
            other.generator.manual_seed(seed)
            aside(other.work)
        replay = recorded(other.work, [other.generator])
        most = 0.0
        for seed in range(WARM_UPS, WARM_UPS + 3):
            expected = usual(seed)["loss"].item()
            other.generator.manual_seed(seed)
            most = max(most, abs(replay()["loss"].item() - expected) / abs(expected))
        if not most < 0.02:
            raise RuntimeError(f"its loss is {most:.1%} apart")
        return f"losses {most:.0e} apart"


def _succeeded(row: JobRow) -> JobRow:
    if row.status != JobStatus.SUCCEEDED:
        raise RuntimeError(f"{row.status}: {row.failure}")
    return row


def _seen(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = call(x)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    return logits.detach().double(), gradient.double()


def _apart(found: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> _Errors:
    pairs = zip(found, exact, strict=True)
    return _Errors(*(float((a - b).norm() / b.norm()) for a, b in pairs))
