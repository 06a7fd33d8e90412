"""What `pip install .` brings: a wheel that holds all of the lab, and runs outside the checkout."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from app.settings import VERSION, Settings
from tests.data.packing import pack, train_and_test
from tests.plugins.lab_process import LabProcess

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("docs", "models", "static", "templates")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files and nothing else."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands that pip makes of the wheel in an environment that was empty.

    What the lab depends on is lent by the environment of the tests: these packages weigh gigabytes.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    run_pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    offline = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*run_pip, *offline, str(wheel)], check=True)
    site = home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(installed: Path, code: str, where: Path) -> str:
    """What Python says outside of the checkout, with the wheel's files in place of it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=where,
        env=environment | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


def test_the_wheel_holds_the_code_and_what_stands_beside_it(installed: Path) -> None:
    shared = ("confinement.py", "devices.py", "imagefile.py", "journal.py")
    code, beside = tracked("app", "worker", *shared), tracked(*BESIDE)
    assert code
    assert beside
    expected = code | {f"app/beside/{name}" for name in beside}
    assert {name for name in expected if not (installed / name).is_file()} == set()


def test_the_wheel_holds_nothing_else(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    files = {"confinement.py", "devices.py", "imagefile.py", "journal.py"}
    assert names == {"app", "worker", *files, f"agkd_bml_lab-{VERSION}.dist-info"}
    assert {path.name for path in (installed / "app" / "beside").iterdir()} == set(BESIDE)


def test_its_commands_lead_to_functions(installed: Path) -> None:
    read = configparser.ConfigParser()
    read.read(installed / f"agkd_bml_lab-{VERSION}.dist-info" / "entry_points.txt")
    commands = dict(read["console_scripts"])
    assert set(commands) == {"agkd-bml-lab", "lab-client"}
    for target in commands.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


def test_pip_makes_its_commands(commands: Path, tmp_path: Path) -> None:
    made = {path.name for path in commands.iterdir()} - {"python", "python3"}
    assert {"agkd-bml-lab", "lab-client"} <= made
    for name, word in (("agkd-bml-lab", "LAB_DATA_DIR"), ("lab-client", "import-model")):
        done = subprocess.run(
            [commands / name, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert word in done.stdout


@pytest.mark.slow
def test_its_lab_reads_what_its_client_brings(commands: Path, tmp_path: Path) -> None:
    """Web, workers and the confined reader of archives, without a checkout."""
    archive = pack(tmp_path / "cats.zip", train_and_test(cat=3, dog=3))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
    lab = LabProcess(tmp_path / "data", [commands / "agkd-bml-lab"], tmp_path)
    try:
        lab.wait_ready()
        here = environment | {"LAB_URL": lab.url, "LAB_DATA_DIR": str(tmp_path / "data")}
        for arguments, said in (
            (("import", archive, "--name", "Cats"), "cat"),
            (("datasets",), "Cats"),
        ):
            done = subprocess.run(
                [commands / "lab-client", *arguments],
                cwd=tmp_path, env=here, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert said in done.stdout
        assert lab.stop() == 0
    finally:
        lab.clean_up()


def test_pages_help_and_models_are_found_without_a_checkout(
    installed: Path, tmp_path: Path
) -> None:
    said = run(
        installed,
        "from app.settings import Settings, code_version; from app.web.pages.help import DOCS; "
        "from app.web.render import ENVIRONMENT, TEMPLATES; import app.main; "
        "ENVIRONMENT.get_template('home.html'); "
        "print(code_version(), TEMPLATES, DOCS, Settings().shipped_dir)",
        tmp_path,
    )
    beside = installed / "app" / "beside"
    assert said.split() == [VERSION, *(str(beside / n) for n in ("templates", "docs", "models"))]
    assert any((beside / "models").glob("*.safetensors"))


def test_a_repository_around_it_is_not_taken_for_its_own(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    commit = ["git", "-C", str(tmp_path), *author, "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(commit, check=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    assert run(tmp_path, "import app.settings as s; print(s.code_version())", tmp_path) == VERSION


def test_the_command_says_what_can_be_set(installed: Path, tmp_path: Path) -> None:
    call = "import sys; sys.argv[1:] = ['--help']; from app.__main__ import main; main()"
    said = run(installed, call, tmp_path)
    said_of = dict(line.split(maxsplit=1) for line in said.splitlines() if line[:6] == "  LAB_")
    assert said_of["LAB_DATA_DIR"] == "Everything that the lab keeps."
    assert set(said_of) == {f"LAB_{name.upper()}" for name in Settings.model_fields}


def test_without_torch_the_lab_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    hidden = "import importlib.util as u; u.find_spec = lambda name: None; "
    call = f"{hidden}import sys; sys.argv[1:] = []; from app.__main__ import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(installed), "LAB_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", call], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("install it with `pip install '.[worker]'`.")
