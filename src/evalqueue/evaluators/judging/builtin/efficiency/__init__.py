"""Efficiency: did the user get there without detours, and who caused each detour?

One question for each thread; one that is too long for the judge is judged in parts (`parts`). Some
of it can be counted without a judge (`counts`): that stands beside the verdict. Two things are
corrected afterwards, and both leave a note: what the app does not measure is NOT APPLICABLE, and a
photo is never a fault.
"""

from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict

from pydantic import BaseModel, ConfigDict

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging import images, prompts, rules, transcript
from evalqueue.evaluators.judging.answers import Form
from evalqueue.evaluators.judging.builtin.efficiency import parts
from evalqueue.evaluators.judging.builtin.efficiency.counts import ConversationCounts, counted
from evalqueue.evaluators.judging.builtin.efficiency.parts import PartResult
from evalqueue.evaluators.judging.builtin.efficiency.verdicts import (
    Efficiency,
    EfficiencyAnswer,
    FrictionCause,
    FrictionTurn,
    IncompleteReason,
    Recovery,
)
from evalqueue.evaluators.judging.evaluator import Evaluation, Failure
from evalqueue.evaluators.judging.judge import (
    DEFAULT_PARAMETERS,
    Judge,
    Parameters,
    Question,
    version_of,
)
from evalqueue.evaluators.judging.lengths.parts import judged, note
from evalqueue.evaluators.judging.plan import CallCounts, EvaluatorType
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.rules import RuleResult
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)
from evalqueue.evaluators.providers.recorder import CallSite

NAME = "efficiency"
_MEANINGS = {
    Efficiency.EFFICIENT: "Done in as few turns as it takes.",
    Efficiency.ACCEPTABLE: "Done; the user made each extra turn necessary.",
    Efficiency.INCOMPLETE: "Not done, and not because of the bot.",
    Efficiency.FRICTION: "Done, but the bot's mistakes or detours cost turns.",
    Efficiency.BROKEN: "Not done: the user gave up because of the bot.",
    Efficiency.NOT_APPLICABLE: "Not a kind of conversation whose efficiency is judged.",
}
_OF_A_PART = "and task_completed as it stands at the end of this part."

DECLARATION = EvaluatorDeclaration(
    name=NAME,
    title="Efficiency",
    question="Did the user get there without detours?",
    calls="One call for each conversation.",
    scores=(
        ScoreDeclaration(
            name="verdict",
            title="Efficiency",
            kind=ScoreKind.CATEGORY,
            labels=tuple(each.value for each in Efficiency),
            descriptions=tuple(_MEANINGS[each] for each in Efficiency),
            good=(Efficiency.EFFICIENT.value, Efficiency.ACCEPTABLE.value),
            bad=(Efficiency.BROKEN.value,),
            neutral=(Efficiency.NOT_APPLICABLE.value,),
        ),
        ScoreDeclaration(
            name="task_completed",
            title="Task completed",
            kind=ScoreKind.BOOLEAN,
            higher_is_better=True,
        ),
    ),
    headline="verdict",
    details_key="efficiency_evaluation",
    column="efficiency_verdict",
    summary_key="efficiency_verdicts",
)


class EfficiencyParams(BaseModel):
    """What a job says about efficiency."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    evaluate_efficiency: bool = True
    """False switches the evaluator `efficiency` off."""


class FrictionResult(TypedDict):
    """A turn that was needed on top, as it is stored."""

    turn: int
    description: str
    cause: str
    """A `FrictionCause`."""
    judge_cause: str


class EfficiencyResult(TypedDict):
    """What was found in a conversation, as it is stored."""

    verdict: str
    judge_verdict: str
    override: str | None
    """Why the verdict isn't the judge's."""
    thread_type: str
    task_completed: bool
    friction_turns: list[FrictionResult]
    recovery_quality: str
    incomplete_reason: str | None
    failure_reason: str | None
    reasoning: str
    evidence: list[CheckedQuote]
    rule_compliance: list[RuleResult]
    counted: ConversationCounts
    contradictions: list[str]
    parts: NotRequired[list[PartResult]]
    """If it was judged in parts."""


class EfficiencyEvaluator:
    """The evaluator of efficiency, for one app."""

    declaration = DECLARATION

    def __init__(self, profile: App, *, parameters: Parameters = DEFAULT_PARAMETERS) -> None:
        criteria, kinds = profile.efficiency, profile.thread_types
        self._measured_types = tuple(kind.name for kind in kinds if kind.has_efficiency)
        self._ideal_turns = criteria.ideal_turns
        self._rules = profile.rules_for("efficiency")
        menus = {
            "thread_types": tuple(kind.name for kind in kinds),
            rules.RULES_MENU: rules.rule_ids(self._rules),
        }
        self._form = Form(EfficiencyAnswer, menus)
        self._parameters = parameters
        self._prompt = prompts.load(NAME)
        self._app = {
            "about": profile.about.strip(),
            "thread_types": _bullets(
                [f"{kind.name}: {kind.description}" for kind in kinds], indent="   "
            ),
            "measured_types": ", ".join(self._measured_types) or "none",
            "ideal_turns": str(criteria.ideal_turns),
            "not_friction": _bullets(criteria.not_friction),
            "bot_friction": _bullets(criteria.bot_friction),
            "rules": rules.listed(self._rules),
        }
        self.version = version_of(
            self._prompt, schema=self._form.schema, app=self._app, parameters=parameters
        )

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        found = await judged(
            lambda turns: judge.answer(self._question(thread, turns)), thread.turns
        )
        if isinstance(found, Failure):
            return Evaluation(
                declaration=DECLARATION, version=self.version, details=None, failures=(found,)
            )
        answer = parts.combined(found, measured_types=self._measured_types)
        details = self._details(thread, answer)
        if len(found) > 1:
            details["parts"] = [parts.as_json(each) for each in found]
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(
                Score(
                    name="verdict",
                    value=details["verdict"],
                    evidence=details["evidence"],
                    reasoning=details["reasoning"],
                ),
                Score(name="task_completed", value=answer.task_completed),
            ),
            details=details,
            task_completed=answer.task_completed,
        )

    def _question(self, thread: Thread, turns: Sequence[Turn]) -> Question[EfficiencyAnswer]:
        shown = transcript.shown(transcript.with_instructions(turns, thread.turns), timed=True)
        return Question(
            site=CallSite(evaluator=NAME, thread_id=thread.thread_id),
            text=self._prompt.render(
                **self._app,
                marker=transcript.marker(thread) + note(thread, turns, _OF_A_PART),
                turns=str(len(thread.turns)),
                duration_seconds=f"{thread.duration.total_seconds():.0f}",
                transcript=transcript.fence("transcript", shown),
            ),
            form=self._form,
            parameters=self._parameters,
        )

    def _details(self, thread: Thread, answer: EfficiencyAnswer) -> EfficiencyResult:
        judged = Efficiency(answer.verdict.replace("_", " "))
        friction = _friction(thread, answer.friction_turns)
        verdict, override = self._corrected(judged, answer, friction)
        reason = answer.incomplete_reason if verdict is Efficiency.INCOMPLETE else None
        return {
            "verdict": verdict.value,
            "judge_verdict": judged.value,
            "override": override,
            "thread_type": answer.thread_type,
            "task_completed": answer.task_completed,
            "friction_turns": friction,
            "recovery_quality": Recovery(answer.recovery_quality.replace("_", " ")).value,
            "incomplete_reason": IncompleteReason(reason.lower()).value if reason else None,
            "failure_reason": answer.failure_reason,
            "reasoning": answer.reasoning,
            "evidence": transcript.checked(answer.evidence, thread.turns),
            "rule_compliance": rules.results(self._rules, answer.rule_compliance),
            "counted": counted(thread, ideal_turns=self._ideal_turns),
            "contradictions": list(_contradictions(thread, verdict, answer, friction)),
        }

    def _corrected(
        self, judged: Efficiency, answer: EfficiencyAnswer, friction: Sequence[FrictionResult]
    ) -> tuple[Efficiency, str | None]:
        """The verdict that counts, and why if it isn't the judge's."""
        if answer.thread_type not in self._measured_types:
            if judged is Efficiency.NOT_APPLICABLE:
                return judged, None
            note = f"Efficiency is not judged for threads of type {answer.thread_type}."
            return Efficiency.NOT_APPLICABLE, note
        excused = any(each["judge_cause"] != each["cause"] for each in friction)
        if (
            judged is Efficiency.FRICTION
            and excused
            and answer.task_completed
            and not _bot_caused(friction)
        ):
            return Efficiency.ACCEPTABLE, "All the bot's friction was about a photo."
        return judged, None


def _friction(thread: Thread, turns: Sequence[FrictionTurn]) -> list[FrictionResult]:
    """The friction turns that exist; on a turn with a photo the bot is not to blame."""
    with_image = images.image_turns(thread)
    return [
        {
            "turn": each.turn,
            "description": each.description,
            "cause": (FrictionCause.USER if each.turn in with_image else each.cause).value,
            "judge_cause": each.cause.value,
        }
        for each in turns
        if 1 <= each.turn <= len(thread.turns)
    ]


def _bot_caused(friction: Sequence[FrictionResult]) -> bool:
    return any(each["cause"] == FrictionCause.BOT for each in friction)


def _contradictions(
    thread: Thread,
    verdict: Efficiency,
    answer: EfficiencyAnswer,
    friction: Sequence[FrictionResult],
) -> Iterator[str]:
    """Where the judge's answer does not agree with itself; nothing is corrected by it."""
    if answer.task_completed and verdict in {Efficiency.INCOMPLETE, Efficiency.BROKEN}:
        yield f"The task is said to be completed, and the verdict is {verdict}."
    if not answer.task_completed and verdict in {Efficiency.EFFICIENT, Efficiency.ACCEPTABLE}:
        yield f"The task is said not to be completed, and the verdict is {verdict}."
    if _bot_caused(friction) and verdict in {Efficiency.EFFICIENT, Efficiency.ACCEPTABLE}:
        yield f"The bot caused friction, and the verdict is {verdict}."
    if not friction and verdict is Efficiency.FRICTION:
        yield "The verdict is FRICTION, and no turn is named."
    if verdict is Efficiency.INCOMPLETE and answer.incomplete_reason is None:
        yield "The verdict is INCOMPLETE, and no reason is given."
    for each in answer.friction_turns:
        if not 1 <= each.turn <= len(thread.turns):
            yield f"Friction is found in turn {each.turn}, which does not exist."


def _bullets(lines: Sequence[str], *, indent: str = "") -> str:
    return "\n".join(f"{indent}- {line}" for line in lines) or f"{indent}- (nothing in particular)"


EVALUATOR = EvaluatorType(
    declaration=DECLARATION,
    make=lambda plan: EfficiencyEvaluator(plan.app, parameters=plan.parameters),
    calls=lambda _plan: CallCounts(per_thread=1),
    applies_to=lambda app: any(kind.has_efficiency for kind in app.thread_types),
    needs="a thread type with has_efficiency = true",
    scope=NAME,
    switch="evaluate_efficiency",
    has_votes=True,
    success_rank=1,
)
