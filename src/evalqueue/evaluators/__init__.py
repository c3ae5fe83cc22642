"""The first floor: conversations → verdicts.

Its thinking rooms (evaluators, judge, runs, batch, llm) know neither queue nor database; `store`,
`jobtypes` and `handlers` are where the two floors meet.
"""

from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.datasets import bundled
from evalqueue.evaluators.simulated import conversations

bundled.register("kaira", conversations.kaira_csv())

__all__ = ["EvaluateAdversarial", "EvaluateBatch"]
