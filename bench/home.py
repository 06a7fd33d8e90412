"""Milliseconds until the first page is complete, in a browser, in a lab that nobody has used.

    python -m bench.home [--loads 20]      from the root of the repository; needs Chromium

Starts the web process alone, as bench/web.py does: no worker runs. Each load is one of a new
browser profile with nothing cached. "Picture" is from the start of the navigation until the load
event is over and picture, maps and answers of both models are drawn; "curves" until the charts are,
which come after. The first load, which imports what the page needs, is listed apart.

PASS: the 95th percentile of "picture" is at most 1000 ms, that load included, and script and style
that come before the charts are at most 250 kB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Response, sync_playwright

from app.settings import Settings
from bench.web import broker, web

TARGET_MS = 1000.0
TARGET_KB = 250.0
_CHARTS = "plotly"

_PICTURE = """() => {
  const shown = document.querySelector("#showcase[data-drawn]");
  const { loadEventEnd } = performance.getEntriesByType("navigation")[0];
  if (!shown || !loadEventEnd) return null;
  return Math.max(loadEventEnd, performance.getEntriesByName("drawn")[0].startTime);
}"""
_CURVES = """() => document.querySelector("[data-chart=box] .main-svg") && performance.now()"""


def main() -> int:
    """Prints the figures; 0 if both targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", type=int, default=20, help="at least 2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, broker(Path(folder)) as redis_url:
        settings = Settings(data_dir=Path(folder), redis_url=redis_url, database_url=None)
        with web(settings) as (_, port), sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            loads = [load(browser, f"http://127.0.0.1:{port}/") for _ in range(options.loads)]
            browser.close()
    return report(loads)


def load(browser: Browser, address: str) -> tuple[float, float, float]:
    """Milliseconds to the picture and to the curves, and kB of script and style before these."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    fetched: list[Response] = []
    page.on("response", lambda response: fetched.append(response))
    page.goto(address)
    picture = page.wait_for_function(_PICTURE, polling=5).json_value()
    curves = page.wait_for_function(_CURVES, polling=5).json_value()
    small = [one for one in fetched if one.request.resource_type in ("script", "stylesheet")]
    before = sum(len(one.body()) for one in small if _CHARTS not in one.url)
    context.close()
    return float(picture), float(curves), before / 1000


def report(loads: list[tuple[float, float, float]]) -> int:
    """Print the spread and the verdict; the exit code."""
    pictures, curves, sizes = (list(column) for column in zip(*loads, strict=True))
    print(f"n = {len(loads)} loads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, times in (("picture", pictures), ("curves", curves)):
        print(
            f"{name:8} first {times[0]:6.0f} ms  p50 {statistics.median(times):6.0f} ms  "
            f"p95 {_p95(times):6.0f} ms  max {max(times):6.0f} ms"
        )
    print(f"script and style before the charts: {max(sizes):.0f} kB")
    met = _p95(pictures) <= TARGET_MS and max(sizes) <= TARGET_KB
    print(f"{'PASS' if met else 'MISS'} home {_p95(pictures):.0f} ms (target {TARGET_MS:.0f} ms)")
    return 0 if met else 1


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


if __name__ == "__main__":
    sys.exit(main())
