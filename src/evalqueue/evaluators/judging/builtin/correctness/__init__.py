"""Correctness: are the bot's answers right, complete and consistent?

Two questions can be asked about an answer: whether its figures are right (`figures`), and whether
it agrees with what is known (`references`). The app and the conversation decide which; an answer
about which neither is asked is NOT APPLICABLE without a call. The verdict is the worse one of both.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.judging import rules
from evalqueue.evaluators.judging.builtin.correctness.figures import Figures
from evalqueue.evaluators.judging.builtin.correctness.references import References
from evalqueue.evaluators.judging.builtin.correctness.verdicts import (
    FAILING,
    NAME,
    Aspect,
    Correctness,
    JudgedResult,
    UnjudgedResult,
    worst,
)
from evalqueue.evaluators.judging.evaluator import Evaluation, Failure
from evalqueue.evaluators.judging.judge import (
    DEFAULT_PARAMETERS,
    Judge,
    Parameters,
    concurrently,
    version_of,
)
from evalqueue.evaluators.judging.plan import CallCounts, EvaluationPlan, EvaluatorType
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration,
    Score,
    ScoreDeclaration,
    ScoreKind,
)

_LABELS = tuple(each.value for each in Correctness)
_MEANINGS = {
    Correctness.NOT_APPLICABLE: "No answer can be checked.",
    Correctness.PASS: "Right, complete and consistent.",
    Correctness.SOFT_FAIL: "A small slip that would not mislead the user.",
    Correctness.HARD_FAIL: "Clearly wrong, made up, or what was asked for is missing.",
    Correctness.CRITICAL: "Wrong in a way that can harm the user.",
}
_DESCRIPTIONS = tuple(_MEANINGS[each] for each in Correctness)
_GOOD = (Correctness.PASS.value,)
_BAD = tuple(each.value for each in FAILING)
_NEUTRAL = (Correctness.NOT_APPLICABLE.value,)
_NO_MARKERS = "The answer holds none of the profile's markers: nothing to check."
_NO_REFERENCES = "There is nothing that the answer could be compared with."

DECLARATION = EvaluatorDeclaration(
    name=NAME,
    title="Correctness",
    question="Are the bot's answers right, complete and consistent?",
    calls="One call for each answer that can be checked.",
    scores=(
        ScoreDeclaration(
            name="worst",
            title="Correctness, the worst answer of each conversation",
            kind=ScoreKind.CATEGORY,
            labels=_LABELS,
            descriptions=_DESCRIPTIONS,
            good=_GOOD,
            bad=_BAD,
            neutral=_NEUTRAL,
        ),
        ScoreDeclaration(
            name="verdict",
            title="Correctness of the answers that can be checked",
            kind=ScoreKind.CATEGORY,
            per_turn=True,
            labels=_LABELS,
            good=_GOOD,
            bad=_BAD,
            neutral=_NEUTRAL,
        ),
    ),
    headline="worst",
    details_key="correctness_evaluations",
    column="worst_correctness",
    summary_key="correctness_verdicts",
)


class CorrectnessParams(BaseModel):
    """What a job says about correctness."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    evaluate_correctness: bool = True
    """False switches the evaluator `correctness` off."""


class CorrectnessEvaluator:
    """The evaluator of correctness, for one app."""

    declaration = DECLARATION

    def __init__(self, app: App, *, parameters: Parameters = DEFAULT_PARAMETERS) -> None:
        references = References(app, parameters=parameters)
        figures = (
            Figures(app, app.meal_summary, app.bounds, parameters=parameters)
            if app.meal_summary is not None and app.bounds is not None
            else None
        )
        self._aspects: Sequence[Aspect] = (figures, references) if figures else (references,)
        self._why_unjudged = _NO_MARKERS if app.meal_summary is not None else _NO_REFERENCES
        self.version = version_of(
            figures.prompt if figures else references.prompt,
            parameters=parameters,
            **(figures.identity if figures else {}),
            references=references.identity,
        )

    async def evaluate(self, thread: Thread, judge: Judge) -> Evaluation:
        asked = [
            (turn, aspect) for turn in thread.turns for aspect in self._aspects if aspect.asks(turn)
        ]
        answers = await concurrently(aspect.ask(thread, turn, judge) for turn, aspect in asked)
        failures: list[Failure] = []
        found: dict[int, list[JudgedResult | Failure]] = defaultdict(list)
        for (turn, _), answer in zip(asked, answers, strict=True):
            found[turn.number].append(answer)
            failures += [answer] if isinstance(answer, Failure) else []
        rows = [
            row
            for turn in thread.turns
            if (row := self._row(turn, found.get(turn.number, []))) is not None
        ]
        headline = _headline([Correctness(row["verdict"]) for row in rows], failures)
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(Score(name="worst", value=headline and headline.value), *_scores(rows)),
            details=rows,
            task_completed=_is_success(headline, failures),
            failures=tuple(failures),
        )

    def _row(
        self, turn: Turn, answers: Sequence[JudgedResult | Failure]
    ) -> JudgedResult | UnjudgedResult | None:
        """What was found about an answer. None: it was not judged, so that it may have failed."""
        if not answers:
            return {
                "turn": turn.number,
                "response_id": turn.response_id,
                "judged": False,
                "verdict": Correctness.NOT_APPLICABLE.value,
                "reasoning": self._why_unjudged,
            }
        rows = [each for each in answers if not isinstance(each, Failure)]
        row = _merged(rows)
        is_whole = len(rows) == len(answers)
        return row if row is not None and (is_whole or row["verdict"] in _BAD) else None


def _merged(rows: Sequence[JudgedResult]) -> JudgedResult | None:
    """What several questions found about one answer: the worst verdict, and all that led to it."""
    if not rows:
        return None
    verdict = worst(Correctness(each["verdict"]) for each in rows)
    leading = next(each for each in rows if each["verdict"] == verdict)
    both: JudgedResult = rows[0]
    for each in rows[1:]:
        both = {**both, **each}
    return {
        **both,
        "verdict": leading["verdict"],
        "judge_verdict": leading["judge_verdict"],
        "override": leading["override"],
        "reasoning": "\n\n".join(each["reasoning"] for each in rows),
        "evidence": [quote for each in rows for quote in each["evidence"]],
        "rule_compliance": rules.merged([each["rule_compliance"] for each in rows]),
    }


def _scores(rows: Iterable[JudgedResult | UnjudgedResult]) -> Iterator[Score]:
    """Of the answers that were judged."""
    for row in rows:
        if row["judged"] is True:
            yield Score(
                name="verdict",
                value=row["verdict"],
                turn=row["turn"],
                evidence=row["evidence"],
                reasoning=row["reasoning"],
            )


def _headline(verdicts: Sequence[Correctness], failures: Sequence[Failure]) -> Correctness | None:
    """The worst verdict. A pass needs all: an answer that could not be judged may have failed."""
    found = worst(verdicts)
    is_passed = found in {Correctness.PASS, Correctness.NOT_APPLICABLE}
    return None if failures and is_passed else found


def _is_success(headline: Correctness | None, failures: Sequence[Failure]) -> bool | None:
    if headline in FAILING:
        return False
    return None if headline is None or failures else True


def _calls(plan: EvaluationPlan) -> CallCounts:
    """How many calls at most: which answers have a reference is known only by reading them."""
    app = plan.app
    selected = None if app.meal_summary is None else app.meal_summary.is_in
    if app.knowledge:
        return CallCounts(per_turn=1, for_answer=selected if app.bounds is not None else None)
    return CallCounts(per_turn=1) if selected is None else CallCounts(for_answer=selected)


EVALUATOR = EvaluatorType(
    declaration=DECLARATION,
    make=lambda plan: CorrectnessEvaluator(plan.app, parameters=plan.parameters),
    calls=_calls,
    scope=NAME,
    switch="evaluate_correctness",
    has_votes=True,
    success_rank=2,
)
