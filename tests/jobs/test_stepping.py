"""A step waits for nothing, and is the same when it is recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from app.contracts.events import LogLevel
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from tests.jobs.runs import run
from tests.jobs.teams import images_of, network, params_of
from tests.jobs.trainings import Workshop, lines, open_workshop, train
from worker.jobs import replaying
from worker.jobs.stepping import Stepping
from worker.jobs.training_state import TrainingState
from worker.recipes import Networks
from worker.team import ALONE, Share, Team

pytestmark = pytest.mark.trains

_WAITS = {
    "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero",
    "aten::masked_select", "aten::unique_dim", "aten::_unique2", "aten::repeat_interleave",
}  # fmt: skip
"""What cannot go on before the device has answered: numbers and sizes that Python has to know."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    torch.set_num_threads(1)
    return open_workshop(tmp_path_factory.mktemp("lab"))


_BRINGS = {"cpu", "numpy", "tolist", "item", "__bool__", "__int__", "__float__", "__index__"}
"""Methods of a tensor that bring it to the host."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations that wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        name = func._schema.name
        by_mask = name == "aten::index" and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in _WAITS or by_mask:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


class _Listener(TorchFunctionMode):  # type: ignore[no-untyped-call]
    """Notes the methods that bring a tensor to the host, where it is already."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in _BRINGS:
            self._waits.append(func.__name__)
        return func(*args, **(kwargs or {}))


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[_Watch]:
    watches: list[_Watch] = []
    descend = Stepping._descend

    def watched(self: Stepping, where: torch.Tensor, perturbs: bool, share: Share) -> Any:
        watches.append(_Watch())
        with watches[-1], _Listener(watches[-1].waits):
            return descend(self, where, perturbs, share)

    monkeypatch.setattr(Stepping, "_descend", watched)
    return watches


def _seen_waiting(work: Callable[[], object]) -> list[str]:
    with _Watch() as watch, _Listener(watch.waits):
        work()
    return watch.waits


def test_the_watch_sees_what_waits() -> None:
    x = torch.ones(3)
    assert _seen_waiting(lambda: x.sum().item())
    assert _seen_waiting(lambda: bool(x.any()))
    assert _seen_waiting(lambda: x[x > 0])
    assert _seen_waiting(lambda: torch.nonzero(x))
    assert _seen_waiting(lambda: x.cpu())
    assert _seen_waiting(lambda: x.tolist())
    assert not _seen_waiting(lambda: x[torch.tensor([0, 1])] + 1)


@pytest.mark.parametrize("recipe", Recipe)
def test_no_step_waits_for_the_device(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    watches = _watched(monkeypatch)
    changes = {} if recipe is Recipe.CLEAN else {"teacher": shop.teacher, "awp_gamma": 0.005}
    params = shop.params(recipe=recipe, epochs=1, **changes)
    job = run(shop.lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.SUCCEEDED, job.failure
    assert len(watches) == 3
    assert all(watch.operations > 50 for watch in watches)
    assert [watch.waits for watch in watches] == [[], [], []]


def _record(monkeypatch: pytest.MonkeyPatch, recorded: Callable[..., Any]) -> None:
    """As on a GPU, but for the recording itself."""
    monkeypatch.setattr(replaying, "is_possible", lambda device: True)
    monkeypatch.setattr(replaying, "aside", lambda work: work())
    monkeypatch.setattr(replaying, "recorded", recorded)


@pytest.mark.slow
@pytest.mark.parametrize("awp_gamma", [0.0, 0.005])
def test_replayed_steps_lead_to_the_same_weights(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, awp_gamma: float
) -> None:
    """Each epoch has five whole batches and a smaller one, which is not replayed."""
    params = shop.student(epochs=2, batch_size=32, awp_gamma=awp_gamma, awp_warmup=1)
    expected = train(shop.lab, params).sha256
    replays: list[int] = []

    def recorded(work: Callable[[], Any], generators: Iterable[torch.Generator]) -> Any:
        assert len(list(generators)) == 3
        replays.append(0)

        def replay(number: int = len(replays) - 1) -> Any:
            replays[number] += 1
            return work()

        return replay

    _record(monkeypatch, recorded)
    assert train(shop.lab, params).sha256 == expected
    # After three to warm up; with AWP the second epoch's step is another one.
    assert replays == ([2, 2] if awp_gamma else [7])


@pytest.mark.slow
def test_what_cannot_be_recorded_is_said_and_done_as_ever(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = shop.student(epochs=1, batch_size=32)
    expected = train(shop.lab, params).sha256
    tried = []

    def refused(work: Callable[[], Any], generators: Iterable[torch.Generator]) -> Any:
        tried.append(work)
        raise RuntimeError("operation not permitted when stream is capturing")

    _record(monkeypatch, refused)
    job = run(shop.lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.SUCCEEDED, job.failure
    assert len(tried) == 1
    (line,) = lines(shop.lab, job.id, LogLevel.WARNING)
    assert "not recorded as a CUDA graph, and slower: operation not permitted" in line
    assert train(shop.lab, params).sha256 == expected


def test_several_processes_say_that_they_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _record(monkeypatch, lambda work, generators: work)
    params = params_of(recipe="clean", processes=2)
    model, train, said = network(0), images_of(5, 21), list[str]()
    networks = Networks(student=model, teacher=None, dtype=None)
    for team in (ALONE, Team(0, 2)):
        state = TrainingState.start(model, params, 21)
        Stepping(params, state, train, networks, said.append, team)
    (line,) = said
    assert "not recorded as a CUDA graph, and slower: several processes" in line


def test_memory_that_ends_while_recording_is_no_reason_to_go_on(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(work: Callable[[], Any], generators: Iterable[torch.Generator]) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    _record(monkeypatch, refused)
    job = run(shop.lab, JobKind.TRAIN, shop.student(epochs=1, batch_size=32))
    assert job.failure is not None
    assert "not enough for a step with 32 images" in job.failure["detail"]
