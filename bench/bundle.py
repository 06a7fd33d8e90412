"""What a machine with torch and no network needs for `bench.gpu` and the box: wheels and images.

    python -m bench.bundle ARCHIVE [--into build/gpu]         from the root of the repository

Collects wheels for Python 3.12 on Linux (x86_64), in the versions and with the checksums of
`requirements/dev.txt`, and a copy of the archive. Folders of examples are left out of the wheels:
that of pyautoattack has 44 MB of weights.

PASS: wheels, archive and the files of the repository together are below 64 MiB.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 64 * 2**20
NAMES = (
    "alembic", "annotated-types", "mako", "markupsafe", "pyautoattack", "pydantic", "pydantic-core",
    "pydantic-settings", "python-dotenv", "sqlalchemy", "torchattacks", "typing-extensions",
    "typing-inspection",
)  # fmt: skip
"""What the lab's jobs import beside torch, torchvision, timm and what these bring; torchattacks is
for comparison alone."""
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> int:
    """Prints what was collected and its size; 0 where it is small enough, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="of class folders, for the models in the box")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "gpu")
    options = parser.parse_args()
    wheels = options.into / "wheels"
    shutil.rmtree(options.into, ignore_errors=True)
    wheels.mkdir(parents=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(locked((ROOT / "requirements" / "dev.txt").read_text(), NAMES))
        file.flush()
        platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", "3.12",
             "--implementation", "cp", *platforms, "-d", str(wheels), "-r", file.name],
            check=True,
        )  # fmt: skip
    for wheel in wheels.iterdir():
        without_examples(wheel)
    shutil.copyfile(options.archive, options.into / options.archive.name)
    sizes = {
        "wheels": size(wheels.iterdir()),
        "archive": options.archive.stat().st_size,
        "repository": size(tracked()),
    }
    for name, count in sizes.items():
        print(f"{name:>10}: {count / 2**20:5.1f} MiB")
    total = sum(sizes.values())
    met = total < LIMIT
    print(
        f"{'PASS' if met else 'MISS'} bundle: {total / 2**20:.1f} MiB in all, target below "
        f"{LIMIT / 2**20:.0f} MiB; in {options.into}"
    )
    return 0 if met else 1


def locked(lock: str, names: Iterable[str]) -> str:
    """The entries of some packages in a lock with hashes. Raises ValueError where one is missing.

    A marker, which is about other kinds of machine, is left out.
    """
    entries = {}
    for entry in re.split(r"\n(?=\S)", lock):
        if found := re.match(r"([\w.-]+)==[^\s;]+", entry):
            hashes = re.findall(r"--hash=\S+", entry)
            entries[found[1]] = " ".join([found[0], *hashes])
    missing = sorted(set(names) - entries.keys())
    if missing:
        raise ValueError(f"the lock has no {', '.join(missing)}")
    return "".join(f"{entries[name]}\n" for name in names)


def without_examples(wheel: Path) -> None:
    """Leave a package's folder `examples` out of its wheel, and out of the wheel's own list."""
    with zipfile.ZipFile(wheel) as whole:
        content = {name: whole.read(name) for name in whole.namelist()}
    kept = {name: data for name, data in content.items() if "/examples/" not in name}
    if len(kept) == len(content):
        return
    (record,) = (name for name in kept if name.endswith(".dist-info/RECORD"))
    listed = kept[record].decode().splitlines(keepends=True)
    kept[record] = "".join(line for line in listed if "/examples/" not in line).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as part:
        for name, data in kept.items():
            part.writestr(name, data)


def tracked() -> list[Path]:
    """The files of the repository."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def size(files: Iterable[Path]) -> int:
    """Bytes of those that exist."""
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
