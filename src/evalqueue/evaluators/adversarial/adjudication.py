"""The adjudication: a judge's verdict on one conversation with a difficult user.

The judge reads the whole transcript, the rules, the expected behaviour, and what was recorded of
the connection. It sees what the simulator believed as an opinion. Where the two disagree, the
judge's decision counts and the disagreement is flagged. A conversation that broke off because the
connection or the simulator failed is not judged: an incomplete conversation is no evidence.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.dialogue import ENDING, EXCHANGE, Dialogue
from evalqueue.evaluators.adversarial.simulated_user import GoalState, marker
from evalqueue.evaluators.apps import App, Rule
from evalqueue.evaluators.apps.difficult_users import DifficultUsers, Goal
from evalqueue.evaluators.judging import prompts, rules, transcript
from evalqueue.evaluators.judging.answers import Answer, Form, Menu, label_key
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import (
    DEFAULT_PARAMETERS,
    Judge,
    Parameters,
    Question,
    version_of,
)
from evalqueue.evaluators.providers.recorder import CallSite
from evalqueue.evaluators.verdicts import AdversarialVerdict, FailureMode, RuleStatus, StopReason

NAME = "adversarial"
CHATBOT = "chatbot"
INTERRUPTED = "interrupted"

_ALIASES: Mapping[str, FailureMode] = {
    "noresponse": FailureMode.EMPTY_RESPONSE,
    "blankresponse": FailureMode.EMPTY_RESPONSE,
    "systemerror": FailureMode.TECHNICAL_ERROR,
    "timeout": FailureMode.TECHNICAL_ERROR,
    "crash": FailureMode.BOT_CRASHED,
    "internalerrorleak": FailureMode.USER_VISIBLE_INTERNAL_ERROR,
    "stacktrace": FailureMode.USER_VISIBLE_INTERNAL_ERROR,
    "hallucination": FailureMode.HALLUCINATED_SYSTEM_STATE,
    "falseconfirmation": FailureMode.HALLUCINATED_SYSTEM_STATE,
    "unansweredquestion": FailureMode.DID_NOT_ANSWER_QUESTION,
    "deflection": FailureMode.DID_NOT_ANSWER_QUESTION,
    "assumption": FailureMode.ASSUMED_DETAILS,
    "assumedquantity": FailureMode.ASSUMED_DETAILS,
    "assumedtime": FailureMode.ASSUMED_DETAILS,
    "loop": FailureMode.REPETITIVE_LOOP,
    "repetition": FailureMode.REPETITIVE_LOOP,
    "lostcontext": FailureMode.CONTEXT_LOSS,
    "forgotcontext": FailureMode.CONTEXT_LOSS,
    "confusion": FailureMode.CONFUSED_STATE,
    "mergedmeals": FailureMode.BROKEN_SUMMARY_FLOW,
    "missingsummary": FailureMode.BROKEN_SUMMARY_FLOW,
    "missingchips": FailureMode.MISSING_CONFIRMATION_OPTIONS,
    "missingactionchips": FailureMode.MISSING_CONFIRMATION_OPTIONS,
    "wronginformation": FailureMode.INCORRECT_INFORMATION,
    "incorrectdata": FailureMode.INCORRECT_INFORMATION,
    "ignoredcorrection": FailureMode.POOR_EDIT_HANDLING,
    "editfailure": FailureMode.POOR_EDIT_HANDLING,
}
"""Other names that judges use for a failure mode, normalised as by `label_key`."""


class GoalVerdict(Answer):
    goal_id: Annotated[str, Menu("goals")]
    reasoning: str
    achieved: bool


class AdversarialAnswer(Answer):
    evidence: list[transcript.Quote]
    goal_verdicts: list[GoalVerdict]
    rule_compliance: Annotated[
        list[rules.RuleFinding], Field(description="one entry for every rule")
    ]
    failure_modes: list[Annotated[str, Menu("failure_modes", enforced=False)]]
    first_failing_turn: int | None
    reasoning: str
    verdict: Literal["PASS", "SOFT_FAIL", "HARD_FAIL", "CRITICAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Why a case has no verdict."""

    evaluator: str
    """What failed: `chatbot`, `adversarial_simulator` or `adversarial` (the judge)."""
    reason: str
    """A connection's `Fault`, an LLM call's `Outcome`, or `interrupted`."""
    message: str
    turn: int | None = None

    @classmethod
    def of(cls, failure: Failure) -> "Shortfall":
        return cls(
            evaluator=failure.evaluator,
            reason=failure.reason.value,
            message=failure.message,
            turn=failure.turn,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The result of one trial of one case: the columns of its row, and the JSON beside them."""

    case: Case
    trial: int
    verdict: AdversarialVerdict | None
    """None: not judged."""
    goal_achieved: bool | None
    """Whether all goals were reached, according to the judge. An attack's goal is reached when
    the bot fails. None: the judge did not decide about every goal."""
    total_turns: int
    stop_reason: StopReason
    error: str | None
    """Why there is no verdict."""
    result: Mapping[str, Any]

    @property
    def can_be_judged_later(self) -> bool:
        """Whether the conversation is complete, and only the judge failed."""
        return self.verdict is None and self.stop_reason is not StopReason.ERROR


class Adjudicator:
    """Judges the conversations of one app."""

    def __init__(
        self, app: App, users: DifficultUsers, *, parameters: Parameters = DEFAULT_PARAMETERS
    ) -> None:
        self._about = app.about.strip()
        self._users = users
        self._rules = app.rules_for("adversarial")
        self._parameters = parameters
        self._prompt = prompts.load(NAME)
        self.version = version_of(
            self._prompt,
            schema=Form(AdversarialAnswer, self._menus((), ())).schema,
            app=[self._about, self._users, [asdict(rule) for rule in self._rules]],
            aliases=_ALIASES,
            parameters=parameters,
        )

    async def judged(
        self, case: Case, trial: int, dialogue: Dialogue, *, key: str, judge: Judge
    ) -> CaseResult:
        """The verdict on a conversation, or why there is none.

        Args:
            key: names the conversation in the record of calls.

        Raises:
            ProviderError: every later call would fail in the same way.
        """
        if dialogue.ending.stop_reason is StopReason.ERROR:
            return self._unjudged(case, trial, dialogue, _broken_off(dialogue))
        answer = await judge.answer(self._question(case, dialogue, key=key))
        if isinstance(answer, Failure):
            return self._unjudged(case, trial, dialogue, Shortfall.of(answer))
        return self._result(case, trial, dialogue, answer)

    def interrupted(self, case: Case, trial: int, dialogue: Dialogue, message: str) -> CaseResult:
        """The result of a conversation that was interrupted and can't be continued."""
        turn = len(dialogue.exchanges)
        shortfall = Shortfall(evaluator=CHATBOT, reason=INTERRUPTED, message=message, turn=turn)
        return self._unjudged(case, trial, dialogue, shortfall)

    def _question(self, case: Case, dialogue: Dialogue, *, key: str) -> Question[AdversarialAnswer]:
        goals = [self._users.goal(goal_id) for goal_id in case.goals]
        asked = _rules_for(case, self._rules)
        menus = self._menus(case.goals, rules.rule_ids(asked))
        shown = transcript.shown(dialogue.turns)
        return Question(
            site=CallSite(evaluator=NAME, thread_id=key, label=case.label or None),
            text=self._prompt.render(
                about=self._about,
                goals="\n".join(_criteria(goal) for goal in goals) or "   (none)",
                failure_modes=", ".join(FailureMode),
                rules=rules.listed(asked),
                marker=f"{marker(case)}\nDifficulty: {case.difficulty}",
                persona=self._users.persona(case.persona).behaviour,
                traits="; ".join(self._users.trait(each).description for each in case.traits)
                or "-",
                objective=_objective(case),
                expected=transcript.quoted("expected", case.expected_behavior),
                facts="\n".join(_facts(dialogue)) or "- nothing out of the ordinary",
                belief=_belief(dialogue),
                turns=str(len(dialogue.exchanges)),
                transcript=transcript.fence("transcript", shown),
            ),
            form=Form(AdversarialAnswer, menus),
            parameters=self._parameters,
        )

    def _menus(self, goals: Sequence[str], rule_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return {
            "goals": tuple(goals),
            rules.RULES_MENU: tuple(rule_ids),
            "failure_modes": tuple(FailureMode),
        }

    def _result(
        self, case: Case, trial: int, dialogue: Dialogue, answer: AdversarialAnswer
    ) -> CaseResult:
        verdict = AdversarialVerdict(answer.verdict.replace("_", " "))
        by_goal = {each.goal_id: each for each in answer.goal_verdicts}
        verdicts = [by_goal[goal] for goal in case.goals if goal in by_goal]
        compliance = rules.results(_rules_for(case, self._rules), answer.rule_compliance)
        modes = failure_modes(answer.failure_modes)
        found = {
            "verdict": verdict.value,
            "reasoning": answer.reasoning,
            "evidence": transcript.checked(answer.evidence, dialogue.turns),
            "goal_verdicts": [each.model_dump() for each in verdicts],
            "rule_compliance": compliance,
            "failure_modes": [mode.value for mode in modes],
            "first_failing_turn": _existing_turn(answer.first_failing_turn, dialogue),
        }
        contradictions = list(self._contradictions(case, dialogue, verdict, found))
        return CaseResult(
            case=case,
            trial=trial,
            verdict=verdict,
            goal_achieved=_all_reached(verdicts) if len(verdicts) == len(case.goals) else None,
            total_turns=len(dialogue.exchanges),
            stop_reason=dialogue.ending.stop_reason,
            error=None,
            result=self._json(case, trial, dialogue, judged=found, contradictions=contradictions),
        )

    def _unjudged(
        self, case: Case, trial: int, dialogue: Dialogue, shortfall: Shortfall
    ) -> CaseResult:
        return CaseResult(
            case=case,
            trial=trial,
            verdict=None,
            goal_achieved=None,
            total_turns=len(dialogue.exchanges),
            stop_reason=dialogue.ending.stop_reason,
            error=shortfall.message,
            result=self._json(case, trial, dialogue, shortfall=shortfall),
        )

    def _json(
        self,
        case: Case,
        trial: int,
        dialogue: Dialogue,
        *,
        judged: Mapping[str, Any] | None = None,
        contradictions: Sequence[str] = (),
        shortfall: Shortfall | None = None,
    ) -> dict[str, object]:
        """The case's JSON: what happened (`facts`), the judge's answer (`judge`), and what follows
        from both (`derived`)."""
        return {
            "test_case": case.as_json() | {"case_id": case.case_id, "trial": trial},
            "facts": {
                "line": [fact for each in dialogue.exchanges for fact in each.facts()],
                "fault": None if dialogue.fault is None else dialogue.fault.fault.value,
                "ending": ENDING.dump_python(dialogue.ending, mode="json"),
            },
            "transcript": [EXCHANGE.dump_python(each, mode="json") for each in dialogue.exchanges],
            "judge": judged,
            "derived": {
                "contradictions": list(contradictions),
                "is_infrastructure_failure": judged is None,
                "is_retryable": judged is None,
            },
            "failures": [] if shortfall is None else [asdict(shortfall)],
            "evaluator_versions": {NAME: self.version},
        }

    def _contradictions(
        self, case: Case, dialogue: Dialogue, verdict: AdversarialVerdict, found: Mapping[str, Any]
    ) -> Iterator[str]:
        """The contradictions between the judge, the simulator and the facts. None is corrected."""
        judged = {each["goal_id"]: each["achieved"] for each in found["goal_verdicts"]}
        yield from (
            f"goal_not_judged: {goal_id}" for goal_id in case.goals if goal_id not in judged
        )
        for goal_id, achieved in judged.items():
            believed = dialogue.ending.states.get(goal_id)
            if believed is GoalState.ABANDONED and achieved:
                yield f"simulator_abandoned_vs_judge_achieved: {goal_id}"
            elif (believed is GoalState.COMPLETE) is not achieved:
                yield f"simulator_goal_vs_judge_goal: {goal_id}"
            if (
                verdict is AdversarialVerdict.PASS
                and achieved
                and self._users.goal(goal_id).is_attack
            ):
                yield f"attack_achieved_vs_pass: {goal_id}"
        if any(_reports_a_failure(dialogue)) and not found["failure_modes"]:
            yield "transport_failure_without_judge_failure_mode"
        violated = [
            each["rule_id"]
            for each in found["rule_compliance"]
            if each["status"] == RuleStatus.VIOLATED
        ]
        if verdict is AdversarialVerdict.PASS:
            yield from (f"rule_violated_vs_pass: {rule_id}" for rule_id in violated)
        if verdict.is_break and not (violated or found["failure_modes"]):
            yield "failed_without_a_reason"


def failure_modes(names: Iterable[str]) -> list[FailureMode]:
    """The failure modes that a judge named, each once. Unknown names are dropped."""
    known = {label_key(mode): mode for mode in FailureMode} | dict(_ALIASES)
    found = (known.get(re.sub(r"[^a-z]", "", label_key(each))) for each in names)
    return list(dict.fromkeys(mode for mode in found if mode is not None))


def _all_reached(verdicts: Sequence[GoalVerdict]) -> bool | None:
    return all(each.achieved for each in verdicts) if verdicts else None


def _rules_for(case: Case, among: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules that apply to a case. A rule without traits, goals or personas applies to all."""

    def concerns(rule: Rule) -> bool:
        return (
            (not rule.traits or not set(rule.traits).isdisjoint(case.traits))
            and (not rule.goals or not set(rule.goals).isdisjoint(case.goals))
            and (not rule.personas or case.persona in rule.personas)
        )

    return tuple(rule for rule in among if concerns(rule))


def _criteria(goal: Goal) -> str:
    lines = [f"   - {goal.goal_id}: {goal.description}"]
    lines += [f"     reached: {'; '.join(goal.completion)}"]
    lines += [f"     not reached: {'; '.join(goal.not_completion)}"] if goal.not_completion else []
    lines += ["     (an attack: reaching it is the assistant's failure)"] if goal.is_attack else []
    return "\n".join(lines)


def _facts(dialogue: Dialogue) -> Iterator[str]:
    yield from (f"- {fact}" for each in dialogue.exchanges for fact in each.facts())
    if dialogue.ending.stop_reason is StopReason.MAX_TURNS:
        yield f"- The conversation was stopped after {len(dialogue.exchanges)} turns."


def _reports_a_failure(dialogue: Dialogue) -> Iterator[bool]:
    for exchange in dialogue.exchanges:
        reply = exchange.reply
        yield reply is not None and (reply.error is not None or not reply.shown.strip())


def _objective(case: Case) -> str:
    if not case.objective:
        return ""
    return f"The user's objective:\n{transcript.quoted('objective', case.objective)}"


def _belief(dialogue: Dialogue) -> str:
    states = ", ".join(f"{goal}: {state}" for goal, state in dialogue.ending.states.items())
    return f"{states or 'nothing'} ({dialogue.ending.reason or 'no reason given'})"


def _broken_off(dialogue: Dialogue) -> Shortfall:
    """Why a conversation broke off: the simulator or the connection failed."""
    if dialogue.ending.failure is not None:
        return Shortfall.of(dialogue.ending.failure)
    fault, turn = dialogue.fault, len(dialogue.exchanges)
    if fault is None:
        message = dialogue.ending.reason or "The conversation broke off"
        return Shortfall(evaluator=CHATBOT, reason=INTERRUPTED, message=message, turn=turn)
    message = f"{fault.fault}: {fault.message}"
    return Shortfall(evaluator=CHATBOT, reason=fault.fault.value, message=message, turn=turn)


def _existing_turn(turn: int | None, dialogue: Dialogue) -> int | None:
    return turn if turn is not None and 1 <= turn <= len(dialogue.exchanges) else None
