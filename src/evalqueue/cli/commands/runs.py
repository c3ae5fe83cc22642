"""Finds a run by its id, or by its job's."""

from uuid import UUID

from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.client import Client
from evalqueue.errors import JobNotFound
from evalqueue.evaluators.runs import store


async def find_run_id(client: Client, run_or_job: UUID) -> UUID | None:
    """The id of the run with this id, or of the run that this job has; None: there is none."""
    async with (await client.database()).connection() as connection:
        if await store.get_run(connection, run_or_job) is not None:
            return run_or_job
    try:
        job = await client.get(run_or_job)
    except JobNotFound:
        return None
    run_id = job.progress.details.get("run_id")
    return None if run_id is None else UUID(str(run_id))


def run_not_found(run_id: UUID) -> ExitCode:
    """Print that there is no such run."""
    console.print_message(f"There is no run {run_id}, and no job with this id that has a run.")
    return ExitCode.NOT_FOUND
