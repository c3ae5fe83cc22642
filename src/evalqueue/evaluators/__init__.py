"""The evaluation layer: conversations become scores.

What judges and reads conversations knows neither queue nor database. The job types and their
handlers connect it to the queue.
"""

from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.datasets import bundled
from evalqueue.evaluators.simulated import conversations
from evalqueue.evaluators.sources.job_type import EvaluateSource

bundled.register("kaira", conversations.kaira_csv())

__all__ = ["EvaluateAdversarial", "EvaluateBatch", "EvaluateSource"]
