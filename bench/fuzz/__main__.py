"""`python -m bench.fuzz [PARSER ...] [--seconds 600]`: hostile bytes for every parser.

Each parser of `bench.fuzz.parsers` runs in a process of its own for so long. Atheris makes the
bytes, led by the lines of Python that they reach; where it is not installed, they come by chance. A
fault is what the parser does not refuse in words, an input that takes longer than 10 s, and one
that takes more memory than the 1 GB that the process has beside its code, unless that is what the
parser refuses it for. The bytes that led to it lie in `build/fuzz` then.

PASS: no faults.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.fuzz.mutations import LONGEST, mutated
from bench.fuzz.parsers import PARSERS, Parser
from confinement import limit_memory

ROOT = Path(__file__).resolve().parents[2]
_ARTEFACTS = ROOT / "build" / "fuzz"
_INPUT_S = 10
_MEGABYTES = 1024
_SEEN = ("PIL", "app", "h11", "imagefile", "python_multipart", "tarfile", "worker", "zipfile")
"""Whose lines lead Atheris."""


def main() -> int:
    """Prints a line a parser; 0 if none has a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parsers", nargs="*", choices=[*PARSERS, []], metavar="PARSER",
                        help=f"by default all: {', '.join(PARSERS)}")  # fmt: skip
    parser.add_argument("--seconds", type=int, default=600, help="of each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return _feed(options.parsers[0], options.seconds, options.seed)
    led = importlib.util.find_spec("atheris") is not None
    print("led by coverage" if led else "Atheris is not installed: bytes by chance", flush=True)
    chosen = options.parsers or list(PARSERS)
    faulty = [name for name in chosen if not _try(name, options.seconds, options.seed)]
    verdict = "MISS" if faulty else "PASS"
    print(f"{verdict} fuzz: {len(faulty)} of {len(chosen)} parsers with a fault, target 0")
    return 1 if faulty else 0


def _try(name: str, seconds: int, seed: int) -> bool:
    """Whether a parser held."""
    own = ["--alone", "--seconds", str(seconds), "--seed", str(seed), name]
    ran = subprocess.run(
        [sys.executable, "-m", "bench.fuzz", *own],
        cwd=ROOT, text=True, errors="replace", capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    counts = re.findall(r"^(?:Done |#)(\d+)", f"{ran.stdout}\n{ran.stderr}", re.MULTILINE)
    inputs = int(counts[-1]) if counts else 0
    print(f"{name}: {inputs:,} inputs, {'held' if ran.returncode == 0 else 'FAULT'}", flush=True)
    if ran.returncode:
        print(f"{ran.stdout[-1000:]}{ran.stderr[-4000:]}", flush=True)
    return ran.returncode == 0


def _feed(name: str, seconds: int, seed: int) -> int:
    artefacts = _ARTEFACTS / name
    artefacts.mkdir(parents=True, exist_ok=True)
    try:
        import atheris
    except ImportError:
        parser = PARSERS[name]()
        limit_memory(_MEGABYTES)
        return _feed_by_chance(parser, artefacts, seconds, seed)
    with atheris.instrument_imports(include=list(_SEEN), enable_loader_override=False):
        parser = PARSERS[name]()
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(parser.whole):
            Path(corpus, str(number)).write_bytes(data)
        limit_memory(_MEGABYTES)
        atheris.Setup(_libfuzzer(corpus, artefacts, seconds, seed), parser.meet)
        atheris.Fuzz()
    return 0


def _libfuzzer(corpus: str, artefacts: Path, seconds: int, seed: int) -> list[str]:
    return [
        "fuzz", f"-max_total_time={seconds}", f"-timeout={_INPUT_S}", f"-seed={seed}",
        "-rss_limit_mb=0", f"-max_len={LONGEST}", f"-artifact_prefix={artefacts}/",
        corpus,
    ]  # fmt: skip


def _feed_by_chance(parser: Parser, artefacts: Path, seconds: int, seed: int) -> int:
    rng, count, end = random.Random(seed), 0, time.monotonic() + seconds
    signal.signal(signal.SIGALRM, _late)
    inputs: Sequence[bytes] = parser.whole
    while time.monotonic() < end:
        data = inputs[count] if count < len(inputs) else mutated(inputs, rng)
        (artefacts / "last").write_bytes(data)  # what a dead process leaves
        signal.alarm(_INPUT_S)
        parser.meet(data)
        signal.alarm(0)
        count += 1
    print(f"Done {count} inputs")
    return 0


def _late(_number: int, _frame: object) -> None:
    raise SystemExit(f"more than {_INPUT_S} s")  # parsers make a refusal of any other error


if __name__ == "__main__":
    sys.exit(main())
