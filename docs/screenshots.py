"""Takes the pictures of the README and of `docs/tour.md` anew: `make pictures DATA=archive`.

A lab of its own, on a fresh data folder and a free port, does real jobs: it imports the archive of
class folders, evaluates the models in the box, trains a student and attacks a picture live. Small
archives are enough, and soon done. Every `.png` in `docs/pictures` is made here; others there are
deleted.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Error, Page, Playwright, sync_playwright

from app.client import Job, Lab, LabError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
SIZE = {"width": 1280, "height": 800}
START_S, PAGE_MS = 300, 180_000
"""How long the lab may take to start, and a page to show what it should; both are generous."""
NO_BROWSER = (
    "There is no Chromium to take pictures with: install the system's, or run "
    "`python -m playwright install chromium`."
)


# The lab and what it does


@contextmanager
def running_lab() -> Iterator[Lab]:
    """A lab with the models in the box and nothing else; it ends, and its data goes, with the
    block. Raises LabError."""
    with tempfile.TemporaryDirectory(prefix="lab-pictures-") as data:
        port = _free_port()
        own = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=ROOT,
            env=own | {"LAB_PORT": port, "LAB_DATA_DIR": data},
            stdout=subprocess.DEVNULL,
        )
        try:
            with Lab(f"http://127.0.0.1:{port}") as lab:
                _wait_ready(lab, process)
                yield lab
        finally:
            process.terminate()
            process.wait()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _wait_ready(lab: Lab, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if lab.health().ok:
                return
        except LabError:
            pass  # it does not listen yet
        time.sleep(0.5)
    raise LabError("The lab did not start", "Its last lines above say why.")


def work(lab: Lab, archive: Path) -> dict[str, str]:
    """Import, then evaluate and train; the address of each page to be shown."""
    shipped = lab.models()
    teacher = next(model for model in shipped if model.card.teacher is None)
    _done(lab.import_dataset(archive, name="CIFAR-10 (JPEG)"))
    evaluation = lab.evaluate(
        [model.id for model in shipped],
        dataset="CIFAR-10 (JPEG)",
        images=100,
        attack={"method": "pgd", "steps": 10},
        further=["cw"],
        step_counts=[1, 5, 10],
        corruptions=False,
        embedding=False,
    )
    training = lab.train(
        "A first student",
        dataset="CIFAR-10 (JPEG)",
        teacher=teacher.id,
        architecture=teacher.card.architecture,
        epochs=4,
        steps=3,
        step_size="4/255",
        learning_rate=0.02,
    )
    return {
        "evaluation": f"/jobs/{_done(evaluation).id}",
        "training": f"/jobs/{_done(training).id}",
    }


def _done(job: Job[Any]) -> Job[Any]:
    job.wait(progress=True).result()
    return job


# Their pages


def photograph(page: Page, jobs: dict[str, str]) -> None:
    """Every picture, in the order of the tour. Raises playwright's Error where a page does not show
    what it should."""
    _live(page)
    take(page, "live")
    page.goto("/")
    page.locator("#showcase .says:not(:empty)").first.wait_for()
    _drawn(page)
    take(page, "home")
    page.goto(jobs["evaluation"])
    _show(page, "#result")
    take(page, "evaluation")
    _show(page, "#trust")
    take(page, "problems")
    _show(page, "#gallery")
    take(page, "gallery")
    page.goto("/board")
    _drawn(page)
    take(page, "board")
    page.goto("/jobs")
    take(page, "jobs")
    page.goto(jobs["training"])
    _show(page, "section[aria-label=Charts]")
    take(page, "training")
    page.goto("/help/trust")
    take(page, "help")


def _live(page: Page) -> None:
    """Attack a picture, and show it at 8/255."""
    page.goto("/live")
    page.locator("button.sample[data-image*='/examples/']").first.click()
    page.locator(".viewer:not([hidden]):not([aria-busy])").wait_for()
    page.locator("[data-slider=budget]").fill("8")


def _show(page: Page, selector: str) -> None:
    """Scroll so that the part begins at the top, below the bar that stays."""
    part = page.locator(selector)
    part.evaluate("part => window.scrollBy(0, part.getBoundingClientRect().top - 72)")
    _drawn(page)


def _drawn(page: Page) -> None:
    """Wait until every chart in sight holds its drawing."""
    page.wait_for_function(
        """() => [...document.querySelectorAll(".chart .plot")].every(plot => {
            const {top, bottom, width} = plot.getBoundingClientRect();
            return !width || bottom < 0 || top > innerHeight || plot.querySelector("svg");
        })"""
    )


def take(page: Page, name: str) -> None:
    """Write what the window shows, in all of its colours: fewer would merge those of models."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # transitions
    path = FOLDER / f"{name}.png"
    with Image.open(BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").save(path, optimize=True)
    print(path.relative_to(ROOT), flush=True)


def browser_path(playwright: Playwright) -> str | None:
    """The system's Chromium, or the one that Playwright downloaded; None where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def make(archive: Path) -> None:
    """Raises LabError, and playwright's Error."""
    with sync_playwright() as playwright:
        chromium = browser_path(playwright)
        if chromium is None:
            raise LabError("No browser", NO_BROWSER)
        with running_lab() as lab:
            jobs = work(lab, archive)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(base_url=lab.url, viewport=SIZE, color_scheme="light")
            page.set_default_timeout(PAGE_MS)
            for old in FOLDER.glob("*.png"):
                old.unlink()
            photograph(page, jobs)
            browser.close()


def main() -> int:
    if len(sys.argv) != 2:
        print("Say where the images are: make pictures DATA=archive", file=sys.stderr)
        return 2
    try:
        make(Path(sys.argv[1]))
    except (LabError, Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
