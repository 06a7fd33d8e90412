"""Hosts of one machine, and a lab on ten of them while some of them fail."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.hosts import network
from bench.hosts.network import Network
from tests.plugins.lab_process import PATIENCE_S, ROOT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.namespaces]
BENCH = [sys.executable, "-m", "bench.hosts"]
ASK = """
import sys, time, urllib.request
begun = time.monotonic()
urllib.request.urlopen(f"http://{sys.argv[1]}:8080/", timeout=float(sys.argv[2])).read()
print(time.monotonic() - begun)
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Network]:
    """Two, one of which serves its folder."""
    try:
        made = Network(["near", "far"])
        serve = [sys.executable, "-m", "http.server", "8080"]
        with subprocess.Popen([*made.within("far", tmp_path / "said"), *serve], cwd=tmp_path):
            wait_until(lambda: answers_after(made, 5.0) is not None, "the far one answers")
            yield made
            network.clear()
        assert not network.left()
    finally:
        network.clear()


def answers_after(hosts: Network, within_s: float) -> float | None:
    """Seconds; None where there is no answer in time."""
    asked = [sys.executable, "-c", ASK, hosts.address("far"), str(within_s)]
    try:
        return float(hosts.ask("near", *asked))
    except subprocess.CalledProcessError:
        return None


def test_who_is_cut_off_is_not_refused_but_not_heard(hosts: Network) -> None:
    hosts.cut("far")
    begun = time.monotonic()
    assert answers_after(hosts, 2.0) is None
    assert time.monotonic() - begun >= 2.0
    hosts.heal("far")
    assert answers_after(hosts, 60.0) is not None


def test_a_long_wire_takes_its_time_each_way(hosts: Network) -> None:
    hosts.slow("far", 0.2, 0.0)
    slow = answers_after(hosts, 60.0)
    assert slow is not None
    assert slow > 2 * 2 * 0.2, "a connection, then a question"
    hosts.fast("far")
    assert answers_after(hosts, 60.0) is not None
    hosts.slow("far", 0.0, 1.0)
    assert answers_after(hosts, 2.0) is None, "all of it is lost"
    hosts.fast("far")


def test_a_host_without_power_comes_back_empty(hosts: Network) -> None:
    hosts.lose("far")
    assert answers_after(hosts, 2.0) is None
    hosts.add("far")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        hosts.ask("near", sys.executable, "-c", ASK, hosts.address("far"), "60")
    assert "refused" in refused.value.stderr


def test_whoever_is_stopped_goes_on(hosts: Network) -> None:
    hosts.signal("far", signal.SIGSTOP)
    assert answers_after(hosts, 2.0) is None
    hosts.signal("far", signal.SIGCONT)
    assert answers_after(hosts, 60.0) is not None


def ran(*options: str) -> subprocess.CompletedProcess[str]:
    """The bench, once it is over."""
    return subprocess.run([*BENCH, *options], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.containers
@pytest.mark.nginx
@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.storage
def test_faults_of_hosts_change_nothing_that_the_lab_measures() -> None:
    done = ran("--short")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS hosts: 3 of 3 faults" in done.stdout
    assert not network.left()


@pytest.mark.containers
@pytest.mark.nginx
@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.storage
def test_an_upgrade_of_every_web_and_worker_changes_nothing_either() -> None:
    done = ran("--upgrade", "--short")
    assert " upgrade: 8 processes replaced" in done.stdout, done.stdout + done.stderr
    # A job may end between the look at it and the stop of its worker.
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong: ")]
    assert not [line for line in wrong if "in the midst" not in line and "went on" not in line]
    assert not network.left()


@pytest.mark.containers
def test_what_a_killed_run_left_can_be_removed() -> None:
    with subprocess.Popen([*BENCH, "--short"], cwd=ROOT, stderr=subprocess.DEVNULL) as running:
        its = f"lab-hosts-{running.pid}-"
        wait_until(lambda: network.left(its), "hosts", PATIENCE_S)
        subprocess.run([*BENCH, "--clean"], cwd=ROOT, check=True)
        assert network.left(its), "not those of a run that goes on"
        running.kill()
    subprocess.run([*BENCH, "--clean"], cwd=ROOT, check=True)
    assert not network.left(its)
