"""A judge that asks each question several times, and answers with what the majority says."""

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

from evalqueue.evaluators.judging.answers import A
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import Judge, Question, concurrently
from evalqueue.evaluators.judging.scores import ScoreValue
from evalqueue.evaluators.judging.voting.counting import Ballot, Vote
from evalqueue.evaluators.judging.voting.panel import NO_PANEL, ONE, Panel, shown
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError


class VotingJudge(Judge):
    """Asks another judge; for one evaluator and one conversation."""

    def __init__(
        self,
        judge: Judge,
        votes: int,
        second_model: str | None = None,
        panel: Panel = NO_PANEL,
    ) -> None:
        """`second_model` gives one vote more where the others differ, each other model of the panel
        one on every question."""
        self._judge = judge
        self._votes = votes
        self._second_model = second_model
        self._panel = panel
        self.ballots: list[Ballot] = []
        """Of the questions that were asked."""

    async def ask(self, question: Question[A]) -> A:
        """The answer of the majority.

        Raises:
            ProviderError: there is none; `outcome` says why.
        """
        answer = await self.answer(question)
        if isinstance(answer, Failure):
            raise ProviderError(answer.reason, answer.message)
        return answer

    async def answer(self, question: Question[A]) -> A | Failure:
        """The answer of the majority, or why there is none.

        The reasons and the evidence are those of the first vote with the value that won; of a
        number, of the vote that is nearest to the median.

        Raises:
            ProviderError: only for what no other question could escape either.
        """
        own = [question.as_vote(number) for number in range(1, self._votes + 1)]
        others = [question.of_model(name) for name in self._panel.others]
        found = await concurrently(self._judge.answer(each) for each in (*own, *others))
        values = {_value(each, question.decides) for each in found if not isinstance(each, Failure)}
        if self._second_model is not None and len(values) > 1:
            found.append(await self._judge.answer(question.of_model(self._second_model)))
        answers = [each for each in found if not isinstance(each, Failure)]
        failures = [each for each in found if isinstance(each, Failure)]
        values = [_value(each, question.decides) for each in answers]
        votes = [
            Vote(
                value=None if isinstance(each, Failure) else _value(each, question.decides),
                weight=weight,
                model=model,
            )
            for each, (model, weight) in zip(found, self._voters(len(found)), strict=True)
        ]
        ballot = Ballot(votes=tuple(votes), turn=question.site.turn)
        self.ballots.append(ballot)
        decision = ballot.decision
        if decision is None:
            return _undecided(question, ballot, failures)
        if not isinstance(decision, bool | str):
            nearest = min(
                zip(values, answers, strict=True), key=lambda vote: abs(float(vote[0]) - decision)
            )
            return nearest[1].model_copy(update={question.decides: decision})
        return answers[values.index(decision)]

    def _voters(self, votes: int) -> Iterator[tuple[str | None, Decimal]]:
        """Whose the votes on a question are, in their order, and their weights."""
        panel = self._panel
        if not panel.others:
            return repeat((None, ONE), votes)
        return chain(repeat((panel.own, panel.own_weight), self._votes), panel.others.items())


def _value(answer: Any, field: str) -> ScoreValue:
    """What a vote says. An evaluator whose questions decide on a field has it."""
    return getattr(answer, field)


def _undecided(question: Question[Any], ballot: Ballot, failures: Sequence[Failure]) -> Failure:
    if ballot.has_quorum:
        reason, message = CallOutcome.UNDECIDED, f"Not decided: {ballot}."
    else:
        reason = Counter(each.reason for each in failures).most_common(1)[0][0]
        first = next(each.message for each in failures if each.reason is reason)
        missing = f"{len(failures)} of {len(ballot.votes)} votes"
        if ballot.is_weighted:
            weight = ballot.weight - ballot.cast_weight
            missing += f", {shown(weight)} of {shown(ballot.weight)} by weight,"
        message = f"{missing} failed: {first}"
    return Failure(
        evaluator=question.site.evaluator,
        reason=reason,
        message=message,
        turn=question.site.turn,
    )
