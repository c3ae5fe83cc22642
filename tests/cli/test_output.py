"""The output of commands, computed from values."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from evalqueue.cli.demo import adversarial
from evalqueue.cli.demo.batch import BATCH, findings
from evalqueue.cli.demo.judge import JudgeChoice
from evalqueue.cli.demo.next_steps import closing_lines
from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.demo.stage import demo_environment
from evalqueue.cli.output.console import printable
from evalqueue.cli.output.jobs import print_job, print_jobs
from evalqueue.cli.output.progress import ProgressRate
from evalqueue.cli.output.times import format_duration
from evalqueue.cli.stack.plan import StackAddresses, needs_simulation
from evalqueue.evaluators.judging.registry import BUILT_IN
from evalqueue.evaluators.providers.registry import PROVIDERS, ProviderSettings
from evalqueue.jobs import AttemptRecord, Job, JobStatus, Progress


def test_the_rate_is_unknown_until_an_item_is_done_while_watching() -> None:
    rate = ProgressRate()

    assert rate.describe(100.0, 7, 20) == ""
    assert rate.describe(101.0, 7, 20) == ""
    assert rate.describe(102.0, 11, 20) == "2.0/s, ETA 4.5 s"


def test_items_done_before_watching_do_not_count_in_the_rate() -> None:
    rate = ProgressRate()
    rate.describe(0.0, 1000, 1100)

    assert rate.describe(10.0, 1005, 1100) == "30.0/min, ETA 3:10 min"


def test_a_finished_job_has_no_time_left() -> None:
    rate = ProgressRate()
    rate.describe(0.0, 0, 8)

    assert rate.describe(4.0, 8, 8) == "2.0/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (61, "1:01 min"), (3723.4, "1:02:03 h")],
)
def test_durations_have_a_unit_and_few_digits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_text_of_a_job_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2J\rb\x07 ok\n\té") == "a�[2J�b� ok\n\té"


def test_a_table_prints_hostile_text_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_jobs([_job(job_type="[bold]x[/bold]\x1b]0;title\x07 :smile:")])

    assert "[bold]x[/bold]�]0;title� :smile:" in capsys.readouterr().out


def test_one_job_is_shown_with_its_attempts(capsys: pytest.CaptureFixture[str]) -> None:
    job = _job(error_message="line one\nline two")
    tried = AttemptRecord(
        job_id=job.id, attempt=1, worker="worker@here:1", started_at=job.created_at,
        ended_at=job.created_at, outcome="failed", error="line one",
    )  # fmt: skip

    print_job(job, [tried])

    out = capsys.readouterr().out
    assert "error    line one\n         line two\n" in out
    assert "worker@here:1" in out


def use(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set these settings of providers, and no others."""
    for kind in PROVIDERS:
        for key in kind.keys:
            monkeypatch.delenv(key, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "simulated"),
    [
        ({}, True),
        ({"OPENAI_API_KEY": ""}, True),
        ({"OPENAI_API_KEY": "key"}, False),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "file"}, False),
        ({"EVALQUEUE_LLM_PROVIDER": "gemini"}, False),
        ({"EVALQUEUE_LLM_PROVIDER": "simulated", "OPENAI_API_KEY": "key"}, True),
        ({"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": "http://x"}, False),
    ],
)
def test_the_simulated_provider_runs_only_if_no_other_is_chosen(
    environment: dict[str, str], simulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(environment, monkeypatch)
    assert needs_simulation(ProviderSettings()) is simulated


@pytest.mark.parametrize(
    ("environment", "provider", "model"),
    [
        ({}, "simulated", "simulated-judge"),
        ({"OPENAI_API_KEY": "k"}, "openai", "gpt-4o-mini"),
        ({"OPENAI_API_KEY": "k", "EVALQUEUE_LLM_MODEL": "o9"}, "openai", "o9"),
        ({"GOOGLE_API_KEY": "k"}, "gemini", "gemini-2.5-flash"),
        ({"AZURE_OPENAI_API_KEY": "k"}, "azure_openai", None),
        ({"EVALQUEUE_LLM_PROVIDER": "gemini", "OPENAI_API_KEY": "k"}, "gemini", "gemini-2.5-flash"),
        (
            {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": "http://x"},
            "simulated",
            "simulated-judge",
        ),
    ],
)
def test_the_demo_judges_with_the_provider_whose_key_is_set(
    environment: dict[str, str],
    provider: str,
    model: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(environment, monkeypatch)
    assert JudgeChoice.of(ProviderSettings()) == JudgeChoice(provider=provider, model=model)


def test_the_demo_takes_over_llm_settings_and_no_others() -> None:
    environment = {
        "DATABASE_URL": "postgresql://production", "EVALQUEUE_DATA_DIR": "/data",
        "WORKER_QUEUES": "mine", "EVALQUEUE_LLM_MODEL": "m", "OPENAI_API_KEY": "k", "PATH": "/bin",
    }  # fmt: skip

    assert demo_environment(environment, Path("/home/demo")) == {
        "EVALQUEUE_LLM_MODEL": "m",
        "OPENAI_API_KEY": "k",
        "PATH": "/bin",
        "EVALQUEUE_HOME": "/home/demo",
    }


def _outcome(thread_id: str, worst: str | None, efficiency: str | None) -> dict[str, Any]:
    scores = {"correctness.worst": worst, "efficiency.verdict": efficiency}
    return {"thread_id": thread_id, "scores": scores}


def test_findings_say_what_was_not_measured_and_name_the_worst_first() -> None:
    threads = [
        _outcome("t1", "HARD FAIL", "EFFICIENT"),
        _outcome("t2", "CRITICAL", "BROKEN"),
        _outcome("t3", None, "EFFICIENT"),
    ]
    run: dict[str, Any] = {
        "status": "completed", "total_items": 4, "duration_seconds": 12.3, "summary": {
            "coverage": {"correctness": {"judged": 2, "attempted": 3, "rate": 0.6667}},
            "failures": {"timeout": 1}, "llm_calls": 1234, "failed_llm_calls": 1,
        },
        "config": {"evaluators": [kind.declaration.model_dump() for kind in BUILT_IN]},
    }  # fmt: skip
    judge = JudgeChoice(provider="simulated", model="simulated-judge")

    lines = [str(line) for line in findings(run, threads, judge)]

    assert "3 of 4 conversations evaluated in 12 s, run completed" in lines
    assert "Judge: simulated: answers are gold labels with noise, not judgements" in lines
    assert "  EFFICIENT       ████████████████████████████████ 2" in lines
    assert "  not measured    1" in lines
    assert "Intent accuracy per conversation not measured" in lines
    assert "Coverage          correctness: 2 of 3 judged (66.7%)" in lines
    assert "Not judged        timeout: 1" in lines
    assert "LLM calls         1,234, 1 of them failed" in lines
    assert "Tokens            unknown in, unknown out" in lines
    assert lines[-2:] == ["  t2              CRITICAL, BROKEN", "  t1              HARD FAIL"]


def test_findings_say_what_the_data_did_not_say() -> None:
    run: dict[str, Any] = {
        "status": "completed", "total_items": 1, "duration_seconds": 1.0, "summary": {
            "coverage": {
                "checks": {"judged": 2, "attempted": 5}, "intent": {"judged": 3, "attempted": 4},
            },
            "failures": {"timeout": 1}, "llm_calls": 4, "failed_llm_calls": 0,
        },
        "config": {"evaluators": []},
    }  # fmt: skip
    judge = JudgeChoice(provider="simulated", model="simulated-judge")

    lines = [str(line) for line in findings(run, [_outcome("t1", None, "EFFICIENT")], judge)]

    assert "Coverage          checks: 2 of 5 judged (40.0%)" in lines
    assert "Not judged        timeout: 1, the data do not say: 3" in lines


def _job(*, job_type: str = "fail", error_message: str | None = None) -> Job:
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    return Job(
        id=uuid4(), job_type=job_type, status=JobStatus.FAILED, params={"a": 1}, result=None,
        progress=Progress(), error_message=error_message, owner="me", queue="evalqueue",
        priority=0, due_at=moment, parent_id=None, retry_of=None, after_id=None, waiting=False,
        attempt=1, failed_attempts=1, max_attempts=3, worker=None, created_at=moment,
        started_at=moment, completed_at=moment, revision=1,
    )  # fmt: skip


@pytest.mark.parametrize("scenario", [BATCH, adversarial.scenario()])
def test_a_demo_leads_on_to_where_up_will_serve(scenario: DemoScenario) -> None:
    at = StackAddresses(
        api="http://127.0.0.1:1", database="postgresql:///", simulated=None, chatbot=None
    )

    for port, address in ((8799, "http://127.0.0.1:8799/api/jobs"), (0, ":PORT/api/jobs")):
        steps = list(closing_lines(at, "r", scenario, port=port, keep=False))
        (curl,) = [step for step in steps if "curl" in step]
        assert curl.endswith(address)
