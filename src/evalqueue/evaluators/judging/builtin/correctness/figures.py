"""Figures: are the calories and sums of a meal right?

An app with `bounds` switches this on for the answers that its `meal_summary` selects. What a
program can check is computed beside the judge's opinion, and where the two differ it is said so;
the verdict stays the judge's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from evalqueue.evaluators.apps import App, Bounds, MealSummary
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging import images, prompts, rules, transcript
from evalqueue.evaluators.judging.answers import Answer, Form
from evalqueue.evaluators.judging.builtin.correctness.verdicts import (
    NAME,
    Correctness,
    JudgedResult,
    context,
)
from evalqueue.evaluators.judging.checks import arithmetic
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.images import ImageContext, image_context
from evalqueue.evaluators.judging.judge import Judge, Parameters, Question
from evalqueue.evaluators.providers.recorder import CallSite

CONTEXT_TURNS = 4

_IMAGE_OVERRIDE = (
    "Only the quantities were found wrong, and they come from a photo that the judge can't see."
)


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


class Figures:
    """The question about the figures of an answer, for one app."""

    def __init__(
        self, app: App, subject: MealSummary, bounds: Bounds, *, parameters: Parameters
    ) -> None:
        self._subject = subject
        self._bounds = bounds
        self._rules = app.rules_for("correctness")
        self._form = Form(CorrectnessAnswer, {rules.RULES_MENU: rules.rule_ids(self._rules)})
        self._parameters = parameters
        self.prompt = prompts.load(NAME)
        self._app = {
            "about": app.about.strip(),
            "subject": subject.description,
            "bounds": _bounds(bounds),
            "tolerances": _tolerances(bounds),
            "rules": rules.listed(self._rules),
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "schema": self._form.schema,
            "app": self._app,
            "markers": self._subject.markers,
            "context_turns": CONTEXT_TURNS,
        }

    def asks(self, turn: Turn) -> bool:
        return self._subject.is_in(turn.bot_text)

    async def ask(self, thread: Thread, turn: Turn, judge: Judge) -> JudgedResult | Failure:
        answer = await judge.answer(self._question(thread, turn))
        return answer if isinstance(answer, Failure) else self._row(thread, turn, answer)

    def _question(self, thread: Thread, turn: Turn) -> Question[CorrectnessAnswer]:
        return Question(
            site=CallSite(evaluator=NAME, thread_id=thread.thread_id, turn=turn.number),
            text=self.prompt.render(
                **self._app,
                marker=transcript.marker(thread, turn),
                transcript=transcript.fence(
                    "transcript", transcript.shown(context(thread, turn, before=CONTEXT_TURNS))
                ),
                images=images.note(thread, turn),
                turn=str(turn.number),
            ),
            form=self._form,
            parameters=self._parameters,
        )

    def _row(self, thread: Thread, turn: Turn, answer: CorrectnessAnswer) -> JudgedResult:
        computed = arithmetic.check(turn.bot_text, self._bounds)
        photo = image_context(thread, turn)
        judged = Correctness(answer.verdict.replace("_", " "))
        forgiven = _only_quantities_of_a_photo(judged, answer, photo, computed)
        return {
            "turn": turn.number,
            "response_id": turn.response_id,
            "judged": True,
            "verdict": (Correctness.PASS if forgiven else judged).value,
            "judge_verdict": judged.value,
            "override": _IMAGE_OVERRIDE if forgiven else None,
            "reasoning": answer.reasoning,
            "evidence": transcript.checked(
                answer.evidence, context(thread, turn, before=CONTEXT_TURNS)
            ),
            "has_image_context": photo is not ImageContext.NONE,
            "image_context": photo.value,
            "calorie_sanity": answer.calorie_sanity.model_dump(),
            "arithmetic_consistency": answer.arithmetic_consistency.model_dump(),
            "quantity_coherence": answer.quantity_coherence.model_dump(),
            "rule_compliance": rules.results(self._rules, answer.rule_compliance),
            "computed": _beside(computed, answer) if computed else None,
        }


def _only_quantities_of_a_photo(
    verdict: Correctness,
    answer: CorrectnessAnswer,
    photo: ImageContext,
    computed: arithmetic.Arithmetic | None,
) -> bool:
    """Whether a fail rests on nothing but quantities that only a photo could confirm."""
    return (
        verdict in {Correctness.HARD_FAIL, Correctness.CRITICAL}
        and photo is not ImageContext.NONE
        and not answer.quantity_coherence.coherent
        and answer.calorie_sanity.plausible
        and answer.arithmetic_consistency.consistent
        and (computed is None or (computed.consistent is not False and not computed.always_wrong))
    )


def _beside(computed: arithmetic.Arithmetic, answer: CorrectnessAnswer) -> dict[str, object]:
    """The computed figures, and whether the judge sees them otherwise."""
    sums_differ = (
        computed.consistent is not None
        and computed.consistent != answer.arithmetic_consistency.consistent
    )
    bounds_differ = computed.always_wrong and answer.calorie_sanity.plausible
    return computed.as_json() | {"disagrees_with_judge": sums_differ or bounds_differ}


def _bounds(bounds: Bounds) -> str:
    return (
        f"One item seldom has more than {bounds.item_kcal_seldom_above:g} kcal, a meal seldom more "
        f"than {bounds.meal_kcal_seldom_above:g}; {bounds.kcal_always_wrong_from:g} or more is "
        "always wrong."
    )


def _tolerances(bounds: Bounds) -> str:
    return (
        f"The items add up to the stated total within {bounds.items_sum_tolerance_kcal:g} kcal or "
        f"{bounds.items_sum_tolerance_share:.0%}, whichever is more; 4 × protein + 4 × carbs + "
        f"9 × fat (grams) is the stated total within {bounds.macro_tolerance_share:.0%}."
    )
