"""The command line."""

import os
import signal
from types import FrameType

TERMINATED = 128 + signal.SIGTERM


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(TERMINATED)


# The first process of a container ignores signals that it has no handler for: SIGTERM while a
# command still starts would be lost, and the container killed at the end of its grace period.
# Commands with an end of their own replace the handler.
if os.getpid() == 1:
    signal.signal(signal.SIGTERM, _end)
