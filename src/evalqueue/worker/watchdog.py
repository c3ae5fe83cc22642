"""Sees when the event loop stands still: a handler that computes or waits without awaiting.

Nothing inside the loop can tell, and nothing there can stop it. Its leases run out, other workers
take over, and this process is of no use any more: the watchdog says where it hangs, and in the end
ends it, so that its supervisor starts a new one.
"""

import logging
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import Self

BEAT = 1.0  # seconds
STUCK_EXIT = 70  # EX_SOFTWARE: what was stuck could not be stopped, so the process had to be

logger = logging.getLogger(__name__)


class Watchdog:
    """A thread that expects `beat` to be called every second by the event loop.

    Args:
        warn_after: seconds of silence after which it says where the loop hangs.
        exit_after: seconds of silence after which it ends the process; None: never.
    """

    def __init__(self, *, warn_after: float, exit_after: float | None) -> None:
        self._warn_after = warn_after
        self._exit_after = exit_after
        self._watched = threading.get_ident()
        self._beaten = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()

    def beat(self) -> None:
        """The loop runs."""
        self._beaten.set()

    def _watch(self) -> None:
        silent = 0.0
        warned = False
        while not self._closing.wait(BEAT):
            if self._beaten.is_set():
                self._beaten.clear()
                silent, warned = 0.0, False
                continue
            # Beats that were missed, not time that passed: a process that was frozen as a whole
            # and goes on has missed hardly any.
            silent += BEAT
            if silent >= self._warn_after and not warned:
                warned = True
                where = self._where()
                logger.error("The event loop has stood still for %.0f s:\n%s", silent, where)
            if self._exit_after is not None and silent >= self._exit_after:
                logger.error("The event loop stands still for good: ending the process")
                exit_now()

    def _where(self) -> str:
        frame = sys._current_frames().get(self._watched)  # pyright: ignore[reportPrivateUsage]  documented
        return "" if frame is None else "".join(traceback.format_stack(frame)[-8:])


def exit_now() -> None:
    """End the process without waiting for anything in it."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(STUCK_EXIT)
