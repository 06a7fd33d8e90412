"""The command line: what can be typed, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.client import commands
from app.client.assignments import value_of
from app.client.commands import PROGRAM, Exit
from app.client.errors import LabError
from app.client.lab import DEFAULT_URL, Lab
from app.client.terminal import on_one_line
from app.contracts.accounts import Role
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import TRAINING_PRESETS, Design
from app.contracts.placement import Priority

_ABOUT = f"""\
Submit jobs to a lab, watch them, and fetch, compare and repeat what they measured.

examples:
  {PROGRAM} import images.tar.xz --name Photos
  {PROGRAM} import --name Shapes --source shapes
  {PROGRAM} import-model net.pt --name Net --dataset Photos --architecture timm:resnet18
  {PROGRAM} train Teacher --dataset Photos --epochs 3
  {PROGRAM} train Student --dataset Photos --teacher Teacher --set steps=3
  {PROGRAM} evaluate Teacher Student --dataset Photos --epsilon 8/255 --further autoattack
  {PROGRAM} evaluate Student --dataset Photos --set attack.steps=50 --set epsilons=0/255,4/255
  {PROGRAM} ablation Nets --dataset Photos --teacher Teacher --recipes pgd_at agkd_bml --seeds 0 1
  {PROGRAM} table 5e0c7d21
  {PROGRAM} jobs
  {PROGRAM} workers --drain train@gpu-box
  {PROGRAM} fetch 3f2a9c1e -o report.html
  {PROGRAM} compare 3f2a9c1e 8d41b7a0
  {PROGRAM} gate 3f2a9c1e --robust-at-least 0.45 --verdict green --junit gate.xml
  {PROGRAM} rerun evaluation.json

Models and datasets are given by name or id, jobs by the beginning of their id.

exit codes: 0 it worked, and a job that was waited for succeeded; 1 the job failed or was
cancelled, or a gate does not hold; 2 the call was wrong, refused or not answered; 130 interrupted,
and the job goes on; 141 whatever read the output, such as `head`, closed it.
"""
_SET = "a parameter: attack.steps=50, epsilon=8/255, step_counts=1,10,50; may be repeated"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with Lab(options.lab) as lab:
            code = int(options.run(lab, options))
        sys.stdout.flush()
        return code
    except LabError as error:
        for line in (f"{error.title}: {error.detail}", error.hint):
            if line:
                print(on_one_line(line), file=sys.stderr)
        return Exit.BAD_CALL
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # What is still buffered would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNREAD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    url = os.environ.get("LAB_URL") or DEFAULT_URL
    parser.add_argument(
        "--lab",
        metavar="URL",
        default=url,
        help="the lab's address, %(default)s; LAB_URL changes the default",
    )
    found = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_import,
        _add_import_model,
        _add_train,
        _add_evaluate,
        _add_ablation,
        _add_jobs,
        _add_lists,
        _add_workers,
        _add_after,
        _add_users,
    ):
        add(found)
    return parser


_Commands = argparse._SubParsersAction  # the type has no public name


def _add_import(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("import", help="bring a dataset into the lab")
    command.set_defaults(run=commands.import_)
    command.add_argument("file", nargs="?", type=Path, help="an archive, or a file of a dataset")
    command.add_argument("--name", required=True, help="what the dataset is called")
    command.add_argument("--source", help="instead of a file: shapes, cifar10, cifar100 or svhn")
    command.add_argument(
        "--preview", action="store_true", default=None, help="only say what would be imported"
    )
    _add_parameters(command, "name", "source", "preview")
    _add_waiting(command)


def _add_import_model(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("import-model", help="bring a model into the lab")
    command.set_defaults(run=commands.import_model)
    command.add_argument(
        "file", nargs="?", type=Path, help="safetensors, a .pt with a state dict, or .onnx"
    )
    command.add_argument("--name", required=True, help="what the model is called")
    command.add_argument("--dataset", required=True, help="whose classes it tells apart")
    command.add_argument(
        "--architecture", help="of weights, such as wrn-28-10 or timm:resnet18; ONNX has its own"
    )
    command.add_argument("--address", help="instead of a file: where a model answers over HTTP")
    command.add_argument("--expected", type=float, help="clean accuracy on test images, a share")
    _add_parameters(command, "name", "dataset", "architecture", "address", "expected")
    _add_waiting(command)


def _add_train(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("train", help="train a model")
    command.set_defaults(run=commands.train)
    command.add_argument("name", help="what the model is called")
    command.add_argument("--dataset", required=True)
    command.add_argument("--teacher", help="a clean model; makes this one its student (AGKD-BML)")
    command.add_argument(
        "--preset", choices=[preset.name for preset in TRAINING_PRESETS],
        help="settings to start from; what else is given comes before them",
    )  # fmt: skip
    command.add_argument("--architecture", help="such as wrn-10-2 or preactresnet-18")
    command.add_argument("--epochs", type=int)
    _add_parameters(command, "name", "dataset", "teacher", "preset", "architecture", "epochs")
    _add_priority(command)
    _add_waiting(command)


def _add_evaluate(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("evaluate", help="measure how robust models are")
    command.set_defaults(run=commands.evaluate)
    command.add_argument("models", nargs="+", metavar="MODEL")
    command.add_argument("--dataset", required=True)
    command.add_argument(
        "--attack", dest="attack.method", metavar="ATTACK",
        help="the first attack, which draws the curves; by default pgd",
    )  # fmt: skip
    command.add_argument(
        "--steps", dest="attack.steps", metavar="N", type=int, help="of the first attack"
    )
    command.add_argument("--epsilon", type=value_of, help="8/255, or a length in [0, 1]")
    command.add_argument("--images", type=int, metavar="N", help="how many test images")
    command.add_argument("--further", nargs="+", metavar="ATTACK", help="such as autoattack")
    command.add_argument("--sources", nargs="+", metavar="MODEL", help="for `transfer`")
    _add_parameters(
        command, "models", "dataset", "attack.method", "attack.steps", "epsilon", "images",
        "further", "sources",
    )  # fmt: skip
    _add_priority(command)
    _add_waiting(command)


def _add_ablation(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("ablation", help="compare recipes and settings over several seeds")
    command.set_defaults(run=commands.ablation)
    command.add_argument("name", help="what the ablation and its models are called")
    command.add_argument("--dataset", required=True)
    command.add_argument("--recipes", nargs="+", metavar="RECIPE", help="such as clean, agkd_bml")
    command.add_argument(
        "--design",
        choices=[str(design) for design in Design],
        help="in place of recipes: rows that answer one question",
    )
    command.add_argument("--teacher", help="a clean model, for recipes that need one")
    command.add_argument("--seeds", nargs="+", type=int, metavar="N")
    command.add_argument("--epochs", dest="training.epochs", type=int)
    command.add_argument("--architecture", dest="training.architecture")
    _add_parameters(
        command, "name", "dataset", "recipes", "design", "teacher", "seeds", "training.epochs",
        "training.architecture",
    )  # fmt: skip
    _add_priority(command)
    _add_waiting(command)


def _add_parameters(command: argparse.ArgumentParser, *own: str) -> None:
    """`own`: the parameters that have an argument of their own."""
    command.set_defaults(parameters=own)
    command.add_argument("--params", type=Path, metavar="FILE", help="parameters as JSON")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=_SET)


def _add_priority(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--priority", choices=[each.value for each in Priority], default=Priority.NORMAL.value,
        help="before which others it runs, %(default)s; high is for admins",
    )  # fmt: skip


def _add_waiting(command: argparse.ArgumentParser) -> None:
    command.add_argument("--detach", action="store_true", help="print the job's id; do not wait")
    _add_json(command)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_gate(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser(
        "gate", help="end with 1 unless an evaluation is good enough: for build servers"
    )
    command.set_defaults(run=commands.gate)
    command.add_argument("job")
    command.add_argument(
        "--robust-at-least", type=_share, metavar="SHARE", help="robust accuracy, such as 0.45"
    )
    command.add_argument(
        "--clean-at-least", type=_share, metavar="SHARE", help="accuracy on clean images"
    )
    command.add_argument(
        "--verdict", choices=["green", "amber"], help="the worst verdict that is good enough"
    )
    command.add_argument(
        "--model", action="append", default=[], metavar="MODEL",
        help="of whom it is asked, by default of all that were measured; may be repeated",
    )  # fmt: skip
    command.add_argument("--junit", type=Path, metavar="FILE", help="write the outcome as JUnit")
    command.add_argument("--sarif", type=Path, metavar="FILE", help="write it as SARIF 2.1.0")
    command.add_argument(
        "--at", default="README.md", metavar="PATH",
        help="the file of the repository that SARIF shows its findings at, %(default)s",
    )  # fmt: skip


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share from 0 to 1, such as 0.45")
    return share


def _positive(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) == 0:
        raise argparse.ArgumentTypeError("a whole number from 1 upwards")
    return int(text)


def _add_jobs(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("jobs", help="list jobs, newest first")
    command.set_defaults(run=commands.jobs)
    command.add_argument("--kind", choices=[kind.value for kind in JobKind])
    command.add_argument("--status", choices=[status.value for status in JobStatus])
    command.add_argument("--limit", type=_positive, default=20)
    _add_json(command)


def _add_lists(found: _Commands[argparse.ArgumentParser]) -> None:
    for name, run in (("models", commands.models), ("datasets", commands.datasets)):
        command = found.add_parser(name, help=f"list {name}, newest first")
        command.set_defaults(run=run)
        _add_json(command)


def _add_workers(found: _Commands[argparse.ArgumentParser]) -> None:
    command = found.add_parser("workers", help="list workers, and what each runs")
    command.set_defaults(run=commands.workers)
    one = command.add_mutually_exclusive_group()
    one.add_argument("--drain", metavar="WORKER", help="let it take no new job; for admins")
    one.add_argument("--resume", metavar="WORKER", help="let it take jobs again; for admins")
    _add_json(command)


def _add_after(found: _Commands[argparse.ArgumentParser]) -> None:
    """What is done with jobs that were submitted."""
    watch = found.add_parser("watch", help="follow a job to its end; Ctrl-C leaves it running")
    watch.set_defaults(run=commands.watch)
    cancel = found.add_parser("cancel", help="end a job")
    cancel.set_defaults(run=commands.cancel)
    fetch = found.add_parser("fetch", help="print what a job left, or write it to a file")
    fetch.set_defaults(run=commands.fetch)
    table = found.add_parser("table", help="print the table of an ablation as it is now")
    table.set_defaults(run=commands.table)
    for command in (watch, cancel, fetch, table):
        command.add_argument("job")
        _add_json(command)
    fetch.add_argument("-o", "--output", type=Path, help="a .json, .csv, .html, .npz or .zip file")
    fetch.add_argument("--model", help="whose adversarial images, where there are several")
    fetch.add_argument("--images", action="store_true", help="a .csv with a row for each image")
    release = found.add_parser("release", help="a model for people without a lab, as a .zip")
    release.set_defaults(run=commands.release)
    release.add_argument("model")
    release.add_argument("-o", "--output", type=Path, help="a .zip file; waits for it")
    _add_priority(release)
    _add_waiting(release)
    _add_gate(found)
    compare = found.add_parser("compare", help="evaluations side by side, with a paired test")
    compare.set_defaults(run=commands.compare)
    compare.add_argument("jobs", nargs="+", metavar="JOB")
    _add_json(compare)
    rerun = found.add_parser("rerun", help="run an evaluation again from its .json export")
    rerun.set_defaults(run=commands.rerun)
    rerun.add_argument("export", type=Path)
    _add_waiting(rerun)


def _add_users(found: _Commands[argparse.ArgumentParser]) -> None:
    """For admins of a lab with accounts."""
    users = found.add_parser("users", help="list accounts, for admins")
    users.set_defaults(run=commands.users)
    user = found.add_parser("user", help="change what an account may do, for admins")
    user.set_defaults(run=commands.user)
    user.add_argument("name")
    user.add_argument("--role", choices=[role.value for role in Role])
    ends = user.add_mutually_exclusive_group()
    ends.add_argument(
        "--disable", dest="disabled", action="store_true", default=None,
        help="let nobody in by it, nor by its tokens",
    )  # fmt: skip
    ends.add_argument("--enable", dest="disabled", action="store_false", help="the way back")
    for command in (users, user):
        _add_json(command)
