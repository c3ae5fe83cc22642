"""The demo: the bundled conversations, evaluated by the whole stack, and what was found in them.

It goes the way a user's program goes: the job is submitted over HTTP to an API process, a worker
process runs it, progress is pushed, and the findings are read from the API. Its home is its own, so
that it never touches a user's data, and of the settings only those for LLMs are taken over.
"""

import asyncio
import http.client
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit
from uuid import UUID

from evalqueue import console, stack
from evalqueue.client import Client
from evalqueue.console import ENDINGS, ExitCode
from evalqueue.errors import EvalqueueError, InvalidParams, Problem
from evalqueue.jobs import Job
from evalqueue.settings import Settings
from evalqueue.stack import Addresses, Plan, Stack

if TYPE_CHECKING:
    from rich.text import Text

SIMULATED = "simulated"
SIMULATED_WARNING = "simulated: no key set; answers are gold labels with noise, not judgements"
DEFAULT_MODELS: Mapping[str, str] = {"openai": "gpt-4o-mini", "gemini": "gemini-2.5-flash"}
"""What the demo asks when `EVALQUEUE_LLM_MODEL` doesn't say: small, cheap, good enough to see."""

_PROVIDERS_BY_KEY: Mapping[str, str] = {
    "OPENAI_API_KEY": "openai",
    "AZURE_OPENAI_API_KEY": "azure_openai",
    "GEMINI_API_KEY": "gemini",
    "GOOGLE_API_KEY": "gemini",
    "GOOGLE_APPLICATION_CREDENTIALS": "gemini",
}
_KEPT_SETTINGS = ("EVALQUEUE_LLM_PROVIDER", "EVALQUEUE_LLM_MODEL", "EVALQUEUE_SIMULATED_URL")
_FOREIGN = ("EVALQUEUE_", "WORKER_", "DATABASE_URL")
_BAR_WIDTH = 32  # characters
_SHOWN_THREADS = 5
_HTTP_TIMEOUT = 60.0  # seconds
_ALARMING = ("CRITICAL", "BROKEN", "HARD FAIL")  # the worst first
_STYLES = {
    "PASS": "green", "EFFICIENT": "green", "ACCEPTABLE": "green",
    "SOFT FAIL": "yellow", "FRICTION": "yellow", "INCOMPLETE": "yellow",
    "HARD FAIL": "red", "CRITICAL": "bold red", "BROKEN": "bold red",
}  # fmt: skip


class ApiRefused(EvalqueueError):
    """The API answered something else than what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Who judges."""

    provider: str
    model: str | None
    """None: what the provider's own settings name."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Judging":
        """The provider that is named, or whose key is set, or the simulated one."""
        keys = (name for key, name in _PROVIDERS_BY_KEY.items() if environment.get(key))
        provider = environment.get("EVALQUEUE_LLM_PROVIDER") or next(keys, SIMULATED)
        if provider == SIMULATED:  # whatever model is set, it is not the one that answers
            return cls(provider=provider, model="simulated-judge")
        model = environment.get("EVALQUEUE_LLM_MODEL") or DEFAULT_MODELS.get(provider)
        return cls(provider=provider, model=model)

    @property
    def is_simulated(self) -> bool:
        return self.provider == SIMULATED

    def __str__(self) -> str:
        if self.is_simulated:
            return SIMULATED_WARNING
        return f"{self.provider}, model {self.model or 'of its settings'}"


async def run(settings: Settings, *, keep: bool) -> ExitCode:
    """Show everything once; with `keep`, leave it running until a signal comes."""
    home = settings.home / "demo"
    own = settings.model_copy(
        update={"database_url": None, "home": home, "data_dir": None, "host": "127.0.0.1"}
    )
    stack.copy_conversations(own.data_directory)
    port = own.port
    if port and not stack.is_free(own.host, port):
        console.say(f"Port {port} is taken (EVALQUEUE_PORT): the demo's API takes a free one.")
        port = 0
    environment = demo_environment(os.environ, home)
    judging = Judging.of(environment)
    console.say(f"Judge: {judging}")
    console.say("Starting Postgres, API and worker. The first time takes a few seconds more.")
    plan = Plan(
        settings=own,
        port=port,
        simulated=stack.wants_simulation(environment),
        environment=environment,
    )
    with ChildLogs(home / "logs") as logs:
        show = _Demo(own, judging, keep=keep)
        try:
            finished = await Stack(plan, logs.tell).run(show.run)
        except* EvalqueueError:
            console.say(f"The demo's logs: {', '.join(map(str, logs.paths))}")
            raise
    return show.exit_code if finished or show.shown else ExitCode.INTERRUPTED


def demo_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The children's environment: this one, without what was set for another stack."""
    kept = {
        key: value
        for key, value in environment.items()
        if key in _KEPT_SETTINGS or not key.startswith(_FOREIGN)
    }
    return kept | {"EVALQUEUE_HOME": str(home)}


@dataclass(slots=True)
class ChildLogs:
    """A file for each child's lines, made anew; only the stack's own words are shown."""

    directory: Path
    _files: dict[str, TextIO] = field(default_factory=dict[str, TextIO])
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "ChildLogs":
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def paths(self) -> list[Path]:
        return [Path(file.name) for file in self._files.values()]

    def tell(self, name: str, line: str) -> None:
        """Take a line."""
        if name == "evalqueue":
            console.say(line)
            return
        if name not in self._files:
            path = self.directory / f"{name.replace(' ', '-').lower()}.log"
            self._files[name] = self._open.enter_context(path.open("w", encoding="utf-8"))
        self._files[name].write(f"{line}\n")
        self._files[name].flush()


class _Demo:
    """The work that the demo's stack runs for."""

    def __init__(self, settings: Settings, judging: Judging, *, keep: bool) -> None:
        self._settings = settings
        self._judging = judging
        self._keep = keep
        self.exit_code = ExitCode.FAILED
        self.shown = False
        """Whether it came to the findings: only what comes after them was interrupted then."""

    async def run(self, at: Addresses) -> None:
        api = _Api(at.api)
        submitted = await api.post("/api/jobs", {"job_type": "evaluate-batch", "params": {
            "data_path": "kaira-conversations.csv", "app_id": "kaira-bot", "name": "demo",
            "concurrency": 16, "llm_provider": self._judging.provider,
        } | ({"llm_model": self._judging.model} if self._judging.model else {})})  # fmt: skip
        job = await self._follow(at, api, UUID(submitted["id"]))
        self.exit_code = ENDINGS[job.status]
        if job.error_message:
            console.say(job.error_message)
        run_id = job.progress.details["run_id"]
        run = await api.get(f"/api/eval-runs/{run_id}")
        threads = await api.get(f"/api/eval-runs/{run_id}/threads")
        output = console.data_console()
        for line in findings(run, threads["evaluations"], self._judging):
            output.print(line)
        for line in _next_steps(at, run_id, keep=self._keep):
            console.put(line)
        self.shown = True
        if self._keep:
            await asyncio.Event().wait()

    async def _follow(self, at: Addresses, api: "_Api", job_id: UUID) -> Job:
        try:
            async with Client(at.database, settings=self._settings) as client:
                with console.ProgressLine() as line:
                    async for job in client.watch(job_id):
                        line.show(job)
                return await client.get(job_id)
        except asyncio.CancelledError:
            # The demo's job goes with the demo: the next one starts with nothing to do.
            await api.post(f"/api/jobs/{job_id}/cancel", None)
            raise


def findings(
    run: Mapping[str, Any], threads: Sequence[Mapping[str, Any]], judging: Judging
) -> Iterator["Text"]:
    """What a run found, line by line, from its JSON."""
    from rich.text import Text

    from evalqueue.evaluators.verdicts import Correctness, Efficiency

    summary: Mapping[str, Any] = run["summary"] or {}
    yield Text()
    yield Text.assemble(
        (f"{len(threads)} of {run['total_items']} conversations evaluated", "bold"),
        f" in {console.duration(run['duration_seconds'] or 0)}, run {run['status']}",
    )
    if judging.is_simulated:
        yield Text(f"Judge: {SIMULATED_WARNING}", "bold magenta")
    else:
        yield Text(f"Judge: {run['llm_provider']}, {run['llm_model']}")
    yield Text()
    yield from _distribution("Correctness, the worst answer of each conversation",
                             Correctness, [t["worst_correctness"] for t in threads])  # fmt: skip
    yield from _distribution("Efficiency", Efficiency, [t["efficiency_verdict"] for t in threads])
    yield Text(f"Intent accuracy   {_percent(summary.get('avg_intent_accuracy'))}")
    for name, coverage in summary.get("coverage", {}).items():
        judged, attempted = coverage["judged"], coverage["attempted"]
        yield Text(
            f"Coverage          {name}: {judged} of {attempted} judged "
            f"({_percent(coverage.get('rate'))})"
        )
    failures: Mapping[str, int] = summary.get("failures", {})
    listed = ", ".join(f"{reason}: {times}" for reason, times in failures.items())
    yield Text(f"Not judged        {listed or 'nothing'}")
    yield Text(
        f"LLM calls         {_number(summary.get('llm_calls'))}, "
        f"{_number(summary.get('failed_llm_calls'))} of them failed (and were tried again)"
    )
    yield Text(
        f"Tokens            {_number(summary.get('tokens_in'))} in, "
        f"{_number(summary.get('tokens_out'))} out"
    )
    yield from _alarming(threads)


def _distribution(
    title: str, verdicts: Iterable[str], found: Sequence[str | None]
) -> Iterator["Text"]:
    from rich.text import Text

    yield Text(title, "bold")
    counts = {verdict: found.count(verdict) for verdict in verdicts}
    most = max(counts.values(), default=0) or 1
    for verdict, count in counts.items():
        bar = "█" * max(round(count / most * _BAR_WIDTH), int(count > 0))
        yield Text.assemble(
            f"  {verdict:<16}", (f"{bar} ", _STYLES.get(verdict, "dim")), str(count)
        )
    if missing := found.count(None):
        yield Text(f"  {'not measured':<16}{missing}")
    yield Text()


def _alarming(threads: Sequence[Mapping[str, Any]]) -> Iterator["Text"]:
    from rich.text import Text

    alarming = [
        (_ALARMING.index(found[0]), thread["thread_id"], found)
        for thread in threads
        if (found := [verdict for verdict in _ALARMING if verdict in _verdicts_of(thread)])
    ]
    alarming.sort(key=lambda each: each[:2])
    if not alarming:
        return
    yield Text()
    yield Text("Look at these first", "bold")
    for _, thread_id, found in alarming[:_SHOWN_THREADS]:
        yield Text(f"  {console.plain(thread_id):<16}{', '.join(found)}")
    if (more := len(alarming) - _SHOWN_THREADS) > 0:
        yield Text(f"  … and {more} more")


def _verdicts_of(thread: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return thread["worst_correctness"], thread["efficiency_verdict"]


def _next_steps(at: Addresses, run_id: str, *, keep: bool) -> Iterator[str]:
    evalqueue = command()
    yield ""
    yield "Up until Ctrl-C:" if keep else "Up while this ran; demo --keep leaves it up:"
    yield f"  this run        {at.api}/api/eval-runs/{run_id}"
    yield f"  the API         {at.api}/openapi.json"
    yield f"  psql            {at.database}"
    yield ""
    yield "Next"
    yield f"  {evalqueue} up"
    yield "and in another terminal, while it runs:"
    yield f"  {curl('http://127.0.0.1:8721')}"
    yield f"  {evalqueue} status"


def curl(api: str, *, with_token: bool = False) -> str:
    """A line for the shell that submits a job."""
    body = {"job_type": "evaluate-batch", "params": {"data_path": "test.csv"}}
    token = '-H "Authorization: Bearer $EVALQUEUE_API_TOKEN" ' if with_token else ""
    return f"curl {token}-H 'Content-Type: application/json' -d '{json.dumps(body)}' {api}/api/jobs"


def command() -> str:
    """How this command line is called from where the person is."""
    return "./run exec evalqueue" if os.access("run", os.X_OK) else "evalqueue"


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"


def _number(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


class _Api:
    """Calls the API; on loopback, so neither proxies nor TLS are looked at."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    async def get(self, path: str) -> Any:
        return await asyncio.to_thread(self._call, "GET", path, None)

    async def post(self, path: str, body: object) -> Any:
        return await asyncio.to_thread(self._call, "POST", path, body)

    def _call(self, method: str, path: str, body: object) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=_HTTP_TIMEOUT)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if text else {}
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status == http.client.UNPROCESSABLE_ENTITY:
            raise InvalidParams([
                Problem(loc=tuple(each["loc"]), msg=each["msg"]) for each in answer["detail"]
            ])  # fmt: skip
        if response.status >= http.client.BAD_REQUEST:
            raise ApiRefused(f"{method} {path}: {response.status} {answer.get('detail')}")
        return answer
