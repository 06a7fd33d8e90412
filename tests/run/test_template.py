"""Workers as forks: each a process of its own that has torch and nothing of another worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.run.processes import kill_group
from app.run.template import Template, Worker
from tests.plugins.lab_process import processes, wait_until

_MODULE = """
import json, os, signal, sys, threading, time
import torch
print(json.dumps({
    "arguments": sys.argv[1:], "variable": os.environ["OF_ONE"], "other": os.environ["OF_ALL"],
    "leads": os.getpid() == os.getsid(0), "input": sys.stdin.read(),
    "threads": threading.active_count(), "cuda": torch.cuda.is_initialized(),
    "optimisers": "torch._dynamo" in sys.modules, "own": "worker.celery_app" in sys.modules,
    "settings": __import__("app.settings").settings.settings.cache_info().currsize,
    "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}), flush=True)
time.sleep(600)
"""


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Template]:
    (tmp_path / "a_worker.py").write_text(_MODULE)
    found = Template(os.environ | {"PYTHONPATH": str(tmp_path), "OF_ALL": "all"})
    found.start()
    yield found
    if found.pid is not None:
        kill_group(found.pid)
        found.forget()


def test_a_worker_is_a_process_of_its_own_and_starts_again(
    template: Template, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def says(text: str) -> bool:
        said.extend(capfd.readouterr().err.splitlines())
        return any(text in line for line in said)

    worker = Worker("one", ["-m", "a_worker", "-Q", "x"], {"OF_ONE": "one"}, template)
    assert template.ready() or not worker.tend(), "it waits for the template"
    wait_until(worker.tend, "its start", 60)
    wait_until(lambda: says("arguments"), "what it is", 60)
    (line,) = [line for line in said if "arguments" in line]
    assert json.loads(line.removeprefix("[one] ")) == {
        "arguments": ["-Q", "x"], "variable": "one", "other": "all", "leads": True, "input": "",
        "threads": 1, "cuda": False, "optimisers": True, "own": False, "settings": 0,
        "child": True,
    }  # fmt: skip
    assert worker.pid is not None
    assert processes()[worker.pid].name == "one"
    assert not worker.ended()
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(worker.tend, "its end is noticed", 60)
    assert says("one ended (signal 15); it starts again in 1 s")
    wait_until(worker.tend, "its second start", 60)
    _end(worker)


def test_a_worker_outlives_its_template(template: Template) -> None:
    worker = Worker("one", ["-m", "a_worker"], {"OF_ONE": "one"}, template)
    wait_until(worker.tend, "its start", 60)
    assert template.pid is not None
    assert worker.pid is not None
    os.kill(template.pid, signal.SIGKILL)
    wait_until(template.ended, "the template's end", 60)
    wait_until(lambda: not template.ready(), "the line's end", 60)
    assert not worker.ended()
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(worker.ended, "its end", 60)


def _end(worker: Worker) -> None:
    assert worker.pid is not None
    kill_group(worker.pid)
    wait_until(worker.ended, "its end", 60)
    worker.forget()
