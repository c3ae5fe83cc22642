"""The commands about labels, and about how often a judge is wrong by them."""

import io
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_batch_run
from evalqueue.cli.output import console
from evalqueue.cli.output import labels as output
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import NothingMeant, Refused
from evalqueue.evaluators.labels import annotation, files, store
from evalqueue.evaluators.labels.annotation import AnnotationProgress, AnnotationQueue, Selection
from evalqueue.evaluators.labels.calibrate import Half, calibration
from evalqueue.evaluators.labels.store import LabelledRun
from evalqueue.postgres.database import Connection


async def sample(
    run_name: str, evaluator: str, score: str | None, *, size: int, by: str
) -> ExitCode:
    """Print a file for one person to fill in."""
    async with _run(run_name) as (connection, run):
        try:
            found, declared = store.find_score(run, evaluator, score)
        except LookupError as error:
            raise Refused(str(error)) from error
        drawn = await store.sample(connection, run, declared, found, size=size, labelled_by=by)
    file = io.StringIO(newline="")
    files.write(file, drawn, evaluator=found.name, name=declared.name, labelled_by=by)
    sys.stdout.write(file.getvalue())
    values = ", ".join(store.menu(declared)) or "any text"
    console.print_message(
        f"{len(drawn)} conversations. Fill in the column value: {values}. "
        f"Then: evalqueue labels add FILE --run {run.run_id}"
    )
    return ExitCode.DONE


async def add(path: Path, run_name: str, *, as_json: bool) -> ExitCode:
    """Store the labels of a file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            labels, empty = files.read(file)
        except UnicodeDecodeError as error:
            raise Refused(f"{path} is not UTF-8: save it as CSV UTF-8") from error
    async with _run(run_name) as (connection, run):
        added = await store.add(connection, run, labels)
    found = {"added": added, "unchanged": len(labels) - added, "without_value": empty}
    text = f"{added} labels added, {found['unchanged']} unchanged, {empty} rows without a value."
    console.print_result(found, text, as_json=as_json)
    return ExitCode.DONE


async def list_labels(run_name: str, *, as_json: bool) -> ExitCode:
    """Print the labels of a run's conversations."""
    async with _run(run_name) as (connection, run):
        labels = await store.current(connection, run)
    if as_json:
        console.print_json([asdict(each) for each in labels])
    else:
        console.print_table(
            ("conversation", "score", "label", "by", "random", "note"),
            [
                (e.thread_id, f"{e.evaluator}.{e.name}", e.value, e.labelled_by,
                 "yes" if e.is_random else "no", e.note or "")
                for e in labels
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def queue(
    run_name: str,
    evaluator: str,
    score: str | None,
    *,
    size: int,
    annotators: int,
    selection: Selection,
    as_json: bool,
) -> ExitCode:
    """Ask people to label conversations of a run on the page."""
    async with _run(run_name) as (connection, run):
        try:
            created = await annotation.create(
                connection,
                run,
                evaluator=evaluator,
                name=score,
                selection=selection,
                size=size,
                annotators=annotators,
            )
        except LookupError as error:
            raise Refused(str(error)) from error
        progress = await annotation.progress(connection, created)
    people = "1 person" if annotators == 1 else f"{annotators} people"
    text = (
        f"{progress.items} conversations, {people} each. "
        f"They are labelled on the page, at /annotation/{created.id}"
    )
    console.print_result(_queue_json(created, progress), text, as_json=as_json)
    return ExitCode.DONE


async def list_queues(run_name: str, *, as_json: bool) -> ExitCode:
    """Print the annotation queues of a run."""
    async with _run(run_name) as (connection, run):
        queues = await annotation.queues_of(connection, run.run_id, owner=run.owner)
        found = [(each, await annotation.progress(connection, each)) for each in queues]
    if as_json:
        console.print_json([_queue_json(*each) for each in found])
    else:
        console.print_table(
            ("queue", "score", "items", "complete", "people", "disputed", "agreement (α)"),
            [
                (queue.id, f"{queue.evaluator}.{queue.name}, {queue.selection}", of.items,
                 of.complete, queue.annotators, of.disputed,
                 "–" if of.agreement is None else f"{of.agreement:.2f}")
                for queue, of in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


def _queue_json(queue: AnnotationQueue, progress: AnnotationProgress) -> Mapping[str, object]:
    return asdict(queue) | {"progress": asdict(progress)}


async def calibrate(run_name: str, half: str | None, *, as_json: bool) -> ExitCode:
    """Print how often the judge of a run is wrong."""
    if half is not None and half not in set(Half):
        raise Refused(f"--half is {Half.DEVELOPMENT} or {Half.TEST}, not {half!r}")
    async with _run(run_name) as (connection, run):
        found = await calibration(connection, run, half=None if half is None else Half(half))
    console.print_result(output.as_json(found), output.text(found), as_json=as_json)
    return ExitCode.DONE


@asynccontextmanager
async def _run(given: str) -> AsyncGenerator[tuple[Connection, LabelledRun]]:
    """A connection, and the run that is meant.

    Raises:
        NothingMeant: there is no such run.
        Refused: it could be several, or it is an adversarial test.
    """
    async with open_client() as client:
        found = await find_batch_run(client, given)
        async with (await client.database()).connection() as connection:
            run = await store.labelled_run(connection, found.id, owner=None)
            if run is None:
                raise NothingMeant(f"Run {found.id} was deleted just now")
            yield connection, run
