"""Sees when the event loop stands still: a handler that computes or waits without awaiting.

Nothing inside the loop can tell, and nothing there can stop it. Its leases run out, other workers
take over, and this process is of no use any more: the watchdog says where it hangs, and in the end
ends it, so that its supervisor starts a new one.

Two things end it, because each can be stopped by what stops the loop. The thread never logs itself:
whatever blocks a log line (a pipe that nothing reads) would block it, too. C code that never gives
up the GIL stops every thread; then the kernel ends the process, after so many seconds of CPU time
without a beat.
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import NoReturn, Self

BEAT = 1.0  # seconds
LOG_TIMEOUT = 1.0  # seconds to write the last log lines
CPU_MARGIN = 5.0  # seconds of CPU time that the kernel waits longer than the thread
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
        if self._exit_after is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def beat(self) -> None:
        """The loop runs."""
        self._beaten.set()
        if self._exit_after is not None:  # SIGPROF ends a process that has no handler for it
            signal.setitimer(signal.ITIMER_PROF, self._exit_after + CPU_MARGIN)

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
                text = f"The event loop has stood still for {silent:.0f} s:\n{self._where()}"
                _aside(partial(logger.error, "%s", text))
            if self._exit_after is not None and silent >= self._exit_after:
                _aside(
                    partial(
                        logger.error, "The event loop stands still for good: ending the process"
                    )
                ).join(LOG_TIMEOUT)
                exit_now()

    def _where(self) -> str:
        frame = sys._current_frames().get(self._watched)  # pyright: ignore[reportPrivateUsage]  documented
        return "" if frame is None else "".join(traceback.format_stack(frame)[-8:])


def exit_now() -> NoReturn:
    """End the process without waiting for anything in it."""
    _aside(_flush).join(LOG_TIMEOUT)
    os._exit(STUCK_EXIT)


def _flush() -> None:
    logging.shutdown()
    sys.stderr.flush()


def _aside(work: Callable[[], object]) -> threading.Thread:
    """Do what may block for ever in a thread of its own."""
    thread = threading.Thread(target=work, name="watchdog's log", daemon=True)
    thread.start()
    return thread
