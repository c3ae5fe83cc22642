"""The evaluators there are: the product's own, and those of other packages.

Another package registers an evaluator by an entry point of the group `evalqueue.evaluators` that
names its `EvaluatorType`.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.judging.builtin import correctness, efficiency, intent
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.plan import EvaluationPlan, EvaluatorType

ENTRY_POINTS = "evalqueue.evaluators"
BUILT_IN = (intent.EVALUATOR, correctness.EVALUATOR, efficiency.EVALUATOR)

logger = logging.getLogger(__name__)


class EvaluatorParams(
    intent.IntentParams, correctness.CorrectnessParams, efficiency.EfficiencyParams
):
    """The params that the product's own evaluators have in a job."""


class UnknownEvaluator(ValueError):
    """There is no evaluator of this name in this process."""


@cache
def installed() -> Mapping[str, EvaluatorType]:
    """The evaluators of this process by name, loaded when first asked for."""
    found = {each.name: each for each in BUILT_IN}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        kind = _loaded(point)
        if kind is not None and found.setdefault(kind.name, kind) is not kind:
            logger.error("Evaluator %s of %s: the name is taken", kind.name, point.value)
    return found


def chosen(plan: EvaluationPlan) -> tuple[EvaluatorType, ...]:
    """The evaluators that a plan has on.

    Raises:
        UnknownEvaluator: the plan names one that is not installed.
    """
    there = installed()
    unknown = [name for name in plan.evaluators or () if name not in there]
    if unknown:
        raise UnknownEvaluator(
            f"Not installed: evaluator {', '.join(unknown)}. There are: {', '.join(there)}"
        )
    return tuple(kind for kind in there.values() if kind.is_on(plan.evaluators, plan.options))


def are_all_off(wanted: Collection[str] | None, options: Mapping[str, Any]) -> bool:
    """Whether nothing would be evaluated."""
    return not any(kind.is_on(wanted, options) for kind in installed().values())


def make(plan: EvaluationPlan) -> tuple[Evaluator, ...]:
    """The evaluators of a plan, ready to work.

    Raises:
        UnknownEvaluator: the plan names one that is not installed.
    """
    return tuple(kind.make(plan) for kind in chosen(plan))


def for_app(app: App) -> Iterator[EvaluatorType]:
    """The evaluators that can have a verdict on an app."""
    return (kind for kind in installed().values() if kind.applies_to(app))


def mission_columns() -> tuple[str, ...]:
    """The columns of `thread_evaluations` that headlines fill."""
    return tuple(each.declaration.column for each in BUILT_IN if each.declaration.column)


def _loaded(point: EntryPoint) -> EvaluatorType | None:
    try:
        kind = point.load()
    except Exception:  # another package's code may raise anything: its evaluator is missing then
        logger.exception("Evaluator %s can't be loaded from %s", point.name, point.value)
        return None
    if not isinstance(kind, EvaluatorType):
        logger.error("Evaluator %s: %s is no EvaluatorType", point.name, point.value)
        return None
    return kind
