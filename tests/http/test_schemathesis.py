"""The document and the API, held against each other by a program that believes neither.

Schemathesis reads `/openapi.json` of a real `evalqueue serve` and asks it for everything that the
document allows, and for much that it doesn't. What it may not take for granted is in
`schemathesis.toml` and `schemathesis_hooks.py`, with the reasons.

More of it, by hand:
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
KEPT = {
    "app_id": "kaira-bot",
    "cases": [{"opening": "Hi", "expected_behavior": "It greets", "persona": "easy"}],
}
STATES = {"queued": [], "running": ["doing"], "failed": ["doing", "failed"], "cancelled": []}
"""How a job gets there, in steps of its task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A site, and what can be asked for by its id."""

    site: Site
    ids: dict[str, list[str | int]]


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Generator[Stage]:
    """Everything there is, made by the real parts. The worker is gone by then: what is queued stays
    so, and what is submitted costs nothing."""
    site = Site(dsn, tmp_path, environment(tmp_path, dsn))
    try:
        site.start_all()
        batch = site.finish("evaluate-batch", total_items=2)
        stress = site.finish(
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
            http.post("/api/adversarial/cases", json=KEPT).raise_for_status()

            def named(path: str, name: str, key: str = "") -> list[str | int]:
                found = http.get(path).raise_for_status().json()
                return [each[name] for each in (found[key] if key else found)]

            statuses = set(named("/api/jobs", "status"))
            ids = {
                "job_id": named("/api/jobs", "id"),
                "run_id": [batch, stress],
                "dataset_id": named("/api/datasets", "id"),
                "evaluation_id": named(f"/api/eval-runs/{batch}/threads", "id", "evaluations"),
                "log_id": named(f"/api/eval-runs/{batch}/logs", "id", "logs")[:3],
                "case_id": [
                    *named(f"/api/eval-runs/{stress}/adversarial", "case_id", "evaluations"),
                    *named("/api/adversarial/cases", "case_id"),
                ],
                "app_id": named("/api/apps", "app_id"),
            }
        assert statuses == set(JobStatus)
        yield Stage(site=site, ids=ids)
    finally:
        site.stop()


def probe(stage: Stage, *options: str, settings: str = "") -> None:
    """Ask, and fail with what was found."""
    site = stage.site
    config = site.home / "schemathesis.toml"
    dictionaries = [
        f"[dictionaries.{name}]\nvalues = {json.dumps(ids)}\n" for name, ids in stage.ids.items()
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


def test_the_api_is_what_it_says(stage: Stage) -> None:
    probe(stage)


def test_with_tokens_it_is_too(stage: Stage) -> None:
    (open_to_all,) = (each for each in stage.site.processes if "serve" in each.program.arguments)
    open_to_all.stop()
    stage.site.api(EVALQUEUE_API_TOKENS=ENTRIES)
    bearer = f'[auth.openapi.token]\nbearer = "{TOKENS["ada"]}"\n'
    # Twenty wrong tokens, and an address is refused whatever it shows: signing in comes last.
    probe(stage, f"--exclude-name={SIGN_IN}", "--phases=fuzzing,stateful", settings=bearer)
    # Whoever shows no token is not told which other methods there are.
    probe(stage, f"--include-name={SIGN_IN}", "--exclude-checks=unsupported_method")
