"""Settings of the database or the role: a worker and the API mean the same by every statement."""

from pathlib import Path

import pytest
from faults.api import api
from faults.bouncer import bouncer
from faults.deployment import Deployment
from faults.work import Steps

from evalqueue import JobStatus
from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.database import Database

SETTINGS = [
    "datestyle = 'SQL, DMY'",
    "datestyle = 'German'",
    "intervalstyle = 'iso_8601'",
    "intervalstyle = 'sql_standard'",
    "timezone = 'Asia/Kathmandu'",
    "bytea_output = 'escape'",
    "extra_float_digits = -5",
    "standard_conforming_strings = off",
    "row_security = off",
    "search_path = 'elsewhere, public'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_deferrable = on",
]


async def set_all(deployment: Deployment, *settings: str) -> None:
    async with await deployment.server.connect(deployment.database) as connection:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS elsewhere")
        for setting in settings:
            statement = f"ALTER DATABASE {deployment.database} SET {setting}"
            await connection.execute(
                statement.replace("'elsewhere, public'", "elsewhere, public").encode()
            )


async def works(deployment: Deployment, address: str, folder: Path, **environment: str) -> None:
    """A worker runs a job with helper jobs and retries, and the API shows it."""
    async with api(address, folder, **environment) as http:
        first = await deployment.fleet.start(address, **environment).ready()
        answer = await http.post(
            "/api/jobs",
            json={"job_type": "fault-steps", "params": {"items": 4, "tries_again": 1}},
        )
        assert answer.status_code == 201, answer.text
        job = await deployment.submit(Steps(items=2))
        await deployment.watch.until("SELECT bool_and(completed_at IS NOT NULL) FROM jobs")
        listed = await http.get("/api/jobs")
        assert listed.status_code == 200
        assert {each["status"] for each in listed.json()} == {"completed"}
        assert all(each["created_at"].endswith("+00:00") for each in listed.json())
        for path in ("queues", "workers", f"jobs/{job.id}/attempts"):
            assert (await http.get(f"/api/{path}")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        found = await deployment.get(job)
        assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
        assert first.is_alive
    await deployment.assert_sound()


@pytest.mark.parametrize("setting", SETTINGS)
async def test_a_setting_of_the_database_changes_nothing(
    deployment: Deployment, tmp_path: Path, setting: str
):
    await set_all(deployment, setting)
    await works(deployment, deployment.address, tmp_path)


async def test_settings_of_the_database_change_nothing_behind_a_pooler(
    deployment: Deployment, tmp_path: Path
):
    """But for the isolation, which can't be set there."""
    await set_all(deployment, *[each for each in SETTINGS if "isolation" not in each])
    async with bouncer(tmp_path, deployment.server.port) as port:
        address = deployment.server.address(deployment.database, port=port)
        await works(deployment, address, tmp_path, EVALQUEUE_LISTEN_URL=deployment.address)


async def test_another_isolation_behind_a_pooler_is_refused_with_the_cure(
    deployment: Deployment, tmp_path: Path
):
    await set_all(deployment, "default_transaction_isolation = 'serializable'")
    async with bouncer(tmp_path, deployment.server.port) as port:
        address = deployment.server.address(deployment.database, port=port)
        database = Database(address, listen_conninfo=deployment.address)
        with pytest.raises(DatabaseUnavailable, match="ALTER ROLE"):
            await database.open()
        await database.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_another_encoding_than_utf8_is_refused_with_the_cure(
    deployment: Deployment, encoding: str
):
    name = f"in_{encoding.lower()}"
    async with await deployment.server.connect() as connection:
        await connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode()
        )
    database = Database(deployment.server.address(name))
    with pytest.raises(DatabaseUnavailable, match=f"{encoding}.*CREATE DATABASE"):
        await database.open()
    await database.close()
