"""Correctness: are the figures in the bot's answers right?

Only answers with figures are judged; the profile's markers find them, and all others are NOT
APPLICABLE without a call. What a program can check is computed beside the judge's opinion, and
where the two differ it is said so; the verdict stays the judge's.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from evalqueue.evaluators.apps import App, Bounds
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging import arithmetic, images, prompts, rules, transcript
from evalqueue.evaluators.judging.answers import Answer, Form
from evalqueue.evaluators.judging.evaluator import Evaluation, Failure
from evalqueue.evaluators.judging.images import ImageContext, image_context
from evalqueue.evaluators.judging.judge import (
    DEFAULT_PARAMETERS,
    Judge,
    Parameters,
    Question,
    concurrently,
    version_of,
)
from evalqueue.evaluators.judging.plan import CallCounts, EvaluationPlan, EvaluatorType
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)
from evalqueue.evaluators.providers.recorder import CallSite

NAME = "correctness"
CONTEXT_TURNS = 4

_IMAGE_OVERRIDE = (
    "Only the quantities were found wrong, and they come from a photo that the judge can't see."
)


class Correctness(StrEnum):
    """Is the bot's answer right? In order of severity, mildest first."""

    NOT_APPLICABLE = "NOT APPLICABLE"
    PASS = "PASS"  # noqa: S105  a verdict, not a password
    SOFT_FAIL = "SOFT FAIL"
    HARD_FAIL = "HARD FAIL"
    CRITICAL = "CRITICAL"


_SEVERITY = list(Correctness)
_FAILING = (Correctness.CRITICAL, Correctness.HARD_FAIL)
_LABELS = tuple(each.value for each in Correctness)
_GOOD = (Correctness.PASS.value,)
_BAD = tuple(each.value for each in _FAILING)
_NEUTRAL = (Correctness.NOT_APPLICABLE.value,)

DECLARATION = EvaluatorDeclaration(
    name=NAME,
    title="Correctness",
    question="Are the figures in the bot's answers right?",
    calls="One call for each answer with figures.",
    scores=(
        ScoreDeclaration(
            name="worst",
            title="Correctness, the worst answer of each conversation",
            kind=ScoreKind.CATEGORY,
            labels=_LABELS,
            good=_GOOD,
            bad=_BAD,
            neutral=_NEUTRAL,
        ),
        ScoreDeclaration(
            name="verdict",
            title="Correctness of answers with figures",
            kind=ScoreKind.CATEGORY,
            per_turn=True,
            labels=_LABELS,
            good=_GOOD,
            bad=_BAD,
            neutral=_NEUTRAL,
        ),
    ),
    headline="worst",
    details_key="correctness_evaluations",
    column="worst_correctness",
    summary_key="correctness_verdicts",
)


class CorrectnessParams(BaseModel):
    """What a job says about correctness."""

    evaluate_correctness: bool = True


class CalorieSanity(Answer):
    reason: str
    stated_total_kcal: float | None
    expected_range_low: float | None
    expected_range_high: float | None
    plausible: bool


class ArithmeticConsistency(Answer):
    reason: str
    items_sum_kcal: float | None
    stated_total_kcal: float | None
    macro_calories_estimate: float | None
    consistent: bool


class QuantityCoherence(Answer):
    mismatches: list[str]
    coherent: bool


class CorrectnessAnswer(Answer):
    """What the judge says about one answer of the bot."""

    evidence: list[transcript.Quote]
    calorie_sanity: CalorieSanity
    arithmetic_consistency: ArithmeticConsistency
    quantity_coherence: QuantityCoherence
    rule_compliance: Annotated[
        list[rules.RuleFinding], Field(description="one entry for every rule")
    ]
    reasoning: str
    verdict: Literal["PASS", "SOFT_FAIL", "HARD_FAIL", "CRITICAL", "NOT_APPLICABLE"]


class CorrectnessEvaluator:
    """The evaluator of correctness, for one app."""

    declaration = DECLARATION

    def __init__(self, profile: App, *, parameters: Parameters = DEFAULT_PARAMETERS) -> None:
        self._subject = profile.meal_summary
        self._bounds = profile.bounds
        self._rules = profile.rules_for("correctness")
        self._form = Form(CorrectnessAnswer, {rules.RULES_MENU: rules.rule_ids(self._rules)})
        self._parameters = parameters
        self._prompt = prompts.load(NAME)
        self._app = {
            "about": profile.about.strip(),
            "subject": self._subject.description if self._subject else "",
            "bounds": _bounds(self._bounds),
            "tolerances": _tolerances(self._bounds),
            "rules": rules.listed(self._rules),
        }
        self.version = version_of(
            self._prompt,
            schema=self._form.schema,
            app=self._app,
            markers=self._subject.markers if self._subject else (),
            context_turns=CONTEXT_TURNS,
            parameters=parameters,
        )

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        judged = [turn for turn in thread.turns if self._has_figures(turn)]
        answers = await concurrently(judge.answer(self._question(thread, turn)) for turn in judged)
        failures = tuple(answer for answer in answers if isinstance(answer, Failure))
        rows = [_unjudged(turn) for turn in thread.turns if not self._has_figures(turn)]
        rows += [
            self._row(thread, turn, answer)
            for turn, answer in zip(judged, answers, strict=True)
            if isinstance(answer, CorrectnessAnswer)
        ]
        headline = _headline([Correctness(row["verdict"]) for row in rows], failures)
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(Score(name="worst", value=headline and headline.value), *_scores(rows)),
            details=sorted(rows, key=lambda row: row["turn"]),
            task_completed=_is_success(headline, failures),
            failures=failures,
        )

    def _has_figures(self, turn: Turn) -> bool:
        return self._subject is not None and self._subject.is_in(turn.bot_text)

    def _question(self, thread: Thread, turn: Turn) -> Question[CorrectnessAnswer]:
        return Question(
            site=CallSite(evaluator=NAME, thread_id=thread.thread_id, turn=turn.number),
            text=self._prompt.render(
                **self._app,
                marker=transcript.marker(thread, turn),
                transcript=transcript.fence("transcript", transcript.shown(_context(thread, turn))),
                images=images.note(thread, turn),
                turn=str(turn.number),
            ),
            form=self._form,
            parameters=self._parameters,
        )

    def _row(self, thread: Thread, turn: Turn, answer: CorrectnessAnswer) -> dict[str, Any]:
        computed = arithmetic.check(turn.bot_text, self._bounds) if self._bounds else None
        context = image_context(thread, turn)
        judged = Correctness(answer.verdict.replace("_", " "))
        forgiven = _only_quantities_of_a_photo(judged, answer, context, computed)
        return {
            "turn": turn.number,
            "response_id": turn.response_id,
            "judged": True,
            "verdict": (Correctness.PASS if forgiven else judged).value,
            "judge_verdict": judged.value,
            "override": _IMAGE_OVERRIDE if forgiven else None,
            "reasoning": answer.reasoning,
            "evidence": transcript.checked(answer.evidence, _context(thread, turn)),
            "has_image_context": context is not ImageContext.NONE,
            "image_context": context.value,
            "calorie_sanity": answer.calorie_sanity.model_dump(),
            "arithmetic_consistency": answer.arithmetic_consistency.model_dump(),
            "quantity_coherence": answer.quantity_coherence.model_dump(),
            "rule_compliance": rules.settled(self._rules, answer.rule_compliance),
            "computed": _beside(computed, answer) if computed else None,
        }


def worst(verdicts: Iterable[Correctness]) -> Correctness | None:
    """The most severe of some verdicts; None when nothing was measured."""
    return max(verdicts, key=_SEVERITY.index, default=None)


def _scores(rows: Iterable[dict[str, Any]]) -> Iterator[Score]:
    """Of the answers that were judged."""
    for row in rows:
        if row["judged"]:
            yield Score(
                name="verdict",
                value=row["verdict"],
                turn=row["turn"],
                evidence=row["evidence"],
                reasoning=row["reasoning"],
            )


def _headline(verdicts: Sequence[Correctness], failures: Sequence[Failure]) -> Correctness | None:
    """The worst verdict. A pass needs all: an answer that could not be judged may have failed."""
    found = worst(verdicts)
    is_passed = found in {Correctness.PASS, Correctness.NOT_APPLICABLE}
    return None if failures and is_passed else found


def _is_success(headline: Correctness | None, failures: Sequence[Failure]) -> bool | None:
    if headline in _FAILING:
        return False
    return None if headline is None or failures else True


def _only_quantities_of_a_photo(
    verdict: Correctness,
    answer: CorrectnessAnswer,
    context: ImageContext,
    computed: arithmetic.Arithmetic | None,
) -> bool:
    """Whether a fail rests on nothing but quantities that only a photo could confirm."""
    return (
        verdict in {Correctness.HARD_FAIL, Correctness.CRITICAL}
        and context is not ImageContext.NONE
        and not answer.quantity_coherence.coherent
        and answer.calorie_sanity.plausible
        and answer.arithmetic_consistency.consistent
        and (computed is None or (computed.consistent is not False and not computed.always_wrong))
    )


def _beside(computed: arithmetic.Arithmetic, answer: CorrectnessAnswer) -> dict[str, Any]:
    """The computed figures, and whether the judge sees them otherwise."""
    sums_differ = (
        computed.consistent is not None
        and computed.consistent != answer.arithmetic_consistency.consistent
    )
    bounds_differ = computed.always_wrong and answer.calorie_sanity.plausible
    return computed.as_json() | {"disagrees_with_judge": sums_differ or bounds_differ}


def _unjudged(turn: Turn) -> dict[str, Any]:
    return {
        "turn": turn.number,
        "response_id": turn.response_id,
        "judged": False,
        "verdict": Correctness.NOT_APPLICABLE.value,
        "reasoning": "The answer holds none of the profile's markers: nothing to check.",
    }


def _context(thread: Thread, turn: Turn) -> list[Turn]:
    """The turn and those just before it."""
    before = [each for each in thread.turns if each.number < turn.number]
    return [*before[-CONTEXT_TURNS:], turn]


def _bounds(bounds: Bounds | None) -> str:
    if bounds is None:
        return "If the answer states no energy, this check can't be made."
    return (
        f"One item seldom has more than {bounds.item_kcal_seldom_above:g} kcal, a meal seldom more "
        f"than {bounds.meal_kcal_seldom_above:g}; {bounds.kcal_always_wrong_from:g} or more is "
        "always wrong."
    )


def _tolerances(bounds: Bounds | None) -> str:
    if bounds is None:
        return "The items add up to the stated total."
    return (
        f"The items add up to the stated total within {bounds.items_sum_tolerance_kcal:g} kcal or "
        f"{bounds.items_sum_tolerance_share:.0%}, whichever is more; 4 × protein + 4 × carbs + "
        f"9 × fat (grams) is the stated total within {bounds.macro_tolerance_share:.0%}."
    )


def _calls(plan: EvaluationPlan) -> CallCounts:
    subject = plan.app.meal_summary
    return CallCounts() if subject is None else CallCounts(for_answer=subject.is_in)


EVALUATOR = EvaluatorType(
    declaration=DECLARATION,
    make=lambda plan: CorrectnessEvaluator(plan.app, parameters=plan.parameters),
    calls=_calls,
    applies_to=lambda app: app.meal_summary is not None,
    needs="a [meal_summary]",
    scope=NAME,
    switch="evaluate_correctness",
    success_rank=2,
)
