"""The models in the box (`LAB_SHIPPED_DIR`, by default the folder `models/` of the code).

    python -m worker.shipping pack MODEL SLUG
    python -m worker.shipping measure JOB...
    python -m worker.shipping repeat ARCHIVE [--seconds 540] [--jobs models/jobs/gpu]
    python -m worker.shipping repeat --jobs models/jobs/shapes
    python -m worker.shipping showcase ARCHIVE
    python -m worker.shipping samples [--jobs models/jobs/shapes]

`pack` takes a model of the lab in `LAB_DATA_DIR` into the box as SLUG: a teacher before its
students. `measure` writes what evaluations of that lab found about shipped weights into their
cards; `python -m worker evaluate` knows the shipped models by the ids that `pack` prints.
`repeat` trains, packs and measures all of them again from an archive of class folders, by the
jobs in the box's folder `jobs/`. With `--seconds` it measures how fast this machine trains, takes
as many of the jobs' epochs as fit, and ends with code 124 when the time is over before all is done:
the same command goes on then. `showcase` chooses anew what a new lab shows of the models in the
box: it measures their curves, and attacks the pictures of `static/examples`. `samples` draws one
image of each class of `shapes` into `static/drawn`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import LabError
from app.settings import settings
from app.store.db import Database
from app.store.files import Files
from worker.jobs.context import WorkerLab
from worker.shipping.packing import measure, pack
from worker.shipping.repeating import TimeIsUp, draw_samples, repeat, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for; 0 when it is done."""
    options = _parser().parse_args(arguments)
    facts = settings()
    files, database = Files(facts.data_dir), Database(facts.sql_url)
    lab = WorkerLab(facts, database, files, ring=lambda _: None)
    folder = facts.shipped_dir
    try:
        files.prepare()
        database.migrate()
        if options.command == "pack":
            shipped = pack(database, files, options.model, options.slug, folder)
            print(shipped.id)
        elif options.command == "measure":
            for job in options.job:
                print(*measure(database, files, job, folder))
        elif options.command == "repeat":
            where = options.jobs or folder / "jobs"
            repeat(lab, options.archive, where, folder, seconds=options.seconds)
        elif options.command == "samples":
            print(*draw_samples(lab, options.jobs or folder / "jobs" / "shapes"))
        else:
            found = show(lab, options.archive, options.jobs or folder / "jobs", folder)
            print(
                f"{found.held} of {found.tried} pictures hold; shown: {', '.join(found.pictures)}"
            )
    except TimeIsUp:
        print("The time is over; the same command goes on.", file=sys.stderr)
        return 124
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        return 130
    except (LabError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.shipping",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("pack", help="take a model into the box")
    command.add_argument("model", help="its id in the lab")
    command.add_argument("slug", help="its name in the box: lower case, digits and hyphens")
    command = commands.add_parser("measure", help="write figures into the cards")
    command.add_argument("job", nargs="+", help="the id of a finished evaluation")
    for name, help in (
        ("repeat", "train and measure all of them again"),
        ("showcase", "choose anew what a new lab shows of them"),
    ):
        command = commands.add_parser(name, help=help)
        command.add_argument(
            "archive", type=Path, nargs="?", help="of class folders, where the jobs draw no images"
        )
        command.add_argument("--jobs", type=Path, help="the folder of the jobs, if not the box's")
        if name == "repeat":
            command.add_argument("--seconds", type=float, help="how long it may take")
    command = commands.add_parser("samples", help="draw an image of each class of shapes")
    command.add_argument("--jobs", type=Path, help="of the drawing, if not the box's of shapes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
