"""A lab that is stopped in the middle of a job goes on with it when it starts again."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.lab_client import LabClient, accepted, after_epoch
from tests.plugins.lab_process import LabProcess


def test_a_stopped_lab_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = LabProcess(tmp_path / "data")
    try:
        job = _start_a_long_job(LabClient(first.wait_ready()))
        assert first.stop() == 0
        second = LabProcess(tmp_path / "data")
        try:
            api = LabClient(second.wait_ready())
            done = api.wait(job)
            log, result = api.log(job), api.result(job)
            api.http.close()
            assert second.stop() == 0
        finally:
            second.clean_up()
    finally:
        first.clean_up()
    assert (done["status"], done["attempt"]) == ("succeeded", 1)
    assert result["card"]["params"]["epochs"] == 6
    assert any(line.startswith("Going on after") for line in log)


def _start_a_long_job(api: LabClient) -> str:
    """Returns its id once its first epoch is over."""
    drawn = {"name": "Shapes", "source": "shapes", "train_per_class": "60"}
    dataset = api.result(accepted(api.http.post("/api/datasets", data=drawn))["id"])["dataset"]
    job = api.submit(
        "train", name="Patient", dataset=dataset, architecture="wrn-10-1", epochs=6, batch_size=32
    )
    api.wait_for(job["id"], after_epoch(1), "a first epoch")
    api.http.close()
    return str(job["id"])
