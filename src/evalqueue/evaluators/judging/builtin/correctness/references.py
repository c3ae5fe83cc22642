"""References: does an answer agree with what is known?

Known are the app's knowledge, the reference answer (`expected`), results of tools, the context that
the bot was given, and what was said before. An answer for which there is none of these is not
judged. An app that selects the answers to check by its `meal_summary` has only those judged, and
those with a reference answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging import images, prompts, rules, transcript
from evalqueue.evaluators.judging.answers import Answer, Form
from evalqueue.evaluators.judging.builtin.correctness.verdicts import (
    NAME,
    Correctness,
    JudgedResult,
    context,
)
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.images import ImageContext, image_context
from evalqueue.evaluators.judging.judge import Judge, Parameters, Question
from evalqueue.evaluators.judging.lengths import earlier_turns
from evalqueue.evaluators.providers.recorder import CallSite

EARLIER_TURNS = 40
EARLIER_CHARACTERS = 40_000
"""Of the turns before the answer: the nearest ones are shown; fewer, if they are too long for the
judge."""

Source = Literal[
    "knowledge", "expected_answer", "tool_result", "context", "earlier_turn", "the_answer_itself",
    "common_knowledge",
]  # fmt: skip


class SourceQuote(transcript.Quote):
    """A span of the transcript, the knowledge or the expected answer."""

    turn: Annotated[
        int, Field(description="number of the turn; 0: the knowledge or the expected answer")
    ]


class Contradiction(Answer):
    claim: Annotated[str, Field(description="what the answer says")]
    source: Source
    correct: Annotated[str, Field(description="what the source says")]


class ReferencesAnswer(Answer):
    """What the judge says about one answer of the bot."""

    evidence: list[SourceQuote]
    contradictions: list[Contradiction]
    unsupported: Annotated[list[str], Field(description="statements that needed a source")]
    missing: Annotated[list[str], Field(description="what the answer had to say and does not")]
    rule_compliance: Annotated[
        list[rules.RuleFinding], Field(description="one entry for every rule")
    ]
    reasoning: str
    verdict: Literal["PASS", "SOFT_FAIL", "HARD_FAIL", "CRITICAL", "NOT_APPLICABLE"]


class References:
    """The question whether an answer agrees with what is known, for one app."""

    def __init__(self, app: App, *, parameters: Parameters) -> None:
        self._knowledge = app.knowledge
        self._selected = app.meal_summary
        self._figures_only = app.bounds is not None
        self._rules = app.rules_for("correctness")
        self._form = Form(ReferencesAnswer, {rules.RULES_MENU: rules.rule_ids(self._rules)})
        self._parameters = parameters
        self.prompt = prompts.load("references")
        subject = app.meal_summary if app.bounds is None else None
        self._app = {
            "about": app.about.strip(),
            "subject": f"\nAnswers to check: {subject.description}" if subject else "",
            "knowledge": _shown_knowledge(app),
            "rules": rules.listed(self._rules),
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        selected = asdict(self._selected) if self._selected else None
        return {
            "prompt": self.prompt.digest,
            "schema": self._form.schema,
            "app": self._app,
            "selected": [selected, self._figures_only],
            "earlier": [EARLIER_TURNS, EARLIER_CHARACTERS],
        }

    def asks(self, turn: Turn) -> bool:
        if not turn.bot_text.strip():
            return False
        if turn.expected or self._knowledge:
            return True
        if self._selected is not None:
            return not self._figures_only and self._selected.is_in(turn.bot_text)
        return bool(self._rules or turn.number > 1 or turn.context or turn.tool_calls)

    async def ask(self, thread: Thread, turn: Turn, judge: Judge) -> JudgedResult | Failure:
        answer, shown = await earlier_turns.asked(
            lambda turns: judge.answer(self._question(thread, turn, turns)),
            earlier_turns.nearest(context(thread, turn, before=EARLIER_TURNS), EARLIER_CHARACTERS),
        )
        return answer if isinstance(answer, Failure) else self._row(thread, turn, answer, shown)

    def _question(
        self, thread: Thread, turn: Turn, shown: Sequence[Turn]
    ) -> Question[ReferencesAnswer]:
        left_out = turn.number - len(shown)
        return Question(
            site=CallSite(evaluator=NAME, thread_id=thread.thread_id, turn=turn.number),
            text=self.prompt.render(
                **self._app,
                marker=transcript.marker(thread, turn),
                omitted=f"(The first {left_out} turns are left out.)\n" if left_out else "",
                transcript=transcript.fence("transcript", transcript.shown(shown)),
                expected=transcript.fence("expected", turn.expected) if turn.expected else "(none)",
                images=images.note(thread, turn),
                turn=str(turn.number),
            ),
            form=self._form,
            parameters=self._parameters,
        )

    def _row(
        self, thread: Thread, turn: Turn, answer: ReferencesAnswer, shown: Sequence[Turn]
    ) -> JudgedResult:
        verdict = Correctness(answer.verdict.replace("_", " "))
        photo = image_context(thread, turn)
        beside = [each.text for each in self._knowledge]
        return {
            "turn": turn.number,
            "response_id": turn.response_id,
            "judged": True,
            "verdict": verdict.value,
            "judge_verdict": verdict.value,
            "override": None,
            "reasoning": answer.reasoning,
            "evidence": transcript.checked(
                answer.evidence, shown, beside=[*beside, turn.expected or ""]
            ),
            "has_image_context": photo is not ImageContext.NONE,
            "image_context": photo.value,
            "rule_compliance": rules.results(self._rules, answer.rule_compliance),
            "references": {
                "compared_with": self._compared_with(turn, shown),
                "contradictions": [each.model_dump() for each in answer.contradictions],
                "unsupported": answer.unsupported,
                "missing": answer.missing,
            },
        }

    def _compared_with(self, turn: Turn, shown: Sequence[Turn]) -> list[Source]:
        there: dict[Source, bool] = {
            "knowledge": bool(self._knowledge),
            "expected_answer": bool(turn.expected),
            "tool_result": any(each.tool_calls for each in shown),
            "context": any(each.context for each in shown),
            "earlier_turn": len(shown) > 1,
        }
        return [source for source, is_there in there.items() if is_there]


def _shown_knowledge(app: App) -> str:
    texts = "\n\n".join(
        transcript.fence("knowledge", f"{each.name}\n\n{each.text.strip()}")
        for each in app.knowledge
    )
    return texts or "(none)"
