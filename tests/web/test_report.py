"""The report of an evaluation: one file that says all of it, from a disk, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult, Light, Lineage
from app.services.lab import Lab
from app.web.charts.evaluation import figures
from app.web.pages.report import assets
from tests.web.browsing import browser as browser
from tests.web.examples import (
    add_dataset,
    add_job,
    add_model,
    evaluation,
    full_evaluation,
    train_params,
)
from tests.web.parsing import attributes, parsed, text_of

HOSTILE = "</script><script>alert(1)</script><!-- <a href='/x'> & </style>"
CLASSES = ("cat", HOSTILE, "ship")


def add_evaluation(lab: Lab, *, light: Light = Light.AMBER) -> tuple[str, EvaluationResult]:
    """Names everywhere are hostile."""
    dataset = add_dataset(lab, name=HOSTILE, classes=CLASSES, notes=(HOSTILE,))
    teacher = add_model(lab, dataset, classes=CLASSES)
    student = add_model(lab, dataset, name=HOSTILE, teacher=teacher, classes=CLASSES)
    result = full_evaluation(
        [(teacher, "Teacher", Recipe.CLEAN), (student, HOSTILE, Recipe.AGKD_BML)],
        images=80,
        classes=CLASSES,
        dataset=Lineage(id=dataset, name=HOSTILE, sha256="0" * 64),
        light=light,
    )
    title = f"Evaluate {HOSTILE}"
    job = add_job(
        lab, JobKind.EVALUATE, result.params, result=result, title=title, finished_at=86400.0
    )
    return job, result


def test_it_says_everything(client: httpx.Client, lab: Lab) -> None:
    job, result = add_evaluation(lab, light=Light.RED)
    answer = client.get(f"/jobs/{job}/report.html")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    named = answer.headers["content-disposition"]
    assert re.fullmatch(
        rf'attachment; filename="Evaluate-script-[A-Za-z0-9-]+-{job[:8]}\.html"', named
    )
    text = text_of(parsed(answer.text))  # folded parts too
    told = [result.dataset.sha256, result.environment.code_version, "1970-01-02 00:00 UTC", job,
            "PGD-20, 5 restarts", "Seed 0", "epoch 7 of 10", "Best of 10 epochs."]  # fmt: skip
    for model in result.models:
        assert model.verdict
        assert model.robust
        told += [model.sha256, f"{100 * model.robust.value:.1f} %", model.verdict.sentence]
        for check in model.verdict.checks:
            told += [check.title, check.figure, check.sentence]
    for fact in told:
        assert fact in text, fact
    request = parsed(answer.text).select_one("pre > code")
    body = json.loads(request.get_text())
    assert body == {"kind": "evaluate", "params": result.params.model_dump(mode="json")}


def test_nothing_is_fetched_and_nothing_leads_into_the_lab(client: httpx.Client, lab: Lab) -> None:
    job, _ = add_evaluation(lab)
    page = client.get(f"/jobs/{job}/report.html").text
    assert parsed(page).select("link, iframe, object, embed, base, [action]") == []
    sources = attributes(page, "src")
    assert [src for src in sources if not src.startswith("data:image/png;base64,")] == []
    assert attributes(page, "href") == ["https://arxiv.org/abs/2108.06017"]


def test_names_cannot_break_out(client: httpx.Client, lab: Lab) -> None:
    job, result = add_evaluation(lab)
    page = client.get(f"/jobs/{job}/report.html").text
    assert HOSTILE not in page
    assert "alert(1)</script>" not in page
    assert page.count("<script") == page.count("</script>") == 3
    assert escape(HOSTILE, quote=False) in page.replace("&#39;", "'")
    block = parsed(page).select_one('script#figures[type="application/json"]')
    assert set(json.loads(block.get_text())) == set(figures(result, {}))


def test_only_its_own_scripts_may_run(client: httpx.Client, lab: Lab) -> None:
    """The policy, in the file and in the answer, names exactly the two scripts by their hash."""
    job, _ = add_evaluation(lab)
    answer = client.get(f"/jobs/{job}/report.html")
    page = parsed(answer.text)
    scripts = [s.get_text() for s in page.select('script:not([type="application/json"])')]
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    (policy,) = attributes(answer.text, "content", '[http-equiv="Content-Security-Policy"]')
    assert policy == answer.headers["content-security-policy"] == assets().policy
    assert re.findall(r"sha256-([^']+)'", assets().policy) == digests
    assert "default-src 'none'" in assets().policy


def test_results_of_lab_01_have_a_report_too(client: httpx.Client, lab: Lab) -> None:
    result = evaluation([("a" * 32, "Teacher")])
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    text = text_of(parsed(client.get(f"/jobs/{job}/report.html").text))
    assert "The lab no longer has this model." in text
    assert "75.0 %" in text


def test_only_finished_evaluations_have_one(client: httpx.Client, lab: Lab) -> None:
    running = add_job(
        lab, JobKind.EVALUATE, full_evaluation(images=10).params, status=JobStatus.RUNNING
    )
    training = add_job(lab, JobKind.TRAIN, train_params())
    for job, status in ((running, 409), (training, 422), ("0" * 32, 404)):
        assert client.get(f"/jobs/{job}/report.html").status_code == status


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_a_disk_without_a_network(
    browser: Browser, client: httpx.Client, lab: Lab, tmp_path: Path, scheme: str
) -> None:
    """Every chart is drawn, folded ones once they are opened; nothing is asked of anyone."""
    job, result = add_evaluation(lab)
    file = tmp_path / "report.html"
    file.write_bytes(client.get(f"/jobs/{job}/report.html").content)
    complaints: list[str] = []
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    context = browser.new_context(
        offline=True,
        viewport={"width": 390, "height": 844},
        color_scheme="dark" if scheme == "dark" else "light",
        accept_downloads=True,
    )
    context.route(re.compile(r"^(?!file://|data:|blob:)"), refuse)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None
    )
    page.goto(file.as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    shown = len(figures(result, {})) - 2  # one of the two projections of each model waits
    page.wait_for_function(
        f"() => document.querySelectorAll('.js-plotly-plot .main-svg').length >= {shown}"
    )
    assert page.locator(".js-plotly-plot").count() == shown
    panels = page.locator("[data-switch] input[value^=tsne]")
    for i in range(panels.count()):
        panels.nth(i).check(force=True)
    page.wait_for_function(
        f"() => document.querySelectorAll('.js-plotly-plot').length === {shown + 2}"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    with page.expect_download() as saved:
        page.locator("[data-chart=epsilon] [data-save=svg]").click()
    assert saved.value.suggested_filename == f"report-{job[:8]}-epsilon.svg"
    context.close()
    assert complaints == []
    assert asked == []
