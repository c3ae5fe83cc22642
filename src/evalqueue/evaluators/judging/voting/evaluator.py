"""An evaluator whose questions are asked several times."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.judging.evaluator import Evaluation, Evaluator
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)
from evalqueue.evaluators.judging.voting.counting import Ballot, flip_rate, mean_agreement
from evalqueue.evaluators.judging.voting.judge import VotingJudge
from evalqueue.evaluators.judging.voting.panel import NO_PANEL, Panel

AGREEMENT = "vote_agreement"
FLIP_RATE = "vote_flip_rate"


class VotingEvaluator:
    """Asks the questions of another evaluator several times, or several models.

    Beside its scores it has how far the votes agree, and how many questions they do not all answer
    alike.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        votes: int,
        second_model: str | None = None,
        panel: Panel = NO_PANEL,
    ) -> None:
        self._evaluator = evaluator
        self._votes = votes
        self._second_model = second_model
        self._panel = panel
        self.declaration = with_votes(evaluator.declaration)
        second = "" if second_model is None else f"+{sha256(second_model.encode()).hexdigest()[:8]}"
        others = f":panel={panel.digest}" if panel.others else ""
        self.version = f"{evaluator.version}:votes={votes}{second}{others}"

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        voting = VotingJudge(judge, self._votes, self._second_model, self._panel)
        found = await self._evaluator.evaluate(thread, voting)
        return replace(
            found,
            declaration=self.declaration,
            version=self.version,
            scores=(*found.scores, *_scores(voting.ballots)),
        )


def voted(
    evaluator: Evaluator, votes: int, second_model: str | None = None, panel: Panel = NO_PANEL
) -> Evaluator:
    """The evaluator, with so many votes on each of its questions and one of each other model of a
    panel; where they differ, one more of a second model."""
    if votes == 1 and not panel.others:
        return evaluator
    return VotingEvaluator(evaluator, votes, second_model, panel)


def with_votes(declaration: EvaluatorDeclaration) -> EvaluatorDeclaration:
    """What is declared besides where there are votes."""
    scores = (
        _share(AGREEMENT, f"{declaration.title}: agreement of the votes", is_good=True),
        _share(FLIP_RATE, f"{declaration.title}: flip rate of the votes", is_good=False),
    )
    return declaration.model_copy(update={"scores": (*declaration.scores, *scores)})


def _share(name: str, title: str, *, is_good: bool) -> ScoreDeclaration:
    return ScoreDeclaration(
        name=name,
        title=title,
        kind=ScoreKind.NUMBER,
        higher_is_better=is_good,
        minimum=0,
        maximum=1,
    )


def _scores(ballots: Sequence[Ballot]) -> Iterator[Score]:
    if not ballots:
        return
    ordered = sorted(ballots, key=lambda each: each.turn or 0)
    flips = [
        f"Turn {each.turn}: {each}." if each.turn is not None else f"{each}."
        for each in ordered
        if each.is_flip
    ]
    yield Score(name=AGREEMENT, value=mean_agreement(ballots))
    yield Score(name=FLIP_RATE, value=flip_rate(ballots), reasoning=" ".join(flips) or None)
