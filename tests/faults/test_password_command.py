"""`EVALQUEUE_PASSWORD_COMMAND`, with a Postgres that asks for passwords."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from faults import work
from faults.deployment import Deployment
from psycopg import sql

from evalqueue.postgres import passwords
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.listener import JOB_CHANGED, Listener
from evalqueue.postgres.passwords import PasswordUnavailable, printed_password
from evalqueue.settings import Settings

ROLE = "rotated"
OLD, NEW = "of-monday-4711", "of-tuesday-0815"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A role whose password a script prints."""

    deployment: Deployment
    folder: Path

    @property
    def address(self) -> str:
        return self.deployment.address.replace("postgres@", f"{ROLE}@")

    @property
    def command(self) -> str:
        return shlex.join(["sh", str(self.folder / "print password")])

    @property
    def runs(self) -> int:
        """How often the command ran."""
        return (self.folder / "runs").read_text().count("run")

    def print(self, password: str) -> None:
        """What the command prints from now on."""
        (self.folder / "password").write_text(f"{password}\n")

    def script(self, ending: str) -> None:
        path = self.folder / "print password"
        path.write_text(f"echo run >> '{self.folder}/runs'\n{ending}\n")

    def fail(self) -> None:
        file = f"'{self.folder}/password'"
        reason = f'echo "No token like $(cat {file}), password={OLD}" >&2'
        self.script(f"cat {file}; {reason}; echo more >&2; exit 3")

    def work(self) -> None:
        self.script(f"cat '{self.folder}/password'")

    async def change(self, password: str) -> None:
        """Change the password of the role, and end its sessions."""
        async with await self.deployment.server.connect() as admin:
            await admin.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), password)
            )
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE]
            )


@pytest.fixture
async def rotated(deployment: Deployment, tmp_path: Path) -> AsyncGenerator[Rotated]:
    rules = deployment.server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n{before}")
    async with await deployment.server.connect() as admin:
        await admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(ROLE), OLD)
        )
        await admin.execute("SELECT pg_reload_conf()")
    found = Rotated(deployment=deployment, folder=tmp_path)
    (tmp_path / "runs").touch()
    found.print(OLD)
    found.work()
    yield found
    rules.write_text(before)
    async with await deployment.server.connect() as admin:
        await admin.execute("SELECT pg_reload_conf()")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE]
        )
        await admin.execute(f"DROP ROLE {ROLE}")


async def all_texts(address: str) -> str:
    """Every row of every table."""
    async with await psycopg.AsyncConnection.connect(address) as connection:
        cursor = await connection.execute(
            "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        )
        texts: list[str] = []
        for (table,) in await cursor.fetchall():
            rows = await connection.execute(f"SELECT each::text FROM {table} AS each".encode())
            texts += [str(row) for row in await rows.fetchall()]
    return "\n".join(texts)


async def test_a_worker_outlives_a_change_of_the_password(rotated: Rotated) -> None:
    deployment = rotated.deployment
    worker = deployment.fleet.start(rotated.address, EVALQUEUE_PASSWORD_COMMAND=rotated.command)
    await worker.ready()
    first = await deployment.submit(work.Steps(items=2))
    await deployment.until_over(first)

    await rotated.change(NEW)  # what is printed now is refused
    second = await deployment.submit(work.Steps(items=2))
    await worker.until_logged("password authentication failed")
    rotated.print(NEW)
    await deployment.until_over(second)
    assert (await deployment.get(second)).attempt == 1
    assert worker.is_alive

    rotated.fail()
    reason = "ended with exit status 3: No token like [hidden], password=[hidden]"
    while reason not in worker.log_text():  # what it printed last is used for some seconds
        await rotated.change(NEW)
    third = await deployment.submit(work.Steps(items=2))
    rotated.work()
    await deployment.until_over(third)
    written = worker.log_text() + await all_texts(deployment.address)
    assert OLD not in written
    assert NEW not in written


async def test_a_pool_and_its_listener_run_it_once_for_the_connections_of_a_moment(
    rotated: Rotated,
) -> None:
    settings = Settings(
        database_url=rotated.address, password_command=rotated.command, pool_size=10
    )
    database = Database.of(settings, rotated.address)
    await database.open()
    listener = Listener(database, [JOB_CHANGED])
    async with listener, asyncio.TaskGroup() as asking:
        all_are_open = asyncio.Barrier(10)

        async def ask(connection: Connection) -> None:
            await connection.execute("SELECT")
            await all_are_open.wait()

        for _ in range(10):
            asking.create_task(database.until_done(ask, what="A question"))
        await listener.wait_for_proof()
    assert listener.is_listening or listener.probe_age_seconds is not None
    assert database.pool.get_stats()["pool_size"] == 10
    assert rotated.runs == 1
    await database.close()


async def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command of ours; returns its exit code and all it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evalqueue", *arguments, env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_commands_have_the_password_or_say_why_not(rotated: Rotated) -> None:
    given = {"DATABASE_URL": rotated.address, "EVALQUEUE_PASSWORD_COMMAND": rotated.command}
    assert (await run("status", **given))[0] == 0

    rotated.fail()
    code, out = await run("status", **given, EVALQUEUE_DATABASE_WAIT_SECONDS="1")
    assert (code, OLD in out) == (5, False)
    assert "There is no password for Postgres" in out
    assert "ended with exit status 3: No token like [hidden], password=[hidden]." in out

    code, out = await run("status", **given | {"EVALQUEUE_PASSWORD_COMMAND": "/none/such"})
    assert code == 5
    assert "EVALQUEUE_PASSWORD_COMMAND can't be started: /none/such: No such file" in out


@pytest.mark.parametrize("command", ["queues", "doctor"])
async def test_short_commands_write_no_secret_of_the_environment(command: str) -> None:
    script = "echo No token for $OPENAI_API_KEY >&2; exit 1"
    code, out = await run(
        command, DATABASE_URL="postgresql://u@127.0.0.1:9/d", OPENAI_API_KEY=NEW,
        EVALQUEUE_PASSWORD_COMMAND=shlex.join(["sh", "-c", script]),
        EVALQUEUE_DATABASE_WAIT_SECONDS="0",
    )  # fmt: skip
    assert code in (1, 5)
    assert "No token for [hidden]" in out
    assert NEW not in out


async def test_a_command_with_a_null_byte_can_not_be_started(tmp_path: Path) -> None:
    (tmp_path / "command").write_text("print\0 it")
    code, out = await run(
        "status", DATABASE_URL="postgresql://u@127.0.0.1:9/d",
        EVALQUEUE_PASSWORD_COMMAND_FILE=str(tmp_path / "command"),
    )  # fmt: skip
    assert code == 5
    assert "EVALQUEUE_PASSWORD_COMMAND can't be started: embedded null byte." in out


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"DATABASE_URL": "", "EVALQUEUE_PASSWORD_COMMAND": "true"},
         "EVALQUEUE_PASSWORD_COMMAND needs DATABASE_URL."),
        ({"DATABASE_URL": "postgresql://u:of-the-url@h/d", "EVALQUEUE_PASSWORD_COMMAND": "true"},
         "DATABASE_URL has a password, and EVALQUEUE_PASSWORD_COMMAND is set. Leave one out."),
        ({"DATABASE_URL": "postgresql://u@h/d", "EVALQUEUE_PASSWORD_COMMAND": "print 'it"},
         "EVALQUEUE_PASSWORD_COMMAND: No closing quotation"),
    ],
)  # fmt: skip
async def test_settings_that_contradict_are_refused(variables: dict[str, str], reason: str) -> None:
    assert await run("status", **variables) == (2, f"{reason}\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 4", "ended with exit status 4: it printed no reason"),
        ("kill -9 $$", "ended with signal 9: it printed no reason"),
        ("true", "has to print one line, the password"),
        ("echo one-secret; echo two-secret", "has to print one line, the password"),
        (
            "echo one; echo 'two secrets';"
            r" printf 'one? \033[2J two secrets: hidden\n' >&2; exit 1",
            r"ended with exit status 1: [hidden]? \x1b[2J [hidden]: hidden",
        ),
        ("yes a-secret", "printed more than 65536 bytes"),
        ("echo a-secret; sleep 300", "did not end within 1 s"),
        ("sleep 300 & echo a-secret", "did not end within 1 s"),
    ],
)
async def test_a_command_that_prints_no_password_is_an_error_without_its_output(
    script: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "TIME_LIMIT_SECONDS", 1.0)
    with pytest.raises(PasswordUnavailable) as unavailable:
        await printed_password(["sh", "-c", script])
    assert str(unavailable.value) == f"EVALQUEUE_PASSWORD_COMMAND {reason}"


async def test_it_may_write_much_to_stderr() -> None:
    assert await printed_password(["sh", "-c", "seq 100000 >&2; echo of-monday"]) == "of-monday"
