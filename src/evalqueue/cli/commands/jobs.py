"""What the commands do, as coroutines that return an exit code. `cli` declares their flags."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from evalqueue import settings, tokens
from evalqueue.cli.output import console
from evalqueue.cli.output.console import ENDINGS, ExitCode
from evalqueue.client import Client
from evalqueue.errors import NotRetryable, Refused
from evalqueue.jobs import Job, JobStatus
from evalqueue.postgres import schema
from evalqueue.postgres.database import without_secrets
from evalqueue.settings import Settings
from evalqueue.tokens import Right

if TYPE_CHECKING:
    from evalqueue.cli.demo.batch import Judging
    from evalqueue.cli.stack import Addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be said about a job besides its type and params."""

    owner: str = "default"
    priority: int = 0
    scheduled_at: datetime | None = None
    queue: str | None = None
    idempotency_key: str | None = None
    after: UUID | None = None


async def migrate(*, as_json: bool) -> ExitCode:
    """Bring the schema up to date."""
    async with connected(verified=False) as client:
        applied = await schema.migrate(await client.database())
    if as_json:
        console.put_json({"applied": applied})
    else:
        console.put("\n".join(applied) or "The schema is up to date.")
    return ExitCode.DONE


async def serve(host: str | None, port: int | None) -> ExitCode:
    """Serve the HTTP API until a signal says to stop."""
    from evalqueue.http.server import serve as serving

    async with connected() as client:
        teach(client)
        async with serving(client, host=host, port=port) as address:
            console.put(f"API on {address.url}")
            await _stop_signal()
    return ExitCode.DONE


def token(name: str, right: Right, *, as_json: bool) -> None:
    """Print a new token, and the entry by which the API knows it."""
    try:
        made, known = tokens.make(name, right)
    except ValueError as error:
        raise Refused(f"NAME: {error}") from error
    if as_json:
        console.put_json({"name": name, "right": right, "token": made, "entry": known.entry})
        return
    console.put(f"token  {made}\nentry  {known.entry}")
    console.say(
        f"The token is for whoever calls, and is shown only now: Authorization: Bearer …\n"
        f"The entry is for {tokens.VARIABLE} where the API runs, beside others. Keep it to "
        "yourself, too: whoever has it can forge the cookie of a sign-in."
    )


async def work(**options: Any) -> ExitCode:
    """Run jobs, as `procrastinate --app=evalqueue.daemon.app worker` does.

    Args:
        options: procrastinate's; what is None or missing comes from the settings.
    """
    from evalqueue import daemon

    async with daemon.app.open_async():
        await daemon.app.run_worker_async(**options)
    return ExitCode.DONE


def read_params(document: str, given: Sequence[str]) -> dict[str, Any]:
    """The params from `--params`, and over them those given one by one."""
    found = read_object("--params", document)
    for each in given:
        if each == "-":
            found |= read_object("stdin", each)
            continue
        key, is_given, value = each.partition("=")
        if not is_given or not key.removesuffix(":"):
            raise Refused(f"{each}: params are given as key=text, as key:=JSON, or as - for stdin.")
        if key.endswith(":"):
            found[key[:-1]] = _json(key[:-1], value)
        else:
            found[key] = value
    return found


def read_moment(where: str, text: str | None) -> datetime | None:
    """A moment as RFC 3339 has it."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{where}: this is not a moment: {error}") from error
    if moment.tzinfo is None:
        raise Refused(f"{where}: in which time zone? Write {text}Z for UTC, or an offset: +01:00")
    return moment


async def submit(
    job_type: str,
    params: Mapping[str, Any],
    options: Options,
    *,
    watch: bool,
    as_json: bool,
) -> ExitCode:
    """Submit a job and, if asked to, follow it."""
    async with connected() as client:
        teach(client)
        job = await client.submit(
            client.job_types.decode(job_type, params),
            owner=options.owner,
            priority=options.priority,
            scheduled_at=options.scheduled_at,
            queue=options.queue,
            idempotency_key=options.idempotency_key,
            after=options.after,
        )
        return await _hand_over(client, job, watch=watch, as_json=as_json)


async def retry(job_id: UUID, *, everything: bool, watch: bool, as_json: bool) -> ExitCode:
    """Go on with a job that is over, or do all of it anew."""
    async with connected() as client:
        if everything:
            teach(client)
            job = await _again(client, await client.get(job_id))
        else:
            job = await client.retry(job_id)
        return await _hand_over(client, job, watch=watch, as_json=as_json)


async def _again(client: Client, old: Job) -> Job:
    if old.parent_id is not None:
        raise NotRetryable(f"Job {old.id} only helps job {old.parent_id}. Retry that one.")
    return await client.submit(
        client.job_types.decode(old.job_type, old.params),
        owner=old.owner,
        priority=old.priority,
        queue=old.queue,
        max_attempts=old.max_attempts,
    )


async def _hand_over(client: Client, job: Job, *, watch: bool, as_json: bool) -> ExitCode:
    """Print a new job's id and, if asked to, follow the job."""
    if not as_json:
        console.put(str(job.id))
    elif not watch:
        console.put_json(console.job_json(job))
    if watch:
        return ENDINGS[(await follow(client, job.id, as_json=as_json)).status]
    console.say(f"Submitted. To follow it: evalqueue watch {job.id}")
    return ExitCode.DONE


async def list_jobs(
    status: JobStatus | None, job_type: str | None, limit: int, *, as_json: bool
) -> ExitCode:
    """Print the newest jobs."""
    async with connected() as client:
        jobs = await client.list(status=status, job_type=job_type, limit=limit)
    if as_json:
        console.put_json([console.job_json(job) for job in jobs])
    elif jobs:
        console.put_jobs(jobs)
    else:
        console.say("No jobs.")
    return ExitCode.DONE


async def show(job_id: UUID, *, as_json: bool) -> ExitCode:
    """Print one job and its attempts."""
    async with connected() as client:
        job = await client.get(job_id)
        attempts = await client.attempts(job_id)
    if as_json:
        console.put_json(console.job_json(job, attempts))
    else:
        console.put_job(job, attempts)
    return ExitCode.DONE


async def watch(job_id: UUID, *, as_json: bool) -> ExitCode:
    """Follow a job to its end."""
    async with connected() as client:
        return ENDINGS[(await follow(client, job_id, as_json=as_json)).status]


async def cancel(job_id: UUID, *, as_json: bool) -> ExitCode:
    """Cancel a job."""
    async with connected() as client:
        await client.cancel(job_id)
    if as_json:
        console.put_json({"id": job_id, "status": JobStatus.CANCELLED})
    else:
        console.put(f"cancelled {job_id}")
    return ExitCode.DONE


async def follow(client: Client, job_id: UUID, *, as_json: bool = False) -> Job:
    """Show each change of a job until it is over. To stop watching is not to cancel."""
    job = await client.get(job_id)
    try:
        with console.ProgressLine() as line:
            async for job in client.watch(job_id):
                if as_json:
                    console.put_json(console.job_json(job))
                line.show(job)
    except asyncio.CancelledError:
        if not job.status.is_over:
            console.say(
                f"Stopped watching; job {job_id} goes on. To cancel it: evalqueue cancel {job_id}"
            )
        raise
    if job.error_message:
        console.say(job.error_message)
    return job


async def up(port: int | None) -> ExitCode:
    """Run everything until a signal says to stop."""
    from evalqueue.cli import stack
    from evalqueue.cli.demo import batch

    current = settings.read()
    port = current.port if port is None else port
    if port and not stack.is_free(current.host, port):
        raise stack.PortTaken(
            f"Port {port} of {current.host} is taken. Stop what listens there, "
            "or choose another one: EVALQUEUE_PORT, or --port."
        )
    if not current.data_directory.exists():
        stack.copy_conversations(current.data_directory)
    plan = stack.Plan(settings=current, port=port, simulated=stack.wants_simulation(os.environ))

    async def stay(at: stack.Addresses) -> None:
        for line in _welcome(current, at, batch.Judging.of(os.environ)):
            console.put(line)
        await asyncio.Event().wait()

    await stack.Stack(plan, lambda name, line: console.say(f"{name:<18} | {line}")).run(stay)
    return ExitCode.DONE  # a signal is the way to end it


def _welcome(current: Settings, at: "Addresses", judging: "Judging") -> Iterator[str]:

    from evalqueue.cli.demo import batch

    own = current.database_address is None
    shown = at.database if own else without_secrets(at.database)
    further = {"DATABASE_URL": shown if own else "…"}
    if at.simulated:
        further |= {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": at.simulated}
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in further.items())
    yield ""
    yield f"the page          {at.api}/"
    yield f"API               {at.api}/api"
    yield f"its description   {at.api}/openapi.json"
    yield f"database          psql {shlex.quote(shown)}"
    yield f"data directory    {current.data_directory}"
    yield f"LLM provider      {judging}"
    yield f"one more worker   {variables} procrastinate --app=evalqueue.daemon.app worker"
    yield f"one more job      {variables} evalqueue submit evaluate-batch total_items:=5 --watch"
    yield f"submit            {batch.curl(at.api, with_token=bool(current.api_tokens))}"
    yield "Ctrl-C stops all of it; jobs that run may finish first."
    yield ""


class Demo(StrEnum):
    """What there is to show."""

    BATCH = "batch"
    ADVERSARIAL = "adversarial"


async def demo(which: Demo, *, keep: bool) -> ExitCode:
    """Show everything once."""
    from evalqueue.cli.demo import adversarial
    from evalqueue.cli.demo import batch as stage

    show = adversarial.show() if which is Demo.ADVERSARIAL else stage.BATCH
    return await stage.run(settings.read(), show, keep=keep)


async def _stop_signal() -> None:
    """Wait for SIGINT or SIGTERM; a second one has its usual effect, and hurries."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


def teach(client: Client) -> None:
    """Make the job types of this process known: what is submitted is checked against them."""
    from evalqueue import daemon

    for job_type in daemon.job_types():
        client.job_types.add(job_type)


@asynccontextmanager
async def connected(*, verified: bool = True) -> AsyncGenerator[Client]:
    """A client on the database of the settings.

    Raises:
        SchemaOutdated: unless not `verified`.
    """
    from evalqueue import daemon

    current = settings.read()
    address = await asyncio.to_thread(daemon.address, current)  # may start the embedded Postgres
    async with Client(address, settings=current) as client:
        if verified:
            await schema.verify(await client.database())
        yield client


def read_object(where: str, document: str) -> dict[str, Any]:
    if document == "-":
        document = sys.stdin.read()
    elif document.startswith("@"):
        try:
            document = Path(document[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{where}: can't read {document[1:]}: {error}") from error
    value = _json(where, document)
    if not isinstance(value, dict):
        raise Refused(f"{where}: a JSON object is needed, this is {type(value).__name__}.")
    return cast("dict[str, Any]", value)  # the keys of a JSON object are text


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Refused(f"{where}: this is not JSON: {error}") from error
