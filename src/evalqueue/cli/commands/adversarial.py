"""The commands about adversarial tests: run, show, transcript, app."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from evalqueue.cli.commands.cases import case_input, load_app, read_case_file, without_empty
from evalqueue.cli.commands.connection import open_client, register_job_types
from evalqueue.cli.commands.jobs import SubmitOptions, follow_job
from evalqueue.cli.commands.runs.references import find_adversarial_run, find_id
from evalqueue.cli.output import adversarial as output
from evalqueue.cli.output import console, transcripts
from evalqueue.cli.output.exit_codes import EXIT_CODE_OF_STATUS, ExitCode
from evalqueue.cli.output.jobs import job_json
from evalqueue.errors import Refused
from evalqueue.evaluators.adversarial import findings
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.runs.reading import Run
from evalqueue.postgres.database import Connection

INLINE_MAX = 1_000  # cases in a job's params


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialTestOptions:
    """The options of an adversarial test. For what is None or empty, the job type has defaults."""

    app_id: str
    chatbot: Mapping[str, Any]
    params: Mapping[str, Any]
    cases: Path | None
    case_from: str | None
    """A run whose cases are repeated, by a reference."""

    def to_params(self, app: App) -> dict[str, object]:
        """The params of the job, which tests this app.

        Raises:
            Refused: the file of cases can't be read, or has too many.
        """
        chatbot = without_empty(self.chatbot)
        values: dict[str, object] = {"app_id": self.app_id, "chatbot": chatbot, **self.params}
        params = without_empty(values)
        if self.cases is not None:
            cases = read_case_file(self.cases, app)
            if len(cases) > INLINE_MAX:
                raise Refused(
                    f"{self.cases}: {len(cases)} cases; the params of a job hold {INLINE_MAX} at "
                    "most. Put the file into the data directory of the API and the workers, and "
                    "run: evalqueue submit evaluate-adversarial cases_path=…"
                )
            params["cases"] = [case_input(case) for case in cases]
        return params


async def run(
    test: AdversarialTestOptions, options: SubmitOptions, *, watch: bool, as_json: bool
) -> ExitCode:
    """Submit an adversarial test; if `watch` is set, follow it and print its results."""
    async with open_client() as client:
        async with (await client.database()).connection() as connection:
            app, _ = await load_app(connection, test.app_id, owner=options.owner)
        params = await asyncio.to_thread(test.to_params, app)
        if test.case_from is not None:
            params["from_run"] = str((await find_adversarial_run(client, test.case_from)).id)
        register_job_types(client)
        decoded = client.job_types.decode(EvaluateAdversarial.job_type, params)
        job = await client.submit(
            decoded, owner=options.owner, priority=options.priority, queue=options.queue
        )
        run_id = job.progress.details["run_id"]
        if not as_json:
            console.print_data(str(job.id))
        elif not watch:
            console.print_json(job_json(job))
        if watch:
            job = await follow_job(client, job.id, as_json=as_json)
            async with (await client.database()).connection() as connection:
                await _print_findings(connection, UUID(str(run_id)), as_json=as_json)
            return EXIT_CODE_OF_STATUS[job.status]
    console.print_message(f"Submitted. To follow it: evalqueue watch {job.id}")
    console.print_message(f"To see its results so far: evalqueue adversarial show {run_id}")
    return ExitCode.DONE


async def show(given: str, *, with_passed: bool, as_json: bool) -> ExitCode:
    """Print the results of a run so far."""
    async with open_client() as client:
        run = await find_adversarial_run(client, given)
        async with (await client.database()).connection() as connection:
            await _print_findings(connection, run.id, with_passed=with_passed, as_json=as_json)
    return ExitCode.DONE


async def transcript(given: str, case: str, trial: int | None, *, as_json: bool) -> ExitCode:
    """Print one conversation, finished or not."""
    async with open_client() as client:
        found_id = (await find_adversarial_run(client, given)).id
        async with (await client.database()).connection() as connection:
            known = await adversarial_store.case_ids(connection, found_id)
            case_id = find_id(
                case, known, missing=f"Run {found_id} has no case {case}. {_to_list(found_id)}"
            )
            rows = await findings.trials(connection, found_id, case_id)
            live = await findings.live(connection, found_id, case_id=case_id)
    finished = [row for row in rows if trial in (None, row.trial)]
    if finished:
        row = finished[0]
        if as_json:
            console.print_json(asdict(row))
        else:
            transcripts.print_transcript(row, [each for each in rows if each is not row])
        return ExitCode.DONE
    started = [row for row in live if trial in (None, row.trial)]
    if not started:
        what = "case" if trial is None else f"trial {trial} of case"
        console.print_message(
            f"Run {found_id} has nothing on {what} {case_id} yet. {_to_list(found_id)}"
        )
        return ExitCode.NOT_FOUND
    if as_json:
        console.print_json(asdict(started[0]))
    else:
        transcripts.print_live(started[0])
    return ExitCode.DONE


async def _print_findings(
    connection: Connection, run_id: UUID, *, with_passed: bool = False, as_json: bool
) -> None:
    run = await reading.get_run(connection, run_id)
    found = await findings.of_run(connection, run_id, with_passed=with_passed)
    if run is None:  # pruned since its id was looked up
        return
    if as_json:
        console.print_json({"run": _without_summary(run), **asdict(found)})
    else:
        output.print_findings(run, found)


def _to_list(run_id: UUID) -> str:
    return f"To list finished tests: evalqueue adversarial show --all {run_id}"


def _without_summary(run: Run) -> dict[str, object]:
    """A run without its summary, which is beside it."""
    return {name: value for name, value in asdict(run).items() if name != "summary"}


async def show_app(app_id: str, *, as_json: bool) -> ExitCode:
    """Print the traits, goals, personas and tactics of an app."""
    async with open_client() as client, (await client.database()).connection() as connection:
        app, adversarial = await load_app(connection, app_id)
    if as_json:
        from evalqueue.http.models.adversarial import AdversarialApp

        console.print_json(AdversarialApp.of(app, adversarial).model_dump(mode="json"))
    else:
        output.print_app(app, adversarial)
    return ExitCode.DONE
