"""The evaluation layer: conversations become scores.

What judges and reads conversations knows neither queue nor database. The job types and their
handlers connect it to the queue.
"""

import importlib
from typing import TYPE_CHECKING

from evalqueue.evaluators.datasets import bundled
from evalqueue.evaluators.simulated import conversations

if TYPE_CHECKING:
    from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
    from evalqueue.evaluators.batch.job_type import EvaluateBatch
    from evalqueue.evaluators.sources.job_type import EvaluateSource
    from evalqueue.evaluators.sources.posting import post_messages

__all__ = ["EvaluateAdversarial", "EvaluateBatch", "EvaluateSource", "post_messages"]

_MODULES = {
    "EvaluateAdversarial": "adversarial.job_type",
    "EvaluateBatch": "batch.job_type",
    "EvaluateSource": "sources.job_type",
    "post_messages": "sources.posting",
}

bundled.register("kaira", conversations.kaira_csv())


def __getattr__(name: str) -> object:
    """Import a job type, or what posts messages, when it is used.

    This module is imported before every module of the package, and the job types import most of
    them: half a second for a command that needs one.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
