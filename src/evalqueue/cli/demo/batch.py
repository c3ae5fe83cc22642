"""The demo: one job run by the whole stack, and what it found.

It goes the way a user's program goes: the job is submitted over HTTP to an API process, a worker
process runs it, progress is pushed, and the findings are read from the API. Its home is its own, so
that it never touches a user's data, and of the settings only those for LLMs are taken over. What it
shows is a `Show`: the bundled conversations here, a stress test in `adversarial_demo`.
"""

import asyncio
import http.client
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit
from uuid import UUID

from evalqueue.cli import stack
from evalqueue.cli.output import console
from evalqueue.cli.output.console import ENDINGS, ExitCode
from evalqueue.cli.stack import Addresses, Plan, Stack
from evalqueue.client import Client
from evalqueue.errors import EvalqueueError, InvalidParams, Problem
from evalqueue.jobs import Job
from evalqueue.settings import Settings

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What a demo shows: a job, and what it found."""

    job_type: str
    params: Mapping[str, Any]
    """Without who judges."""
    tell: Callable[["Api", Mapping[str, Any], Judging], Awaitable[None]]
    """Prints what was found, by the JSON of the run and whatever else the API knows of it."""
    next_steps: Callable[[str, str], Iterable[str]]
    """Commands to go on with, by how `evalqueue` is called here and where the API of `up` will be;
    the first one stays running."""
    chatbot: tuple[str, ...] | None = None
    """Flags of the simulated chatbot that it needs."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its children are told besides."""
    introduction: Sequence[str] = ()
    """What to know before it begins."""


async def run(settings: Settings, show: Show, *, keep: bool) -> ExitCode:
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
    for line in (f"Judge: {judging}", *show.introduction):
        console.say(line)
    console.say("Starting Postgres, API and worker. The first time takes a few seconds more.")
    plan = Plan(
        settings=own,
        port=port,
        simulated=stack.wants_simulation(environment),
        chatbot=show.chatbot,
        environment={**environment, **show.environment},
    )
    with ChildLogs(home / "logs") as logs:
        demo = _Demo(own, show, judging, keep=keep)
        try:
            finished = await Stack(plan, logs.tell).run(demo.run)
        except* EvalqueueError:
            console.say(f"The demo's logs: {', '.join(map(str, logs.paths))}")
            raise
    return demo.exit_code if finished or demo.shown else ExitCode.INTERRUPTED


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

    def __init__(self, settings: Settings, show: Show, judging: Judging, *, keep: bool) -> None:
        self._settings = settings
        self._show = show
        self._judging = judging
        self._keep = keep
        self.exit_code = ExitCode.FAILED
        self.shown = False
        """Whether it came to the findings: only what comes after them was interrupted then."""

    async def run(self, at: Addresses) -> None:
        api = Api(at.api)
        judging = {"llm_provider": self._judging.provider, "llm_model": self._judging.model}
        params = {**self._show.params, "name": "demo", **judging}
        body = {"job_type": self._show.job_type, "params": params}
        submitted = await api.post("/api/jobs", body)
        console.say(f"To watch it in a browser: {at.api}/runs/{submitted['run_id']}")
        job = await self._follow(at, api, UUID(submitted["id"]))
        self.exit_code = ENDINGS[job.status]
        if job.error_message:
            console.say(job.error_message)
        run_id = job.progress.details["run_id"]
        run = await api.get(f"/api/eval-runs/{run_id}")
        await self._show.tell(api, run, self._judging)
        for line in last_words(at, run_id, self._show, port=self._settings.port, keep=self._keep):
            console.put(line)
        self.shown = True
        if self._keep:
            await asyncio.Event().wait()

    async def _follow(self, at: Addresses, api: "Api", job_id: UUID) -> Job:
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
    yield from distribution("Correctness, the worst answer of each conversation",
                             Correctness, [t["worst_correctness"] for t in threads])  # fmt: skip
    yield from distribution("Efficiency", Efficiency, [t["efficiency_verdict"] for t in threads])
    yield Text(f"Intent accuracy   {percent(summary.get('avg_intent_accuracy'))}")
    for name, coverage in summary.get("coverage", {}).items():
        judged, attempted = coverage["judged"], coverage["attempted"]
        yield Text(
            f"Coverage          {name}: {judged} of {attempted} judged "
            f"({percent(coverage.get('rate'))})"
        )
    failures: Mapping[str, int] = summary.get("failures", {})
    listed = ", ".join(f"{reason}: {times}" for reason, times in failures.items())
    yield Text(f"Not judged        {listed or 'nothing'}")
    yield from calls(summary)
    yield from _alarming(threads)


def calls(summary: Mapping[str, Any]) -> Iterator["Text"]:
    """What LLMs were asked."""
    from rich.text import Text

    yield Text(
        f"LLM calls         {_number(summary.get('llm_calls'))}, "
        f"{_number(summary.get('failed_llm_calls'))} of them failed (and were tried again)"
    )
    yield Text(
        f"Tokens            {_number(summary.get('tokens_in'))} in, "
        f"{_number(summary.get('tokens_out'))} out"
    )


def distribution(
    title: str, verdicts: Iterable[str], found: Sequence[str | None]
) -> Iterator["Text"]:
    """How often each verdict was found, as bars."""
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

    verdicts = ("worst_correctness", "efficiency_verdict")
    alarming = [
        (_ALARMING.index(found[0]), thread["thread_id"], found)
        for thread in threads
        if (found := [each for each in _ALARMING if each in [thread[name] for name in verdicts]])
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


def last_words(at: Addresses, run_id: str, show: Show, *, port: int, keep: bool) -> Iterator[str]:
    """Where things are, and how to go on; `port`: of `evalqueue up`, 0 for a free one."""
    yield ""
    yield "Up until Ctrl-C:" if keep else "Up while this ran; demo --keep leaves it up:"
    yield f"  this run        {at.api}/runs/{run_id}"
    yield f"  the API         {at.api}/openapi.json"
    yield f"  psql            {at.database}"
    if at.chatbot:
        yield f"  the chatbot     {at.chatbot} (simulated)"
    yield ""
    first, *others = show.next_steps(command(), f"http://127.0.0.1:{port or 'PORT'}")
    yield f"Next\n  {first}\nand in another terminal, while it runs:"
    yield from (f"  {step}" for step in others)


def curl(
    api: str, job_type: str = "evaluate-batch", *, with_token: bool = False, **params: object
) -> str:
    """A line for the shell that submits a job; without params, a small batch."""
    body = {"job_type": job_type, "params": params or {"data_path": "test.csv"}}
    token = '-H "Authorization: Bearer $TOKEN" ' if with_token else ""
    return f"curl {token}-H 'Content-Type: application/json' -d '{json.dumps(body)}' {api}/api/jobs"


def command() -> str:
    """How this command line is called from where the person is."""
    return "./run exec evalqueue" if os.access("run", os.X_OK) else "evalqueue"


def percent(share: float | None) -> str:
    """A share as a person reads it."""
    return "not measured" if share is None else f"{share:.1%}"


def _number(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


class Api:
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


async def _tell(api: Api, run: Mapping[str, Any], judging: Judging) -> None:
    threads = await api.get(f"/api/eval-runs/{run['id']}/threads")
    output = console.data_console()
    for line in findings(run, threads["evaluations"], judging):
        output.print(line)


BATCH = Show(
    job_type="evaluate-batch",
    params={"data_path": "kaira-conversations.csv", "app_id": "kaira-bot", "concurrency": 16},
    tell=_tell,
    next_steps=lambda evalqueue, api: [f"{evalqueue} up", curl(api), f"{evalqueue} status"],
)
"""The bundled conversations, evaluated."""
