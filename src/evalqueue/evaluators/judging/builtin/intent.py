"""Intent: did production's router send each message to the right agent?

Every message is labelled by the judge, without the router's choice, and compared with the router's
label. A message without a recorded label is labelled all the same; whether that is
right is then unknown, which is None and not False.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from evalqueue.evaluators.apps import App, Label
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging import prompts, transcript
from evalqueue.evaluators.judging import taxonomy as _taxonomy
from evalqueue.evaluators.judging.answers import Answer, Form, Menu, same_label
from evalqueue.evaluators.judging.evaluator import Evaluation, Failure
from evalqueue.evaluators.judging.judge import (
    DEFAULT_PARAMETERS,
    Judge,
    Parameters,
    Question,
    concurrently,
    version_of,
)
from evalqueue.evaluators.judging.plan import CallCounts, EvaluationPlan, EvaluatorType
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)
from evalqueue.evaluators.judging.taxonomy import Taxonomy
from evalqueue.evaluators.providers.recorder import CallSite

NAME = "intent"
CONTEXT_TURNS = 3

DECLARATION = EvaluatorDeclaration(
    name=NAME,
    title="Intent",
    question="Did the router send each message to the right agent?",
    calls="One call for each message.",
    scores=(
        ScoreDeclaration(
            name="accuracy",
            title="Intent accuracy per conversation",
            kind=ScoreKind.NUMBER,
            higher_is_better=True,
            minimum=0,
            maximum=1,
        ),
        ScoreDeclaration(
            name="correct",
            title="Intent accuracy per message",
            kind=ScoreKind.BOOLEAN,
            per_turn=True,
            higher_is_better=True,
        ),
        ScoreDeclaration(
            name="agent",
            title="Intent",
            kind=ScoreKind.CATEGORY,
            per_turn=True,
            has_expected=True,
        ),
    ),
    headline="accuracy",
    details_key="intent_evaluations",
    column="intent_accuracy",
    summary_key="avg_intent_accuracy",
)


class IntentParams(BaseModel):
    """What a job says about intents."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    evaluate_intent: bool = True
    """False switches the evaluator `intent` off."""
    intent_system_prompt: str | None = Field(default=None, max_length=100_000)
    """A taxonomy of the job's own, whose labels replace the app's intents: one per line, as in
    `- Billing: invoices and payments`. Blank: the app's."""


class IntentAnswer(Answer):
    """What the judge says about one message."""

    evidence: Annotated[str, Field(description="the user's words that decided it")]
    reasoning: str
    predicted_agent: Annotated[str, Menu("intents")]
    query_type: Annotated[str, Menu("query_types")]
    confidence: Annotated[float, Field(ge=0, le=1, description="between 0 and 1")]


class IntentResult(TypedDict):
    """What was found in one message, as it is stored."""

    turn: int
    response_id: str | None
    predicted_intent: str
    predicted_query_type: str
    confidence: float
    expected_intent: str | None
    expected_query_type: str | None
    is_correct_intent: bool | None
    """None: no label is on record."""
    is_correct_query_type: bool | None
    reasoning: str
    evidence: list[CheckedQuote]


class IntentEvaluator:
    """The evaluator of intents, for one app."""

    declaration = DECLARATION

    def __init__(
        self,
        profile: App,
        *,
        taxonomy: str = "",
        parameters: Parameters = DEFAULT_PARAMETERS,
    ) -> None:
        """`taxonomy` is the job's own: the labels that it lists are the menu; blank: the app's."""
        listed = _taxonomy.read(taxonomy)
        intents = listed.intents or tuple(label.name for label in profile.intents)
        query_types = listed.query_types or tuple(label.name for label in profile.query_types)
        self._form = Form(IntentAnswer, {"intents": intents, "query_types": query_types})
        self._parameters = parameters
        self._prompt = prompts.load(NAME)
        self._app = {
            "about": profile.about.strip(),
            "taxonomy": _shown_taxonomy(profile, taxonomy.strip(), listed),
            "intents": ", ".join(intents),
            "query_types": ", ".join(query_types),
        }
        self.version = version_of(
            self._prompt,
            schema=self._form.schema,
            app=self._app,
            context_turns=CONTEXT_TURNS,
            parameters=parameters,
        )

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        answers = await concurrently(
            judge.answer(self._question(thread, turn)) for turn in thread.turns
        )
        rows = [
            _row(thread, turn, answer)
            for turn, answer in zip(thread.turns, answers, strict=True)
            if isinstance(answer, IntentAnswer)
        ]
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(
                Score(
                    name="accuracy",
                    value=accuracy(row["is_correct_intent"] for row in rows),
                ),
                *(score for row in rows for score in _scores(row)),
            ),
            details=rows,
            failures=tuple(answer for answer in answers if isinstance(answer, Failure)),
        )

    def _question(self, thread: Thread, turn: Turn) -> Question[IntentAnswer]:
        shown = transcript.shown(_context(thread, turn), last_answer=False)
        return Question(
            site=CallSite(evaluator=NAME, thread_id=thread.thread_id, turn=turn.number),
            text=self._prompt.render(
                **self._app,
                marker=transcript.marker(thread, turn),
                transcript=transcript.fence("transcript", shown),
                turn=str(turn.number),
            ),
            form=self._form,
            parameters=self._parameters,
            decides="predicted_agent",
        )


def accuracy(correct: Iterable[bool | None]) -> float | None:
    """The share of correct ones among those that could be compared; None if there are none."""
    compared = [each for each in correct if each is not None]
    return sum(compared) / len(compared) if compared else None


def _context(thread: Thread, turn: Turn) -> list[Turn]:
    """The turn and those just before it."""
    before = [each for each in thread.turns if each.number < turn.number]
    return [*before[-CONTEXT_TURNS:], turn]


def _row(thread: Thread, turn: Turn, answer: IntentAnswer) -> IntentResult:
    quote = transcript.Quote(turn=turn.number, quote=answer.evidence)
    return {
        "turn": turn.number,
        "response_id": turn.response_id,
        "predicted_intent": answer.predicted_agent,
        "predicted_query_type": answer.query_type,
        "confidence": answer.confidence,
        "expected_intent": turn.routed_intent,
        "expected_query_type": turn.routed_query_type,
        "is_correct_intent": _same(answer.predicted_agent, turn.routed_intent),
        "is_correct_query_type": _same(answer.query_type, turn.routed_query_type),
        "reasoning": answer.reasoning,
        "evidence": transcript.checked([quote], _context(thread, turn)),
    }


def _scores(row: IntentResult) -> Iterator[Score]:
    yield Score(
        name="agent",
        value=row["predicted_intent"],
        turn=row["turn"],
        expected=row["expected_intent"] if row["is_correct_intent"] is not None else None,
        evidence=row["evidence"],
        reasoning=row["reasoning"],
    )
    if row["is_correct_intent"] is not None:
        yield Score(name="correct", value=row["is_correct_intent"], turn=row["turn"])


def _same(predicted: str, expected: str | None) -> bool | None:
    return same_label(predicted, expected) if expected and expected.strip() else None


def _shown_taxonomy(profile: App, own: str, listed: Taxonomy) -> str:
    """The taxonomy as the judge reads it: the job's own, completed by what only the app has."""
    agents, query_types = _listed(profile.intents), _listed(profile.query_types)
    if not own:
        return f"Agents:\n{agents}\n\nQuery types:\n{query_types}"
    if listed.intents and not listed.query_types:
        return f"{own}\n\nQuery types:\n{query_types}"
    return own


def _own_taxonomy(plan: EvaluationPlan) -> str:
    return plan.options.get("intent_system_prompt") or ""


def _menu(plan: EvaluationPlan) -> tuple[str, ...]:
    """The labels that a message can be given."""
    listed = _taxonomy.read(_own_taxonomy(plan)).intents
    return listed or tuple(label.name for label in plan.app.intents)


def _problems(plan: EvaluationPlan) -> dict[str, str]:
    """A taxonomy that neither lists labels nor names one of the app's."""
    own = _own_taxonomy(plan).strip()
    if not own or _taxonomy.read(own).intents or _taxonomy.names_any(own, _menu(plan)):
        return {}
    return {
        "intent_system_prompt": (
            "It lists no labels, and names none of the app's. Write one label per line, as in "
            "'- Billing: invoices and payments', or describe the intents in an app "
            "(evalqueue apps new)"
        )
    }


def _listed(labels: Iterable[Label]) -> str:
    return "\n".join(
        f"- {label.name}: {label.description}"
        + "".join(f'\n  e.g. "{example}"' for example in label.examples)
        for label in labels
    )


EVALUATOR = EvaluatorType(
    declaration=DECLARATION,
    make=lambda plan: IntentEvaluator(
        plan.app,
        taxonomy=_own_taxonomy(plan),
        parameters=plan.parameters,
    ),
    calls=lambda _plan: CallCounts(per_turn=1),
    menu=_menu,
    problems=_problems,
    switch="evaluate_intent",
    has_votes=True,
)
