"""Finds the job, the run, the case or the link that is meant: by its id, the first characters of
it, or its name.

What could be several things is refused, and they are listed.
"""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from evalqueue.cli.output.text import one_line
from evalqueue.cli.output.times import format_time
from evalqueue.client import Client
from evalqueue.errors import NothingMeant, Refused
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.results import references
from evalqueue.evaluators.runs.reading import Run
from evalqueue.postgres import store

_LISTED_MAX = 10
_PREFIX = re.compile(r"[0-9a-f]{1,32}")

Found = TypeVar("Found")


async def find_job_id(client: Client, given: str) -> UUID:
    """The id of the job that is meant. A whole id is not looked up.

    Raises:
        NothingMeant: there is no such job.
        Refused: it could be several.
    """
    first, last = _range(given)
    if first is not None and first == last:
        return first
    async with (await client.database()).connection() as connection:
        found = await store.matching(
            connection, first=first, last=last, name=given, limit=_LISTED_MAX + 1
        )
    return _only(
        found,
        f"There is no job with the id or name {given}. To list them: evalqueue status",
        lambda job: f"{job.id}  {job.job_type}  {job.status}  {_about(job.created_at, job.name)}",
        given,
    ).id


async def find_run(client: Client, given: str) -> Run:
    """The run that is meant, by its own id or name, or by that of a job of it.

    Raises:
        NothingMeant: there is no such run.
        Refused: it could be several.
    """
    first, last = _range(given)
    async with (await client.database()).connection() as connection:
        found = await references.matching(
            connection, first=first, last=last, name=given, limit=_LISTED_MAX + 1
        )
    return _only(
        found,
        f"There is no run {given}, and no job with this id that has a run. "
        "To list runs: evalqueue runs",
        lambda run: f"{run.id}  {run.command}  {run.status}  {_about(run.created_at, run.name)}",
        given,
    )


async def find_batch_run(client: Client, given: str) -> Run:
    """Likewise, a run that has judged conversations of a dataset.

    Raises:
        NothingMeant: there is no such run.
        Refused: it could be several, or it is an adversarial test.
    """
    run = await find_run(client, given)
    if is_adversarial(run):
        raise Refused(
            f"Run {run.id} is an adversarial test. To show it: evalqueue adversarial show {run.id}"
        )
    return run


async def find_adversarial_run(client: Client, given: str) -> Run:
    """Likewise, an adversarial test.

    Raises:
        NothingMeant: there is no such run.
        Refused: it could be several, or it is no adversarial test.
    """
    run = await find_run(client, given)
    if not is_adversarial(run):
        raise Refused(
            f"Run {run.id} is no adversarial test. To show it: evalqueue runs show {run.id}"
        )
    return run


def is_adversarial(run: Run) -> bool:
    """Whether a run is an adversarial test."""
    return run.command == EvaluateAdversarial.job_type


def find_id(given: str, known: Collection[str], *, missing: str) -> str:
    """The id that is meant, of those there are.

    Args:
        given: an id, or the first characters of one.
        known: all ids.
        missing: the message if none of them is meant.

    Raises:
        NothingMeant: none of them is.
        Refused: it could be several.
    """
    if given in known:
        return given
    found = sorted(each for each in known if given and each.startswith(given))
    return _only(found, missing, str, given)


def _range(given: str) -> tuple[UUID, UUID] | tuple[None, None]:
    """The first and the last id that begin so; None: no id does."""
    digits = given.lower().replace("-", "")
    if not _PREFIX.fullmatch(digits):
        return None, None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _only(found: Sequence[Found], missing: str, shown: Callable[[Found], str], given: str) -> Found:
    if not found:
        raise NothingMeant(missing)
    if len(found) > 1:
        lines = [f"  {shown(each)}" for each in found[:_LISTED_MAX]]
        more = ["  … and more"] if len(found) > _LISTED_MAX else []
        heading = f"{given} could be several. Write more of the id:"
        raise Refused("\n".join([heading, *lines, *more]))
    return found[0]


def _about(created_at: datetime, name: str | None) -> str:
    return f"{format_time(created_at)}  {one_line(name or '', 60)}".rstrip()
