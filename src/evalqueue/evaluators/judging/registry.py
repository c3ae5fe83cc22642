"""The evaluators there are: the product's own, those of other packages, and those that are data.

Data are the definitions of an app, and those of the catalogue. Another package registers an
evaluator by an entry point of the group `evalqueue.evaluators` that names its `EvaluatorType`.
"""

import logging
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pydantic import ValidationError

from evalqueue.errors import Problem
from evalqueue.evaluators.apps import App, InvalidApp
from evalqueue.evaluators.apps.evaluators import name_of
from evalqueue.evaluators.definitions import catalogue
from evalqueue.evaluators.judging.builtin import (
    checks,
    correctness,
    efficiency,
    intent,
    trajectory,
)
from evalqueue.evaluators.judging.defined.evaluator import evaluator_type
from evalqueue.evaluators.judging.evaluator import Evaluator
from evalqueue.evaluators.judging.plan import EvaluationPlan, EvaluatorType
from evalqueue.evaluators.judging.voting.evaluator import voted
from evalqueue.evaluators.judging.voting.panel import NO_PANEL, Panel
from evalqueue.problems import explained

ENTRY_POINTS = "evalqueue.evaluators"
BUILT_IN = (
    intent.EVALUATOR, correctness.EVALUATOR, efficiency.EVALUATOR, checks.EVALUATOR,
    trajectory.EVALUATOR,
)  # fmt: skip

logger = logging.getLogger(__name__)


class EvaluatorParams(
    intent.IntentParams,
    correctness.CorrectnessParams,
    efficiency.EfficiencyParams,
    trajectory.TrajectoryParams,
):
    """The params that the product's own evaluators have in a job."""


class Origin(StrEnum):
    """Where an evaluator comes from."""

    INSTALLED = "installed"
    APP = "app"
    CATALOGUE = "catalogue"


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


def of_app(app: App) -> Mapping[str, EvaluatorType]:
    """The evaluators of an app by name: those that are installed, then its own."""
    own = {each.name: evaluator_type(each, app) for each in app.definitions}
    return {**installed(), **{name: kind for name, kind in own.items() if name not in installed()}}


def is_usual(kind: EvaluatorType, app: App | None = None) -> bool:
    """Whether a job of the app that names no evaluators has it on."""
    return not kind.on_request and (
        not kind.is_optional or (app is not None and kind.applies_to(app))
    )


def choices(app: App) -> Iterator[tuple[Origin, EvaluatorType]]:
    """The evaluators that a job of an app can name; those of the catalogue are off by default."""
    there = of_app(app)
    for name, kind in there.items():
        if is_usual(kind, app):
            yield (Origin.INSTALLED if name in installed() else Origin.APP), kind
    for kind in there.values():
        if not is_usual(kind, app):
            yield Origin.CATALOGUE, kind
    for name in catalogue.names():
        if name not in there:
            yield Origin.CATALOGUE, evaluator_type(catalogue.load(name), app)


def check(app: App) -> None:
    """Refuse an app with an evaluator that no job of it could use.

    Raises:
        InvalidApp: one has the name of an installed evaluator, or can't declare its scores.
    """
    problems = [
        each.within("evaluators", number)
        for number, entry in enumerate(app.evaluators)
        for each in _problems(name_of(entry), app)
    ]
    if problems:
        raise InvalidApp(app.app_id, problems)


def chosen(plan: EvaluationPlan) -> tuple[EvaluatorType, ...]:
    """The evaluators that a plan has on: of the catalogue, those that it or its app names.

    Raises:
        UnknownEvaluator: the plan names one that there is not, or its app one that is another.
    """
    there = dict(of_app(plan.app))
    try:
        check(plan.app)
    except InvalidApp as error:
        raise UnknownEvaluator(str(error)) from error
    for name in plan.evaluators or ():
        if name not in there and name in catalogue.names():
            there[name] = evaluator_type(catalogue.load(name), plan.app)
    unknown = [name for name in plan.evaluators or () if name not in there]
    if unknown:
        raise UnknownEvaluator(
            f"Not installed: evaluator {', '.join(unknown)}. There are: {', '.join(there)}; in the "
            f"catalogue: {', '.join(catalogue.names())}"
        )
    return tuple(
        kind
        for kind in there.values()
        if kind.is_on(plan.evaluators, plan.options)
        and (plan.evaluators is not None or is_usual(kind, plan.app))
    )


def make(plan: EvaluationPlan) -> tuple[Evaluator, ...]:
    """The evaluators of a plan, ready to work.

    Raises:
        UnknownEvaluator: the plan names one that there is not.
    """
    return tuple(
        voted(kind.make(plan), kind.votes_in(plan), plan.second_model, panel_of(kind, plan))
        for kind in chosen(plan)
    )


def calls_llm(plan: EvaluationPlan) -> bool:
    """Whether one of the evaluators of a plan may ask a judge.

    Raises:
        UnknownEvaluator: the plan names one that there is not.
    """
    return any(kind.calls_llm for kind in chosen(plan))


def panel_of(kind: EvaluatorType, plan: EvaluationPlan) -> Panel:
    """The models that vote on the questions of an evaluator."""
    return Panel.of(plan.panel, kind.model or plan.model) if kind.has_votes else NO_PANEL


def votes_of(kind: EvaluatorType, plan: EvaluationPlan) -> int:
    """How many votes there are on each question of an evaluator, with those of a panel."""
    return kind.votes_in(plan) + len(panel_of(kind, plan).others)


def models(plan: EvaluationPlan) -> Mapping[str, str]:
    """The models that are asked besides the job's, as `provider/model`; each with who asks it."""
    kinds = chosen(plan)
    found = {kind.model: f"evaluator {kind.name}" for kind in kinds if kind.model is not None}
    if plan.second_model is not None and any(kind.votes_in(plan) > 1 for kind in kinds):
        found.setdefault(plan.second_model, "second_model")
    for kind in kinds:
        for name in panel_of(kind, plan).others:
            found.setdefault(name, "panel")
    return found


def for_app(app: App) -> Iterator[EvaluatorType]:
    """The evaluators that have a verdict on an app unless a job names others."""
    kinds = of_app(app).values()
    return (kind for kind in kinds if kind.applies_to(app) and not kind.on_request)


def mission_columns() -> tuple[str, ...]:
    """The columns of `thread_evaluations` that headlines fill."""
    return tuple(each.declaration.column for each in BUILT_IN if each.declaration.column)


def _problems(name: str, app: App) -> Iterator[Problem]:
    if name in installed():
        yield Problem(
            loc=("name",), msg=f"{name!r} is the name of an installed evaluator: rename it"
        )
    definition = next(each for each in app.definitions if each.name == name)
    try:
        evaluator_type(definition, app)
    except ValidationError as error:
        for each in explained(error):
            yield Problem(loc=(), msg=f"{'.'.join(map(str, each['loc']))}: {each['msg']}")


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
