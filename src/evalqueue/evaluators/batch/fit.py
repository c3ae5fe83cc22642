"""Whether an app, the evaluators and the recorded labels of some data fit together.

What does not fit is refused where every verdict about it would be wrong, else remarked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum

from evalqueue import codec
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import TurnData
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.answers import label_key
from evalqueue.evaluators.judging.plan import EvaluationPlan, EvaluatorType
from evalqueue.postgres.database import Connection

_SHOWN = 8  # names in a message
_NAME_MAX = 60  # characters of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """What does not fit, and what to do about it."""

    kind: str
    field: str
    """The param that it is about."""
    message: str
    refused: bool = False
    """Whether such a job is not accepted."""

    def as_json(self) -> dict[str, object]:
        return {"kind": self.kind, "message": self.message}


class NamedBy(StrEnum):
    """What names the app of a job."""

    JOB = "job"
    DATASET = "dataset"
    SETTINGS = "settings"
    """Neither: the default app is used."""


def misfits(
    plan: EvaluationPlan,
    recorded: Mapping[str, int],
    *,
    named_by: NamedBy,
    without_data: Collection[str] = (),
) -> tuple[Misfit, ...]:
    """What does not fit.

    Args:
        plan: the app, and what is asked about it.
        recorded: the labels on record, and how many messages have each.
        named_by: what names the app. What a job names is used, with a warning.
        without_data: the evaluators whose data no turn has.
    """
    chosen = registry.chosen(plan)
    return (
        *_invalid_options(plan, chosen),
        *_idle(plan, chosen, without_data),
        *_unasked(plan, chosen),
        *_assumed(plan, recorded, named_by=named_by),
        *(
            each
            for kind in chosen
            for each in _foreign_labels(plan, kind, recorded, named_by=named_by)
        ),
    )


def data_needed(plan: EvaluationPlan) -> Mapping[str, Sequence[AbstractSet[TurnData]]]:
    """What evaluators need of the data, by their names: a turn with all of one of these."""
    needed = {
        kind.name: kind.data(plan.app)
        for kind in registry.chosen(plan)
        if kind.applies_to(plan.app)
    }
    return {name: sets for name, sets in needed.items() if sets}


async def without_data(
    connection: Connection,
    plan: EvaluationPlan,
    dataset_id: str,
    thread_ids: Sequence[str] | None,
) -> frozenset[str]:
    """The evaluators whose data no turn of some conversations (None: of all) has."""
    found = set[str]()
    for name, sets in data_needed(plan).items():
        for each in sets:
            if await datasets.has_turn_with(connection, dataset_id, thread_ids, each):
                break
        else:
            found.add(name)
    return frozenset(found)


def _invalid_options(plan: EvaluationPlan, chosen: Sequence[EvaluatorType]) -> Iterator[Misfit]:
    for kind in chosen:
        for field, message in kind.problems(plan).items():
            yield Misfit(kind="invalid_option", field=field, message=message, refused=True)


def _idle(
    plan: EvaluationPlan, chosen: Sequence[EvaluatorType], without_data: Collection[str]
) -> Iterator[Misfit]:
    """Evaluators that would find nothing."""
    idle = [(kind, why) for kind in chosen if (why := _nothing_found(plan.app, kind, without_data))]
    for kind, why in idle:
        off = f"{kind.switch}=false" if kind.switch else "leave it out of evaluators"
        yield Misfit(
            kind="evaluator_finds_nothing",
            field="evaluators",
            message=(
                f"{kind.declaration.title} finds nothing to judge {why} To switch it off: {off}."
            ),
            refused=len(idle) == len(chosen),
        )


def _nothing_found(app: App, kind: EvaluatorType, without_data: Collection[str]) -> str | None:
    """Why an evaluator would find nothing, and what it needs."""
    if not kind.applies_to(app):
        needed = f" It needs {kind.needs} in the app." if kind.needs else ""
        return f"with the app {app.app_id}.{needed}"
    if kind.name in without_data:
        needed = " or ".join(" and ".join(sorted(each)) for each in kind.data(app))
        return f"in these conversations: none has {needed}. Add that to the data."
    return None


def _unasked(plan: EvaluationPlan, chosen: Sequence[EvaluatorType]) -> Iterator[Misfit]:
    """Rules of batches that none of the evaluators asks about."""
    there = registry.of_app(plan.app).values()
    here = {kind.scope for kind in there if kind.scope is not None}
    asked = {kind.scope for kind in chosen if kind.applies_to(plan.app)}
    unasked = [
        rule
        for rule in plan.app.rules
        if here.intersection(rule.scopes) and not asked.intersection(rule.scopes)
    ]
    if not unasked:
        return
    scopes = {scope for rule in unasked for scope in rule.scopes}
    names = [kind.name for kind in there if kind.scope in scopes]
    yield Misfit(
        kind="rules_not_asked",
        field="evaluators",
        message=(
            f"None of the selected evaluators asks about {_listed([r.rule_id for r in unasked])}. "
            f"Switch on {' or '.join(names)}, or change the scopes of these rules."
        ),
    )


def _assumed(
    plan: EvaluationPlan, recorded: Mapping[str, int], *, named_by: NamedBy
) -> Iterator[Misfit]:
    """The default app, where nothing says that it is about this chatbot: neither the job nor the
    dataset names it, and no recorded label is in the menus that it has by itself."""
    alone = replace(plan, options={})
    menus = (kind.menu(alone) for kind in registry.of_app(plan.app).values())
    known = {label_key(label) for menu in menus for label in menu}
    if named_by is NamedBy.SETTINGS and not any(label_key(label) in known for label in recorded):
        yield Misfit(
            kind="app_not_named",
            field="app_id",
            message=(
                f"No app is named, so {plan.app.app_id} is used, and the data has no labels of its "
                "intents that show that it fits. Name the app of this chatbot (app_id); evalqueue "
                "apps new --from DATASET drafts one."
            ),
        )


def _foreign_labels(
    plan: EvaluationPlan,
    kind: EvaluatorType,
    recorded: Mapping[str, int],
    *,
    named_by: NamedBy,
) -> Iterator[Misfit]:
    """Recorded labels that the judge can't choose, so that they would always be wrong."""
    menu = kind.menu(plan)
    labels = {label: times for label, times in recorded.items() if label.strip()}
    if not menu or not labels:
        return
    known = {label_key(label) for label in menu}
    foreign = [label for label in labels if label_key(label) not in known]
    if not foreign:
        return
    app_id = plan.app.app_id
    is_all = len(foreign) == len(labels)
    messages = sum(labels[label] for label in foreign)
    off = f", or switch {kind.name} off ({kind.switch}=false)" if kind.switch else ""
    yield Misfit(
        kind="labels_not_in_menu",
        field="app_id",
        message=(
            f"{'None' if is_all else 'Not all'} of the labels recorded in the data can be chosen "
            f"with the app {app_id}: it lacks {_listed(foreign)} ({messages:,} of "
            f"{sum(labels.values()):,} messages). {kind.declaration.title} would count them as "
            f"wrong. Its menu: {_listed(menu)}. Use an app with these intents (evalqueue apps new "
            f"--from DATASET drafts one){off}."
        ),
        refused=is_all and named_by is not NamedBy.JOB,
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(codec.clean_text(name, limit=_NAME_MAX) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
