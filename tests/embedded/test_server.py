"""The embedded Postgres: processes share it, and it stops when the last of them ends."""

import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from homes import temporary_home

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.embedded.server import Embedded

HOLD = """
import sys, time
from pathlib import Path
from evalqueue.postgres.embedded.server import Embedded
print(Embedded(Path(sys.argv[1])).url, flush=True)
time.sleep(60)
"""


def holder(home: Path) -> tuple[subprocess.Popen[str], str]:
    """Start another process that uses the server; yields it and the server's address."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLD, str(home)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    process.stdout.close()
    return process, url


@pytest.fixture
def home() -> Path:
    return temporary_home("evalqueue-embedded-")


def test_two_processes_starting_at_once_share_one_server_that_outlives_neither(home: Path):
    first, first_url = holder(home)
    second, second_url = holder(home)
    assert first_url == second_url
    mine = Embedded(home)
    first.kill()
    second.kill()
    first.wait()
    second.wait()

    with psycopg.connect(mine.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    mine.stop()

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(mine.url)


def test_a_server_that_was_killed_starts_again_with_what_it_held(home: Path):
    process, url = holder(home)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE stored (n integer)")
    postmaster = int((home / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
    process.kill()
    process.wait()
    killed = psutil.Process(postmaster)
    family = [killed, *killed.children(recursive=True)]
    killed.kill()
    # Its child processes hold shared memory until they notice, and no server could start.
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left

    again = Embedded(home)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT count(*) FROM stored").fetchone() == (0,)
    again.stop()


def test_a_server_that_takes_long_to_recover_is_waited_for(
    home: Path, caplog: pytest.LogCaptureFixture
):
    Embedded(home).stop()
    data = home / "pgdata"
    slow = f"test -e {data}/asked || {{ touch {data}/asked; sleep 6; }}; false"
    with (data / "postgresql.auto.conf").open("a") as configuration:
        configuration.write(f"restore_command = '{slow}'\n")
    (data / "recovery.signal").touch()

    again = Embedded(home)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    again.stop()
    assert (data / "asked").exists()
    assert [each.message for each in caplog.records].count(
        "Postgres is still starting, perhaps after a crash: waiting for it"
    ) == 1


def test_a_server_that_cannot_start_says_where_to_look(home: Path):
    Embedded(home).stop()
    with (home / "pgdata/postgresql.auto.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'everything'\n")

    with pytest.raises(DatabaseUnavailable, match=r"did not start") as refused:
        Embedded(home)
    message = str(refused.value)
    assert str(home / "postgres.log") in message
    assert "shared_buffers" in message  # the server's own words
    assert "DATABASE_URL" in message
