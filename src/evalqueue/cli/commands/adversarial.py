"""What the commands about stress tests do. `adversarial_cli` declares their flags."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from evalqueue.cli.commands.jobs import Options, connected, follow, teach
from evalqueue.cli.output import adversarial as words
from evalqueue.cli.output import console
from evalqueue.cli.output.console import ENDINGS, ExitCode
from evalqueue.client import Client
from evalqueue.errors import JobNotFound, Refused
from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial import findings
from evalqueue.evaluators.adversarial import store as cases_store
from evalqueue.evaluators.adversarial.cases.case import Case, distinct
from evalqueue.evaluators.adversarial.cases.files import read_cases
from evalqueue.evaluators.adversarial.chatbot import stressed
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.adversarial.store import SavedCase
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps.adversarial import Adversarial
from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.store import Run
from evalqueue.postgres.database import Connection

INLINE_MAX = 1_000  # cases that travel in a job
_LISTED_MAX = 1_000
_FILE_MAX_BYTES = 64 * 1024**2

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A stress test as it was asked for. What is None or empty is the job type's to decide."""

    app_id: str
    chatbot: Mapping[str, Any]
    params: Mapping[str, Any]
    cases: Path | None

    def read(self) -> dict[str, Any]:
        """The params of the job.

        Raises:
            Refused: the file of cases can't be read.
        """
        found = _given({"app_id": self.app_id, "chatbot": _given(self.chatbot), **self.params})
        if self.cases is not None:
            found["cases"] = [_input(case) for case in _read_file(self.cases, self.app_id)]
            if len(found["cases"]) > INLINE_MAX:
                raise Refused(
                    f"{self.cases}: {len(found['cases'])} cases are more than the {INLINE_MAX} "
                    "that travel in a job. Put the file into the data directory of the API and the "
                    "workers, and: evalqueue submit evaluate-adversarial cases_path=…"
                )
        return found


# Runs


async def run(wanted: Wanted, options: Options, *, watch: bool, as_json: bool) -> ExitCode:
    """Submit a stress test and, if asked to, follow it and show what it found."""
    params = await asyncio.to_thread(wanted.read)
    async with connected() as client:
        teach(client)
        decoded = client.job_types.decode(EvaluateAdversarial.job_type, params)
        job = await client.submit(
            decoded, owner=options.owner, priority=options.priority, queue=options.queue
        )
        run_id = job.progress.details["run_id"]
        if not as_json:
            console.put(str(job.id))
        elif not watch:
            console.put_json(console.job_json(job))
        if watch:
            job = await follow(client, job.id, as_json=as_json)
            async with (await client.database()).connection() as connection:
                await _put_findings(connection, UUID(str(run_id)), as_json=as_json)
            return ENDINGS[job.status]
    console.say(f"Submitted. To follow it: evalqueue watch {job.id}")
    console.say(f"What it has found so far: evalqueue adversarial show {run_id}")
    return ExitCode.DONE


async def show(run_id: UUID, *, with_passed: bool, as_json: bool) -> ExitCode:
    """Print what a run has found so far."""
    async with connected() as client:
        found_id = await _run_id(client, run_id)
        if found_id is None:
            return _no_run(run_id)
        async with (await client.database()).connection() as connection:
            await _put_findings(connection, found_id, with_passed=with_passed, as_json=as_json)
    return ExitCode.DONE


async def transcript(run_id: UUID, case_id: str, trial: int | None, *, as_json: bool) -> ExitCode:
    """Print one conversation, finished or not."""
    async with connected() as client:
        found_id = await _run_id(client, run_id)
        if found_id is None:
            return _no_run(run_id)
        async with (await client.database()).connection() as connection:
            rows = await findings.trials(connection, found_id, case_id)
            live = await findings.live(connection, found_id, case_id=case_id)
    wanted = [row for row in rows if trial in (None, row.trial)]
    if wanted:
        row = wanted[0]
        if as_json:
            console.put_json(asdict(row))
        else:
            words.put_transcript(row, [each for each in rows if each is not row])
        return ExitCode.DONE
    begun = [row for row in live if trial in (None, row.trial)]
    if not begun:
        what = "case" if trial is None else f"trial {trial} of case"
        console.say(
            f"Run {found_id} has nothing on {what} {case_id} yet. Those that are finished: "
            f"evalqueue adversarial show --all {found_id}"
        )
        return ExitCode.NOT_FOUND
    if as_json:
        console.put_json(asdict(begun[0]))
    else:
        words.put_live(begun[0])
    return ExitCode.DONE


async def _put_findings(
    connection: Connection, run_id: UUID, *, with_passed: bool = False, as_json: bool
) -> None:
    run = await store.get_run(connection, run_id)
    found = await findings.of_run(connection, run_id, with_passed=with_passed)
    if run is None:  # pruned since its id was looked up
        return
    if as_json:
        console.put_json({"run": _shown(run), **asdict(found)})
    else:
        words.put_findings(run, found)


def _shown(run: Run) -> dict[str, Any]:
    """A run without its summary, whose figures stand beside it."""
    return {name: value for name, value in asdict(run).items() if name != "summary"}


async def _run_id(client: Client, run_or_job: UUID) -> UUID | None:
    """The id of a run, also by its job's: people have that one at hand."""
    async with (await client.database()).connection() as connection:
        if await store.get_run(connection, run_or_job) is not None:
            return run_or_job
    try:
        job = await client.get(run_or_job)
    except JobNotFound:
        return None
    run_id = job.progress.details.get("run_id")
    return None if run_id is None else UUID(str(run_id))


def _no_run(run_id: UUID) -> ExitCode:
    console.say(f"There is no run {run_id}, nor a job of this id that has one.")
    return ExitCode.NOT_FOUND


# Saved cases


async def list_cases(app_id: str, *, pinned: bool, as_json: bool) -> ExitCode:
    """Print an app's saved cases."""
    found = await _saved(app_id, pinned=pinned)
    if as_json:
        console.put_json([_case_json(each) for each in found])
    elif found:
        words.put_saved(found)
    else:
        console.say(
            f"No saved cases of {app_id}. To save one: evalqueue adversarial cases save --help"
        )
    return ExitCode.DONE


async def save_cases(
    run_id: UUID, case_ids: Sequence[str], *, pinned: bool, as_json: bool
) -> ExitCode:
    """Keep cases of a run."""
    async with connected() as client:
        found_id = await _run_id(client, run_id)
        if found_id is None:
            return _no_run(run_id)
        async with (await client.database()).connection() as connection:
            run = await store.get_run(connection, found_id)
            found = await cases_store.cases_of(connection, found_id, case_ids)
            missing = set(case_ids) - {case.case_id for case in found}
            if missing or run is None or run.app_id is None:
                console.say(f"Not in run {found_id}: {', '.join(sorted(missing or case_ids))}")
                return ExitCode.NOT_FOUND
            await cases_store.save(connection, run.app_id, found, pinned=pinned)
    return _told("saved", [case.case_id for case in found], as_json=as_json)


async def import_cases(path: Path, app_id: str, *, pinned: bool, as_json: bool) -> ExitCode:
    """Keep the cases of a file."""
    found = distinct(await asyncio.to_thread(_read_file, path, app_id))
    async with connected() as client, (await client.database()).connection() as connection:
        await cases_store.save(connection, app_id, found, pinned=pinned)
    return _told("saved", [case.case_id for case in found], as_json=as_json)


async def export_cases(app_id: str, *, pinned: bool, as_json: bool) -> ExitCode:
    """Print saved cases as a file that can be imported: a case a line, or one JSON array."""
    inputs = [_input(each.case) for each in await _saved(app_id, pinned=pinned)]
    if as_json:
        console.put_json(inputs)
    else:
        for each in inputs:
            console.put_json(each)
    return ExitCode.DONE


async def pin_cases(
    app_id: str, case_ids: Sequence[str], *, pinned: bool, as_json: bool
) -> ExitCode:
    """Make saved cases part of every later run, or no longer."""
    missing = await _missing(app_id, case_ids)
    if missing:
        return _not_saved(app_id, missing)
    async with connected() as client, (await client.database()).connection() as connection:
        await cases_store.pin(connection, app_id, case_ids, pinned=pinned)
    return _told("pinned" if pinned else "unpinned", case_ids, as_json=as_json)


async def remove_cases(app_id: str, case_ids: Sequence[str], *, as_json: bool) -> ExitCode:
    """Forget saved cases."""
    missing = await _missing(app_id, case_ids)
    if missing:
        return _not_saved(app_id, missing)
    async with connected() as client, (await client.database()).connection() as connection:
        await cases_store.unsave(connection, app_id, case_ids)
    return _told("removed", case_ids, as_json=as_json)


async def _saved(app_id: str, *, pinned: bool) -> list[SavedCase]:
    async with connected() as client, (await client.database()).connection() as connection:
        return await cases_store.saved(connection, app_id, only_pinned=pinned)


async def _missing(app_id: str, case_ids: Sequence[str]) -> list[str]:
    async with connected() as client, (await client.database()).connection() as connection:
        found = await cases_store.saved_named(connection, app_id, case_ids)
    return sorted(set(case_ids) - {each.case_id for each in found})


def _not_saved(app_id: str, missing: Sequence[str]) -> ExitCode:
    console.say(
        f"Not saved: {', '.join(missing)}. Those that are: "
        f"evalqueue adversarial cases list --app {app_id}"
    )
    return ExitCode.NOT_FOUND


def _told(done: str, case_ids: Sequence[str], *, as_json: bool) -> ExitCode:
    if as_json:
        console.put_json({done: list(case_ids)})
    else:
        for case_id in case_ids:
            console.put(f"{done} {case_id}")
    return ExitCode.DONE


# Users


def show_profile(app_id: str, *, as_json: bool) -> ExitCode:
    """Print the difficult users of an app."""
    profile, app = _app(app_id)
    if as_json:
        from evalqueue.http.models.adversarial import AdversarialApp

        console.put_json(AdversarialApp.of(profile, app).model_dump(mode="json"))
    else:
        words.put_profile(profile, app)
    return ExitCode.DONE


def _app(app_id: str) -> tuple[App, Adversarial]:
    try:
        profile = apps.load(app_id)
        return profile, stressed(profile)
    except UnknownApp as error:
        raise Refused(str(error)) from error


def _read_file(path: Path, app_id: str) -> list[Case]:
    """The cases of a file of the caller's."""
    profile, _ = _app(app_id)
    try:
        if path.stat().st_size > _FILE_MAX_BYTES:
            raise Refused(f"{path} is larger than {_FILE_MAX_BYTES:,} bytes. Split it.")
        content = path.read_text("utf-8-sig")
        return read_cases(content, name=path.name, profile=profile)
    except FormatError as error:
        raise Refused(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"Can't read {path}: {error}") from error


def _input(case: Case) -> dict[str, Any]:
    """A case as a person would write it down: `CaseInput`."""
    return _given({name: value for name, value in case.as_json().items() if name != "source"})


def _case_json(saved: SavedCase) -> dict[str, Any]:
    return asdict(saved) | {"case": saved.case.as_json() | {"case_id": saved.case_id}}


def _given(values: Mapping[str, T]) -> dict[str, T]:
    """What was said at all."""
    return {name: value for name, value in values.items() if value not in (None, [], {}, "")}
