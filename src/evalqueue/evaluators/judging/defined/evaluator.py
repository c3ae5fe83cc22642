"""The evaluator that is made from a definition."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, NotRequired, TypedDict

from evalqueue.evaluators.apps import App, Rule
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.definitions.definition import EvaluatorDefinition, JudgedUnit
from evalqueue.evaluators.judging import rules, transcript
from evalqueue.evaluators.judging.defined import answers
from evalqueue.evaluators.judging.defined.answers import AnyDefinedAnswer, DefinedAnswerWithRules
from evalqueue.evaluators.judging.defined.applying import (
    applies_to_thread,
    applies_to_turn,
    is_said,
)
from evalqueue.evaluators.judging.defined.declaration import (
    RULES_FOLLOWED,
    VERDICT,
    declaration_of,
    summed_up,
)
from evalqueue.evaluators.judging.defined.texts import Texts
from evalqueue.evaluators.judging.evaluator import Evaluation, Failure
from evalqueue.evaluators.judging.judge import (
    DEFAULT_PARAMETERS,
    Judge,
    Parameters,
    Question,
    concurrently,
    version_of,
)
from evalqueue.evaluators.judging.plan import CallCounts, EvaluatorType
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.rules import RuleResult
from evalqueue.evaluators.judging.scores import Score, ScoreValue
from evalqueue.evaluators.providers.recorder import CallSite
from evalqueue.evaluators.verdicts import RuleStatus

_OF_PEOPLE = ("title", "question", "source", "gold")
"""What of a definition can't change a verdict."""


class DefinedResult(TypedDict):
    """What was found in a turn or a conversation, as it is stored."""

    turn: int | None
    verdict: ScoreValue
    reasoning: str
    evidence: list[CheckedQuote]
    rule_compliance: NotRequired[list[RuleResult]]


class DefinedEvaluator:
    """An evaluator of an app, or of the catalogue."""

    def __init__(
        self,
        definition: EvaluatorDefinition,
        app: App,
        *,
        parameters: Parameters = DEFAULT_PARAMETERS,
    ) -> None:
        self._definition = definition
        self._rules = rules_of(definition, app)
        self._texts = Texts(definition, app, self._rules)
        self._form = answers.form_of(definition.output, self._rules)
        self._parameters = _parameters(definition, parameters)
        self.declaration = declaration_of(definition, has_rules=bool(self._rules))
        content = {key: value for key, value in asdict(definition).items() if key not in _OF_PEOPLE}
        content["parameters"] = {**content["parameters"], "votes": None}  # `voted` adds them
        self.version = version_of(
            replace(self._texts.prompt, version=definition.name),
            schema=self._form.schema,
            texts=self._texts.fixed,
            app=self._texts.app_values,
            definition=content,
            parameters=self._parameters,
        )

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        judged = self._judged(thread)
        found = await concurrently(judge.answer(self.question(thread, each)) for each in judged)
        failures = tuple(each for each in found if isinstance(each, Failure))
        rows = [
            self._row(thread, turn, answer)
            for turn, answer in zip(judged, found, strict=True)
            if not isinstance(answer, Failure)
        ]
        return Evaluation(
            declaration=self.declaration,
            version=self.version,
            scores=tuple(self._scores(rows, is_whole=not failures)),
            details=rows,
            failures=failures,
        )

    def question(self, thread: Thread, turn: Turn | None = None) -> Question[Any]:
        """What is asked about a conversation, or about one of its turns."""
        number = None if turn is None else turn.number
        return Question(
            site=CallSite(evaluator=self._definition.name, thread_id=thread.thread_id, turn=number),
            text=self._texts.render(thread, turn),
            form=self._form,
            parameters=self._parameters,
        )

    def _judged(self, thread: Thread) -> list[Turn | None]:
        """The turns that are judged; [None]: the whole conversation is."""
        when = self._definition.applies_when
        if self._definition.scope is JudgedUnit.CONVERSATION:
            return [None] if applies_to_thread(when, thread) else []
        return [turn for turn in thread.turns if applies_to_turn(when, turn)]

    def _row(self, thread: Thread, turn: Turn | None, answer: AnyDefinedAnswer) -> DefinedResult:
        shown = self._texts.shown(thread, turn)
        row: DefinedResult = {
            "turn": None if turn is None else turn.number,
            "verdict": answer.verdict,
            "reasoning": answer.reasoning,
            "evidence": transcript.checked(answer.evidence, shown),
        }
        if isinstance(answer, DefinedAnswerWithRules):
            row["rule_compliance"] = rules.results(self._rules, answer.rule_compliance)
        return row

    def _scores(self, rows: Sequence[DefinedResult], *, is_whole: bool) -> Iterator[Score]:
        for row in rows:
            yield Score(
                name=VERDICT,
                value=row["verdict"],
                turn=row["turn"],
                evidence=row["evidence"],
                reasoning=row["reasoning"],
            )
        headline = self.declaration.headline
        if headline != VERDICT:
            verdicts = [row["verdict"] for row in rows]
            value = summed_up(verdicts, self._definition.output, is_whole=is_whole)
            yield Score(name=headline, value=value)
        if self._rules:
            yield _rules_followed(rows, is_whole=is_whole)


def _rules_followed(rows: Sequence[DefinedResult], *, is_whole: bool) -> Score:
    """Whether every rule that applied was followed, with the violations as reasoning."""
    findings = [finding for row in rows for finding in row.get("rule_compliance", ())]
    violated = [each for each in findings if each["status"] == RuleStatus.VIOLATED]
    is_measured = is_whole and any(each["status"] == RuleStatus.FOLLOWED for each in findings)
    return Score(
        name=RULES_FOLLOWED,
        value=False if violated else True if is_measured else None,
        reasoning="; ".join(f"{each['rule_id']}: {each['evidence']}" for each in violated) or None,
    )


def rules_of(definition: EvaluatorDefinition, app: App) -> tuple[Rule, ...]:
    """The rules that it asks about: the app's, by their scope, and its own."""
    own = (
        Rule(
            rule_id=each.rule_id,
            section=definition.shown_title,
            text=each.text,
            scopes=(definition.name,),
        )
        for each in definition.rules
    )
    return (*app.rules_for(definition.name), *own)


def evaluator_type(definition: EvaluatorDefinition, app: App) -> EvaluatorType:
    """A definition, as evaluators are registered."""
    return EvaluatorType(
        declaration=declaration_of(definition, has_rules=bool(rules_of(definition, app))),
        make=lambda plan: DefinedEvaluator(definition, plan.app, parameters=plan.parameters),
        calls=lambda _plan: _calls(definition),
        scope=definition.name,
        has_votes=True,
        model=definition.parameters.model,
        votes=definition.parameters.votes or 1,
    )


def _calls(definition: EvaluatorDefinition) -> CallCounts:
    when = definition.applies_when
    if definition.scope is JudgedUnit.CONVERSATION:
        return CallCounts(per_thread=1)
    if when.bot_says:
        return CallCounts(for_answer=lambda answer: is_said(when, answer))
    return CallCounts(per_turn=1)


def _parameters(definition: EvaluatorDefinition, of_job: Parameters) -> Parameters:
    own = definition.parameters
    return replace(
        of_job,
        temperature=of_job.temperature if own.temperature is None else own.temperature,
        max_output_tokens=own.max_output_tokens or of_job.max_output_tokens,
        # Further parameters are in the spelling of the job's vendor.
        model_settings=of_job.model_settings if own.model is None else {},
        asked_of=own.model,
    )
