"""What a GPU does with the lab: whether every path runs on it, and how fast.

    python -m bench.gpu [--seconds 240] [--json gpu.json]     from the root of the repository
    python -m bench.gpu --only checks wrn-28-10

`checks` runs each recipe, each attack and each kind of job once, small, as jobs of a lab of its
own. A network's part times the AGKD-BML step: the lab's in several ways, and the plain one of
`bench/steps.py`, in turns. `evaluation` times a curve and AutoAttack beside published libraries.

Every part is a process with a share of what is left of the seconds, so whatever becomes of one, the
next one runs; one that takes longer is ended. What was found by then is in the JSON file, which is
written anew with every finding. Without a GPU the parts are small, and their figures mean nothing.

PASS: nothing that was tried failed; and on a GPU, where the step of WRN-28-10 was timed, the
fastest of the lab's ways is at least 6 times as fast as the plain one and takes 40 % of the
device's peak, which is that of a large matrix product here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.store.files import atomic_write
from bench.gpu.parts import SHARES, work

RATIO, PEAK = 6.0, 0.4
_LEAST_S = 3.0
"""A part with less is left out."""


@dataclass
class Part:
    """What became of one part."""

    state: str = "not begun"
    seconds: float = 0.0
    why: str = ""
    found: dict[str, dict[str, Any]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings part by part; 0 if nothing failed and the targets are met, else 1."""
    begin = time.monotonic()
    options = _parser().parse_args(arguments)
    parts = {name: Part() for name in options.only}

    def write() -> None:
        page = {"seconds": options.seconds, "parts": {n: vars(p) for n, p in parts.items()}}
        with atomic_write(options.json) as stream:
            stream.write(f"{json.dumps(page, indent=1)}\n".encode())

    context = multiprocessing.get_context("forkserver")  # torch is imported once
    context.set_forkserver_preload([work.__module__])
    for name, part in parts.items():
        left = options.seconds - (time.monotonic() - begin)
        shares = [SHARES[n] for n, p in parts.items() if p.state == "not begun"]
        seconds = left * SHARES[name] / sum(shares)
        if seconds < _LEAST_S:
            part.state, part.why = "skipped", f"{left:.0f} s were left"
        else:
            _run(context, name, part, seconds, write)
        write()
        print(f"{name}: {part.state} in {part.seconds:.0f} s. {part.why}".strip())
        for finding, values in part.found.items():
            print(f"  {finding}: {values['text']}")
        sys.stdout.flush()
    return _conclude(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=240.0, help="of all parts together")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="what was found")
    parser.add_argument("--only", nargs="+", default=list(SHARES), choices=list(SHARES))
    return parser


def _run(context: Any, name: str, part: Part, seconds: float, write: Callable[[], None]) -> None:
    """One part in a process of its own, ended when it takes longer than it may."""
    ours, theirs = context.Pipe()
    begin = time.monotonic()
    process = context.Process(target=work, args=(name, seconds, theirs), daemon=False)
    process.start()
    theirs.close()
    part.state = "done"
    try:
        while True:
            left = seconds - (time.monotonic() - begin)
            if left <= 0 or not ours.poll(left):
                part.state, part.why = "stopped", "Its time was over."
                break
            kind, values = ours.recv()
            if kind == "failed":
                part.state, part.why = "failed", values["text"]
            else:
                part.found[kind] = values
            write()
    except EOFError:
        process.join()
        if process.exitcode != 0 and part.state == "done":
            part.state, part.why = "failed", f"The process ended with {process.exitcode}."
    process.kill()
    process.join()
    part.seconds = round(time.monotonic() - begin, 1)


def _conclude(parts: dict[str, Part]) -> int:
    failed = [name for name, part in parts.items() if part.state == "failed"]
    failed += [
        f"{name}: {finding}"
        for name, part in parts.items()
        for finding, values in part.found.items()
        if values.get("failed")
    ]
    lines = [f"failed: {', '.join(failed)}" if failed else "nothing that was tried failed"]
    summary = parts["wrn-28-10"].found.get("summary") if "wrn-28-10" in parts else None
    met = not failed
    if summary is not None and summary["gpu"]:
        met = met and summary["ratio"] >= RATIO and summary["peak"] >= PEAK
        lines.append(
            f"WRN-28-10: {summary['ratio']:.1f} times the plain step, target {RATIO:.0f}; "
            f"{summary['peak']:.0%} of peak, target {PEAK:.0%}"
        )
    else:
        lines.append("no speed of WRN-28-10 on a GPU to judge")
    print(f"{'PASS' if met else 'MISS'} gpu: {'; '.join(lines)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
