"""Checks: what a program finds in the bot's answers, as an app describes it. No LLM is asked."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.checks import RESERVED, AnyCheck, EqualsCheck, LatencyCheck
from evalqueue.evaluators.conversation import Thread, TurnData
from evalqueue.evaluators.judging.checks.checking import checked
from evalqueue.evaluators.judging.checks.outcomes import CheckOutcome, CheckResult, CheckSubject
from evalqueue.evaluators.judging.evaluator import Evaluation, Failure
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.plan import EvaluatorType
from evalqueue.evaluators.judging.quotes import CheckedQuote
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)
from evalqueue.evaluators.providers.errors import CallOutcome

NAME = "checks"
VERSION = 2
"""Of what the checks mean; counted up when one of them changes."""
_TITLES = {
    CheckResult.FAILED: "Failed",
    CheckResult.NOT_MEASURED: "Not measured",
    CheckResult.NOT_APPLICABLE: "Not applicable",
}
SECONDS_MAX = 10.0
"""For one conversation. What has not been looked at by then is not measured."""


def declaration_of(checks: Iterable[AnyCheck]) -> EvaluatorDeclaration:
    """A score for each check, and one for all of them."""
    return EvaluatorDeclaration(
        name=NAME,
        title="Checks",
        question="Do the bot's answers pass the checks of the app?",
        calls="No calls.",
        calls_llm=False,
        scores=(
            ScoreDeclaration(
                name=RESERVED,
                title="Conversations that pass all checks",
                kind=ScoreKind.BOOLEAN,
                higher_is_better=True,
            ),
            *(
                ScoreDeclaration(
                    name=check.name,
                    title=check.name.replace("_", " ").capitalize(),
                    kind=ScoreKind.BOOLEAN,
                    per_turn=check.scope != "conversation",
                    higher_is_better=True,
                )
                for check in checks
            ),
        ),
        headline=RESERVED,
        details_key=NAME,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one check found in one place."""

    check: AnyCheck
    turn: int | None
    outcome: CheckOutcome
    evidence: Sequence[CheckedQuote]

    @property
    def is_unknown(self) -> bool:
        return self.outcome.result is CheckResult.NOT_MEASURED


class ChecksEvaluator:
    """The evaluator that carries out the checks of one app."""

    def __init__(self, app: App) -> None:
        self._checks = app.checks
        self.declaration = declaration_of(app.checks)
        content = json.dumps([app.checks_as_json(), VERSION], sort_keys=True)
        self.version = f"{NAME}/{VERSION}:{sha256(content.encode()).hexdigest()[:12]}"

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        # In a thread of its own: other conversations go on, however long the answers are.
        found, failure = await asyncio.to_thread(self._found, thread)
        failures = () if failure is None else (failure,)
        return Evaluation(
            declaration=self.declaration,
            version=self.version,
            scores=(_all_together(found, failures), *_scores(found)),
            details=[
                {
                    "check": each.check.name,
                    "kind": each.check.kind,
                    "turn": each.turn,
                    "passed": each.outcome.passed,
                    "result": each.outcome.result,
                    "judged": each.outcome.passed is not None,
                    "note": each.outcome.note,
                }
                for each in found
            ],
            failures=failures,
            unknown=sum(each.is_unknown for each in found),
        )

    def _found(self, thread: Thread) -> tuple[list[_Found], Failure | None]:
        found: list[_Found] = []
        until = time.monotonic() + SECONDS_MAX
        for check in self._checks:
            for turn, subject in _subjects(check, thread):
                if time.monotonic() > until:
                    message = f"The checks took more than {SECONDS_MAX:g} s: {check.name} and later"
                    return found, Failure(
                        evaluator=NAME, reason=CallOutcome.TIMEOUT, message=message
                    )
                outcome = checked(check, subject)
                evidence = outcome.evidence(subject)
                found.append(_Found(check=check, turn=turn, outcome=outcome, evidence=evidence))
        return found, None


def _subjects(check: AnyCheck, thread: Thread) -> Iterator[tuple[int | None, CheckSubject]]:
    """What a check looks at, with the turn that it is about. An unanswered turn has no answer."""
    answered = [turn for turn in thread.turns if turn.bot_text.strip() or turn.tool_calls]
    match check.scope:
        case "conversation":
            if answered:
                yield None, CheckSubject(thread=thread, turns=answered)
        case "last_answer":
            for turn in answered[-1:]:
                yield turn.number, CheckSubject(thread=thread, turns=[turn])
        case "every_answer":
            for turn in answered:
                yield turn.number, CheckSubject(thread=thread, turns=[turn])


def _scores(found: Iterable[_Found]) -> Iterator[Score]:
    for each in found:
        yield Score(
            name=each.check.name,
            value=each.outcome.passed,
            turn=each.turn,
            evidence=each.evidence,
            reasoning=each.outcome.note,
            is_unknown=each.is_unknown,
        )


def _all_together(found: Sequence[_Found], failures: Sequence[Failure]) -> Score:
    """Whether all checks that apply were passed. What was not looked at may have failed."""
    named = {
        result: list(dict.fromkeys(e.check.name for e in found if e.outcome.result is result))
        for result in CheckResult
    }
    value = None
    if named[CheckResult.FAILED]:
        value = False
    elif named[CheckResult.PASSED] and not (named[CheckResult.NOT_MEASURED] or failures):
        value = True
    reasons = [
        f"{title}: {', '.join(named[result])}" for result, title in _TITLES.items() if named[result]
    ]
    return Score(
        name=RESERVED,
        value=value,
        reasoning="; ".join(reasons) or None,
        is_unknown=value is None and bool(named[CheckResult.NOT_MEASURED]),
    )


def _needed(checks: Sequence[AnyCheck]) -> Sequence[AbstractSet[TurnData]]:
    """What the data must have for one of the checks. Empty: one needs nothing of the kind."""
    needed: list[AbstractSet[TurnData]] = []
    for check in checks:
        match check:
            case EqualsCheck(text=None):
                needed.append({TurnData.EXPECTED})
            case LatencyCheck():
                needed.append({TurnData.LATENCY})
                needed.extend([{TurnData.WAIT}] if check.from_timestamps else [])
            case _:
                return ()
    return needed


EVALUATOR = EvaluatorType(
    declaration=declaration_of(()),
    make=lambda plan: ChecksEvaluator(plan.app),
    applies_to=lambda app: bool(app.checks),
    needs="[[checks]]",
    data=lambda app: _needed(app.checks),
    is_optional=True,
)
