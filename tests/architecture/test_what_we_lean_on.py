"""Canaries: what this product leans on in procrastinate. When one fails, look before upgrading."""

import re

from procrastinate import App, jobs, schema
from procrastinate.manager import get_channel_for_queues

from evalqueue.postgres.definitions import read_definitions
from evalqueue.postgres.schema import own_migrations
from evalqueue.worker.app import ProcrastinateApp

OURS = "\n".join([*own_migrations().values(), *(each.sql for each in read_definitions().values())])


def test_the_functions_and_tables_our_sql_calls_are_in_procrastinate_s_schema():
    theirs = schema.SchemaManager.get_schema()
    used = set(re.findall(r"\bprocrastinate_\w+", OURS))

    assert {
        "procrastinate_defer_jobs_v1", "procrastinate_finish_job_v1",
        "procrastinate_retry_job_v2", "procrastinate_cancel_job_v1",
    } <= used  # fmt: skip
    for name in used:
        assert re.search(rf"(TABLE|FUNCTION|TYPE) {name}\b", theirs), name


def test_the_columns_our_triggers_read_are_there():
    (table,) = re.findall(
        r"CREATE TABLE procrastinate_jobs \((.*?)\n\);",
        schema.SchemaManager.get_schema(),
        re.DOTALL,
    )
    for column in ("id", "queue_name", "status", "scheduled_at", "abort_requested", "worker_id"):
        assert re.search(rf"^\s+{column} ", table, re.MULTILINE), column


def test_the_states_of_a_task_are_those_the_trigger_knows():
    assert {status.value for status in jobs.Status} == {
        "todo", "doing", "succeeded", "failed", "cancelled", "aborting", "aborted",
    }  # fmt: skip


def test_new_tasks_are_told_on_the_channels_the_worker_listens_on():
    assert list(get_channel_for_queues(None)) == ["procrastinate_any_queue_v1"]
    assert list(get_channel_for_queues(["a"])) == ["procrastinate_queue_v1#a"]
    for channel in ("procrastinate_any_queue_v1", "procrastinate_queue_v1#"):
        assert f"pg_notify('{channel}'" in schema.SchemaManager.get_schema()


def test_the_command_line_starts_workers_through_the_method_we_override():
    assert "run_worker_async" in vars(App)
    assert "run_worker_async" in vars(ProcrastinateApp)
