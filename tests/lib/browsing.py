"""The product in processes of its own, and a browser for its page."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
from forking import Command, Program
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG")
START_SECONDS = 60


@dataclass(slots=True)
class Process:
    """A child process of the test, and its output."""

    program: Program
    ready: re.Pattern[str]
    address: str = ""
    lines: list[str] = field(default_factory=list)
    reading: threading.Thread = field(default_factory=threading.Thread)

    def wait_until_ready(self) -> None:
        """Wait until the process prints that it is ready; a thread then drains its pipe."""
        for line in self.program.stdout:
            self.lines.append(line)
            if found := self.ready.search(line):
                self.address = found[1] if found.re.groups else ""
                break
        else:
            raise AssertionError(f"ended before it was ready: {''.join(self.lines)}")
        self.reading = threading.Thread(target=self._read_on, daemon=True)
        self.reading.start()

    def _read_on(self) -> None:
        for line in self.program.stdout:
            self.lines.append(line)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.program.send_signal(number)
        self.program.wait(START_SECONDS)


@dataclass(slots=True)
class Site:
    """The product's processes on one database."""

    dsn: str
    home: Path
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    port: int = 0
    vendor: Process | None = None

    def start(self, ready: str, *arguments: str, **environment: str) -> Process:
        program = Program.start(
            arguments, environment=self.environment | environment, folder=self.home
        )
        process = Process(program, re.compile(ready))
        self.processes.append(process)
        process.wait_until_ready()
        return process

    def start_vendor(self, *flags: str, guesses: bool = True) -> None:
        """Start a simulated vendor, which processes started afterwards use."""
        guess = ("--guess",) if guesses else ()
        process = self.start(
            r"simulated provider on (http://\S+)", "simulate", "--port=0", *guess, *flags
        )
        self.environment |= {
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": process.address,
        }
        self.vendor = process

    @contextmanager
    def vendor_suspended(self) -> Generator[None]:
        """Suspend the vendor, so that no evaluation can end."""
        assert self.vendor is not None
        self.vendor.program.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.vendor.program.send_signal(signal.SIGCONT)

    def run(self, *arguments: str) -> None:
        """Run a command and wait until it has ended."""
        command = Command.start(arguments, stdin="", environment=self.environment, folder=self.home)
        exit_code, out, err = command.wait()
        assert exit_code == 0, out + err

    def start_all(self) -> None:
        """Start a vendor, a chatbot, a worker and the API."""
        self.start_vendor("--latency-ms=20", "--latency-sigma=0.3")
        weak = ("--weakness=accepts_future_times", "--weakness=forgets_corrections")
        bot = self.start(r"simulated Kaira on (http://\S+)", "simulate-bot", "--port=0", *weak)
        credentials = {"anna": {"user_id": "anna", "token": "of-anna", "host": "127.0.0.1"}}
        self.environment |= {
            "EVALQUEUE_CHATBOT_URL": bot.address,
            "EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(credentials),
        }
        self.worker()
        self.api()

    def worker(self) -> Process:
        process = self.start(" is ready: ", "worker", EVALQUEUE_LEASE_SECONDS="3")
        self.workers.append(process)
        return process

    def api(self, **environment: str) -> Process:
        """Start the API: on a free port the first time, afterwards on the same port."""
        process = self.start(r"API on (http://\S+)", "serve", f"--port={self.port}", **environment)
        self.port = urlsplit(process.address).port or 0
        return process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def http(self, **more: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **more)  # pyright: ignore[reportArgumentType]

    def submit(self, **params: object) -> dict[str, str]:
        with self.http() as http:
            answer = http.post("/api/jobs", json={"job_type": "evaluate-batch", "params": params})
            assert answer.status_code == 201, answer.text
            return answer.json()

    def finish(self, job_type: str, **params: object) -> str:
        """Submit a job and wait for its end; returns its run's id."""
        with self.http() as http:
            answer = http.post("/api/jobs", json={"job_type": job_type, "params": params})
            assert answer.status_code == 201, answer.text
            job = answer.json()
            while http.get(f"/api/jobs/{job['id']}").json()["status"] in {"queued", "running"}:
                time.sleep(0.1)
        return job["run_id"]

    def page_urls(self) -> dict[str, str]:
        """The URL of every page, with a run of each type."""
        return self.urls_of(**self.fill())

    def fill(self) -> dict[str, str]:
        """Run evaluations of each type; returns their runs, by the arguments of `urls_of`."""
        batch = self.finish("evaluate-batch", total_items=48, name="Bundled conversations")
        adversarial = self.finish(
            "evaluate-adversarial", name="Difficult users", test_count=12, turn_delay_seconds=0,
            chatbot={"credentials": ["anna"]}, personas=["easy", "hard", "moriarty"],
        )  # fmt: skip
        before = self.finish("evaluate-batch", total_items=48, name="Before the new prompt")
        self.make_differ(batch, before)
        self.submit_other_jobs()
        return {"batch": batch, "before": before, "adversarial": adversarial}

    def urls_of(self, batch: str, before: str, adversarial: str) -> dict[str, str]:
        """The URL of every page, for the runs of `fill`."""
        with self.http() as http:
            (job, *_) = http.get("/api/jobs?status=completed&job_type=evaluate-batch").json()
            (dataset, *_) = http.get("/api/datasets").json()
            question = {"run_id": batch, "evaluator": "efficiency", "annotators": 2}
            queue = http.post("/api/annotation-queues", json=question).json()
            threads = http.get(f"/api/eval-runs/{batch}/outcomes").json()["outcomes"]
            trials = http.get(f"/api/eval-runs/{adversarial}/trials").json()["trials"]
        worst = next(each for each in threads if each["scores"]["correctness.worst"] == "HARD FAIL")
        broken = next(each for each in trials if each["verdict"] in {"HARD FAIL", "CRITICAL"})
        paths = {
            "jobs": "/",
            "job": f"/jobs/{job['id']}",
            "new": "/new",
            "chosen": f"/new?dataset={dataset['id']}",
            "new-test": "/new-test",
            "runs": "/runs",
            "run": f"/runs/{batch}",
            "thread": f"/runs/{batch}/threads/{worst['id']}",
            "comparison": f"/runs/{batch}/compare/{before}",
            "annotation-queues": f"/runs/{batch}/annotation",
            "annotation": f"/annotation/{queue['id']}",
            "adversarial-test": f"/runs/{adversarial}",
            "case": f"/runs/{adversarial}/cases/{broken['case_id']}",
            "datasets": "/datasets",
            "dataset": f"/datasets/{dataset['id']}",
            "apps": "/apps",
            "app": "/apps/kaira-bot",
            "app-form": "/new-app?copy=kaira-bot",
            "app-text": "/new-app",
            "workers": "/workers",
        }
        return {name: f"{self.url}{path}" for name, path in paths.items()}

    def judge(self, run_id: str, verdict: str, threads: range) -> None:
        """Set the efficiency of some of the bundled conversations."""
        self.execute(
            "UPDATE scores SET value_text = %s WHERE run_id = %s AND evaluator = 'efficiency'"
            " AND name = 'verdict' AND thread_id = ANY(%s)",
            verdict, run_id, [f"thr_{number:04}" for number in threads],
        )  # fmt: skip

    def make_differ(self, candidate: str, baseline: str) -> None:
        """Make 12 conversations of two runs worse, and 3 better."""
        for run_id, first, second in (
            (baseline, "EFFICIENT", "BROKEN"),
            (candidate, "BROKEN", "EFFICIENT"),
        ):
            self.judge(run_id, first, range(1, 13))
            self.judge(run_id, second, range(13, 16))

    def submit_other_jobs(self) -> None:
        """Submit a job that fails, one that is cancelled, and some that wait."""
        submit = "SELECT evalqueue_submit_job('evaluate-batch', %s::jsonb, queue => %s)"
        self.execute(submit, '{"data_path": "gone.csv", "name": "Its file is gone"}', "evalqueue")
        too_much = '{"total_items": 40, "name": "Too much"}'
        self.execute(f"SELECT evalqueue_cancel_job(({submit}))", too_much, "nightly")
        for name in ("Of the night", "Of the next night"):
            self.execute(submit, json.dumps({"total_items": 3, "name": name}), "nightly")

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement, values or None)  # pyright: ignore[reportArgumentType]

    @contextmanager
    def paused(self) -> Generator[None]:
        """Pause the queue."""
        self.execute("INSERT INTO job_queues (name, paused_at) VALUES ('evalqueue', now())")
        try:
            yield
        finally:
            self.execute("DELETE FROM job_queues WHERE name = 'evalqueue'")

    def stop(self) -> None:
        for process in self.processes:
            process.program.kill()


def environment(home: Path, dsn: str) -> dict[str, str]:
    """The environment variables of the processes."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {
        "DATABASE_URL": dsn,
        "EVALQUEUE_HOME": str(home / "home"),
        "WORKER_PROCESSES": "1",
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(slots=True)
class PageErrors:
    """Errors and warnings on the console of pages."""

    messages: list[str] = field(default_factory=list)
    allowed: list[re.Pattern[str]] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Allow messages that the test provokes."""
        self.allowed.append(re.compile(pattern))

    def console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.messages.append(f"{message.type}: {message.text} ({message.location})")

    @property
    def unexpected(self) -> list[str]:
        return [each for each in self.messages if not any(p.search(each) for p in self.allowed)]


@contextmanager
def context_of(
    browser: Browser, errors: PageErrors, **options: object
) -> Generator[BrowserContext]:
    context = browser.new_context(**options)  # pyright: ignore[reportArgumentType]
    context.set_default_timeout(30_000)
    context.on("console", lambda message: errors.console(message))  # noqa: PLW0108  it sets attributes on methods
    context.on("weberror", lambda error: errors.messages.append(f"uncaught: {error.error}"))
    try:
        yield context
    finally:
        context.close()
