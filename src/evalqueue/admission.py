"""Submissions of a client: their params are admitted, then they are stored."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from evalqueue.errors import InvalidParams, NotRetryable, Problem
from evalqueue.jobs import Job
from evalqueue.jobtypes import AdmissionContext, JobParams, JobTypes
from evalqueue.postgres import store
from evalqueue.postgres.database import Connection
from evalqueue.postgres.store import Submission

Connect = Callable[[], AbstractAsyncContextManager[Connection]]
"""Takes a connection. None is held while params are admitted, which takes others of the pool."""


async def submit(
    connect: Connect, params: JobParams, options: Submission, admission: AdmissionContext
) -> Job:
    """Admit and store one job.

    Raises:
        InvalidParams: the params can't work; nothing was stored.
        KeyReused: another request came with this idempotency key before.
    """
    requested: Mapping[str, Any] | None = None
    if (key := options.idempotency_key) is not None:
        # Before today's defaults are filled in: the same request tomorrow is still the same.
        requested = params.stored()
        options = replace(options, params=requested, requested=requested)
        async with connect() as connection:
            if await store.of_key(connection, owner=options.owner, idempotency_key=key) is not None:
                # It might not be admitted today: its file may be gone.
                return await store.submit(connection, options)
    admitted = await params.admit(admission)
    if requested is None or admitted is not params:
        options = replace(options, params=admitted.stored())
    async with connect() as connection:
        return await store.submit(connection, options)


async def admit_retry(job: Job, job_types: JobTypes, admission: AdmissionContext) -> None:
    """Refuse to continue a job that would end at once, as far as its job type is known here.

    Raises:
        NotRetryable: with the reason.
    """
    if not job.retryable or job.job_type not in job_types:
        return
    try:
        params = job_types.decode(job.job_type, job.params)
        await params.admit_retry(replace(admission, owner=job.owner))
    except InvalidParams as error:
        reasons = "; ".join(problem.msg for problem in error.problems)
        raise NotRetryable(f"Job {job.id} would end at once again: {reasons}") from error


async def submit_many(
    connect: Connect,
    params: Sequence[JobParams],
    submissions: Sequence[Submission],
    admission: AdmissionContext,
) -> Sequence[Job]:
    """Admit and store many jobs: all of them, or none.

    Args:
        submissions: of each of the params, which they hold.

    Raises:
        InvalidParams: everything that is wrong, each at `("jobs", index, …)`.
        KeyReused: another request came with one of the keys before.
    """
    keys = [each.idempotency_key for each in submissions if each.idempotency_key is not None]
    known = frozenset[str]()
    if keys:
        async with connect() as connection:
            known = await store.known_keys(connection, owner=admission.owner, idempotency_keys=keys)
    admitted = list[Submission]()
    problems = list[Problem]()
    for index, (each, options) in enumerate(zip(params, submissions, strict=True)):
        stored = options.params
        if options.idempotency_key not in known:
            try:
                stored = (await each.admit(admission)).stored()
            except InvalidParams as error:
                problems.extend(problem.within("jobs", index) for problem in error.problems)
        # Before today's defaults are filled in, as in `submit`.
        requested = None if options.idempotency_key is None else options.params
        admitted.append(replace(options, params=stored, requested=requested))
    if problems:
        raise InvalidParams(problems)
    async with connect() as connection:
        return await store.submit_many(connection, admitted)
