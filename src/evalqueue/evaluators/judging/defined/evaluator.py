"""The evaluator that is made from a definition."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, replace
from typing import Any, NotRequired, TypedDict

from evalqueue.evaluators.apps import App, Rule
from evalqueue.evaluators.conversation import Thread, Turn, TurnData
from evalqueue.evaluators.definitions.definition import (
    EvaluatorDefinition,
    JudgedUnit,
    LongConversations,
)
from evalqueue.evaluators.judging import rules, transcript
from evalqueue.evaluators.judging.defined import answers, parts
from evalqueue.evaluators.judging.defined.answers import AnyDefinedAnswer, DefinedAnswerWithRules
from evalqueue.evaluators.judging.defined.applying import (
    DATA_OF,
    applies_to_thread,
    applies_to_turn,
    is_said,
)
from evalqueue.evaluators.judging.defined.declaration import (
    CONSISTENT,
    RULES_FOLLOWED,
    VERDICT,
    declaration_of,
    summed_up,
)
from evalqueue.evaluators.judging.defined.pairs import Pair, compared, pair_of
from evalqueue.evaluators.judging.defined.parts import DefinedPart
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
from evalqueue.evaluators.judging.lengths import earlier_turns
from evalqueue.evaluators.judging.lengths import parts as lengths
from evalqueue.evaluators.judging.plan import CallCounts, EvaluatorType
from evalqueue.evaluators.judging.prompts import Rendered
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
    parts: NotRequired[list[DefinedPart]]
    """If it was judged in parts."""
    counts: NotRequired[str]
    """Which of them: a `LongConversations`."""
    earlier_turns: NotRequired[int]
    """How many were shown, if fewer than usual."""
    consistent: NotRequired[bool]
    """Of a pair: whether the verdict is the same in both orders."""


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
            parts=[self._texts.of_a_part, lengths.IDENTITY],
            parameters=self._parameters,
        )

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        if self._definition.scope is JudgedUnit.PAIR:
            return await self._evaluate_pair(thread, judge)
        judged = self._judged(thread)
        found = await concurrently(
            self._judge_conversation(thread, judge)
            if turn is None
            else self._judge_turn(thread, turn, judge)
            for turn in judged
        )
        failures = tuple(each for each in found if isinstance(each, Failure))
        rows = [each for each in found if not isinstance(each, Failure)]
        return Evaluation(
            declaration=self.declaration,
            version=self.version,
            scores=tuple(self._scores(rows, is_whole=not failures)),
            details=rows,
            failures=failures,
        )

    def question(self, thread: Thread, turn: Turn | None = None) -> Question[Any]:
        """What is asked about a conversation, or about one of its turns."""
        return self._shown_question(thread, turn, self._texts.visible(thread, turn))

    def questions_of_pair(
        self, thread: Thread, pair: Pair
    ) -> tuple[Question[AnyDefinedAnswer], Question[AnyDefinedAnswer]]:
        """What is asked about two answers: as they are recorded, and with places exchanged."""
        recorded, exchanged = (
            self._question(thread, None, self._texts.render_pair(thread, each))
            for each in (pair, pair.exchanged())
        )
        return recorded, exchanged

    def _shown_question(
        self, thread: Thread, turn: Turn | None, shown: Sequence[Turn]
    ) -> Question[Any]:
        return self._question(thread, turn, self._texts.render(thread, turn, shown))

    def _question(self, thread: Thread, turn: Turn | None, text: Rendered) -> Question[Any]:
        number = None if turn is None else turn.number
        return Question(
            site=CallSite(evaluator=self._definition.name, thread_id=thread.thread_id, turn=number),
            text=text,
            form=self._form,
            parameters=self._parameters,
        )

    async def _evaluate_pair(self, thread: Thread, judge: Judge) -> Evaluation:
        is_judged = applies_to_thread(self._definition.applies_when, thread)
        pair = pair_of(thread) if is_judged else None
        rows: list[DefinedResult] = []
        scores: tuple[Score, ...] = ()
        failures: list[Failure] = []
        if pair is not None:
            questions = self.questions_of_pair(thread, pair)
            found = await concurrently(judge.answer(each) for each in questions)
            failures = [each for each in found if isinstance(each, Failure)]
            if not failures:
                recorded, exchanged = (each for each in found if not isinstance(each, Failure))
                rows, scores = self._compared(pair, recorded, exchanged)
        return Evaluation(
            declaration=self.declaration,
            version=self.version,
            scores=scores,
            details=rows,
            failures=tuple(failures[:1]),  # one verdict is missing, whether one order failed or two
        )

    def _compared(
        self, pair: Pair, recorded: AnyDefinedAnswer, exchanged: AnyDefinedAnswer
    ) -> tuple[list[DefinedResult], tuple[Score, ...]]:
        found = compared(str(recorded.verdict), str(exchanged.verdict))
        shown = self._texts.shown_pair(pair).turns
        row: DefinedResult = {
            "turn": None,
            "verdict": found.choice.value,
            "consistent": found.is_consistent,
            "reasoning": (
                f"As recorded, {recorded.verdict}: {recorded.reasoning} "
                f"With places exchanged, {exchanged.verdict}: {exchanged.reasoning}"
            ),
            "evidence": transcript.checked([*recorded.evidence, *exchanged.evidence], shown),
        }
        consistent = Score(name=CONSISTENT, value=found.is_consistent)
        return [row], (*self._scores([row], is_whole=True), consistent)

    def _judged(self, thread: Thread) -> list[Turn | None]:
        """The turns that are judged; [None]: the whole conversation is."""
        when = self._definition.applies_when
        if self._definition.scope is JudgedUnit.CONVERSATION:
            return [None] if applies_to_thread(when, thread) else []
        return [turn for turn in thread.turns if applies_to_turn(when, turn)]

    async def _judge_turn(
        self, thread: Thread, turn: Turn, judge: Judge
    ) -> DefinedResult | Failure:
        usual = self._texts.visible(thread, turn)
        answer, shown = await earlier_turns.asked(
            lambda turns: judge.answer(self._shown_question(thread, turn, turns)), usual
        )
        if isinstance(answer, Failure):
            return answer
        row = self._row(thread, turn, answer, shown)
        if len(shown) < len(usual):
            row["earlier_turns"] = len(shown) - 1
        return row

    async def _judge_conversation(self, thread: Thread, judge: Judge) -> DefinedResult | Failure:
        rule, turns = self._definition.long_conversations, self._texts.visible(thread, None)
        found = await lengths.judged(
            lambda shown: judge.answer(self._shown_question(thread, None, shown)),
            turns,
            in_parts=rule is not LongConversations.NO_VERDICT,
        )
        if isinstance(found, Failure):
            return self._with_cure(found, turns)
        answer = parts.combined(found, self._definition.output, rule)
        row = self._row(thread, None, answer, turns)
        if len(found) > 1:
            row["parts"] = [parts.as_json(each) for each in found]
            row["counts"] = rule.value
        return row

    def _with_cure(self, failure: Failure, turns: Sequence[Turn]) -> Failure:
        """A failure that says, if it helps, how long conversations can be judged."""
        is_in_parts = self._definition.long_conversations is not LongConversations.NO_VERDICT
        if is_in_parts or not lengths.is_too_long(failure) or not lengths.can_be_halved(turns):
            return failure
        cure = f"To have it judged in parts, set long_conversations of {self._definition.name}"
        return replace(failure, message=f"{failure.message} {cure}.")

    def _row(
        self, thread: Thread, turn: Turn | None, answer: AnyDefinedAnswer, turns: Sequence[Turn]
    ) -> DefinedResult:
        shown = self._texts.with_instructions(thread, turns)
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
    """The rules that it asks about: the app's, by their scope, and its own. Of a pair, none."""
    if definition.scope is JudgedUnit.PAIR:
        return ()
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
        data=lambda _app: _needed(definition),
        scope=definition.name,
        has_votes=True,
        model=definition.parameters.model,
        votes=definition.parameters.votes or 1,
    )


def _needed(definition: EvaluatorDefinition) -> Sequence[AbstractSet[TurnData]]:
    """What a turn must have to be judged. What people happen to say is not asked for here."""
    needed = [{DATA_OF[each] for each in definition.applies_when.has if each in DATA_OF}]
    if definition.scope is JudgedUnit.PAIR:  # in any turns, not all in one
        needed = [{TurnData.ALTERNATIVE}]
    return [each for each in needed if each]


def _calls(definition: EvaluatorDefinition) -> CallCounts:
    when = definition.applies_when
    if definition.scope is not JudgedUnit.TURN:
        return CallCounts(per_thread=2 if definition.scope is JudgedUnit.PAIR else 1)
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
