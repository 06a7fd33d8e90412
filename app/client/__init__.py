"""The lab from Python: submit jobs, watch them, fetch and compare what they leave.

    from app.client import Lab

    with Lab() as lab:
        lab.import_dataset(source="shapes", name="Shapes").wait(progress=True)
        lab.train("Teacher", dataset="Shapes", epochs=3).wait(progress=True)
        job = lab.evaluate(models=["Teacher"], dataset="Shapes", further=["autoattack"])
        print(job.result().models[0].robust)

The same from a shell: `python -m app.client --help`.
"""

from app.client.errors import LabError
from app.client.gate import Asked
from app.client.job import Job
from app.client.lab import Lab

__all__ = ["Asked", "Job", "Lab", "LabError"]
