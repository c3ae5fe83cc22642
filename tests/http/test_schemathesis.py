"""Schemathesis checks the API against its OpenAPI document.

It reads `/openapi.json` of a real `evalqueue serve` and sends valid and invalid requests. The
exceptions from its checks are in `schemathesis.toml` and `schemathesis_hooks.py`, with reasons.

To run it with more examples:
SCHEMATHESIS_EXAMPLES=200 ./run test -n 0 --timeout=0 tests/http/test_schemathesis.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browsing import Site, environment
from tests.http.conftest import ENTRIES, TOKENS

from evalqueue.evaluators.simulated.conversations import sample_csv
from evalqueue.jobs import JobStatus

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(CONFIG.parent)}
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "5")
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
SECONDS = 500 if "SCHEMATHESIS_EXAMPLES" not in os.environ else 3_600

CSV = {"file": ("a.csv", sample_csv().read_bytes())}
SIGN_IN = "POST /api/session"
SAVED_CASES = {
    "app_id": "kaira-bot",
    "cases": [{"opening": "Hi", "expected_behavior": "It greets", "persona": "easy"}],
}
STATES = {"queued": [], "running": ["doing"], "failed": ["doing", "failed"], "cancelled": []}
"""The statuses of its task that bring a job into each status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedSite:
    """A site, and the ids of its objects."""

    site: Site
    ids: dict[str, list[str | int]]


@pytest.fixture
def probed(dsn: str, tmp_path: Path) -> Generator[ProbedSite]:
    """A site with objects of every type. Its worker is stopped afterwards, so queued jobs stay
    queued."""
    site = Site(dsn, tmp_path, environment(tmp_path, dsn))
    try:
        site.start_all()
        batch = site.finish("evaluate-batch", total_items=2)
        adversarial = site.finish(
            "evaluate-adversarial", test_count=2, turn_delay_seconds=0,
            chatbot={"credentials": ["anna"]}, personas=["easy"],
        )  # fmt: skip
        (worker,) = (each for each in site.processes if "worker" in each.program.arguments)
        worker.stop()
        jobs = {state: site.submit(total_items=1)["id"] for state in STATES}
        for state, steps in STATES.items():
            for step in steps:
                site.execute(
                    "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status"
                    " WHERE id = (SELECT task_id FROM jobs WHERE id = %s)",
                    step,
                    jobs[state],
                )
        with site.http() as http:
            http.post(f"/api/jobs/{jobs['cancelled']}/cancel").raise_for_status()
            http.post("/api/datasets", files=CSV).raise_for_status()
            http.post("/api/adversarial/cases", json=SAVED_CASES).raise_for_status()

            def named(path: str, name: str, key: str = "") -> list[str | int]:
                found = http.get(path).raise_for_status().json()
                return [each[name] for each in (found[key] if key else found)]

            statuses = set(named("/api/jobs", "status"))
            ids = {
                "job_id": named("/api/jobs", "id"),
                "run_id": [batch, adversarial],
                "dataset_id": named("/api/datasets", "id"),
                "evaluation_id": named(f"/api/eval-runs/{batch}/threads", "id", "evaluations"),
                "log_id": named(f"/api/eval-runs/{batch}/logs", "id", "logs")[:3],
                "case_id": [
                    *named(f"/api/eval-runs/{adversarial}/adversarial", "case_id", "evaluations"),
                    *named("/api/adversarial/cases", "case_id"),
                ],
                "app_id": named("/api/apps", "app_id"),
            }
        assert statuses == set(JobStatus)
        yield ProbedSite(site=site, ids=ids)
    finally:
        site.stop()


def probe(probed: ProbedSite, *options: str, settings: str = "") -> None:
    """Run schemathesis; fails with its findings."""
    site = probed.site
    config = site.home / "schemathesis.toml"
    dictionaries = [
        f"[dictionaries.{name}]\nvalues = {json.dumps(ids)}\n" for name, ids in probed.ids.items()
    ]
    config.write_text("\n".join([CONFIG.read_text(), *dictionaries, settings]))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), f"--config-file={config}", "run",
            f"{site.url}/openapi.json", f"--max-examples={EXAMPLES}", f"--seed={SEED}", *options,
        ],
        cwd=site.home, env=os.environ | HOOKS, timeout=SECONDS,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (site.home / "found.txt").write_text(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_api_is_what_it_says(probed: ProbedSite) -> None:
    probe(probed)


def test_with_tokens_it_is_too(probed: ProbedSite) -> None:
    (open_to_all,) = (each for each in probed.site.processes if "serve" in each.program.arguments)
    open_to_all.stop()
    probed.site.api(EVALQUEUE_API_TOKENS=ENTRIES)
    bearer = f'[auth.openapi.token]\nbearer = "{TOKENS["ada"]}"\n'
    # After twenty wrong tokens even a valid one is refused, so signing in comes last.
    probe(probed, f"--exclude-name={SIGN_IN}", "--phases=fuzzing,stateful", settings=bearer)
    # Without a token, the reply does not name the allowed methods.
    probe(probed, f"--include-name={SIGN_IN}", "--exclude-checks=unsupported_method")
