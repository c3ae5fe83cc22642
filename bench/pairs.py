"""What judges of two answers come to on public data, computed as a run's figures are.

    ./run bench pairs llmbar FILE.jsonl
    ./run bench pairs pandalm FILE.jsonl

LLMBar (Zeng et al. 2024, arXiv:2310.07641) has the outputs of six judges in both orders; PandaLM
(Wang et al. 2024, arXiv:2306.05087) has three people's choices, and one judge's. The records are
read as datasets are; a recorded output goes through the parser, the evaluator, the rules of votes,
and the statistics. No LLM is called. Those judges were asked for a bare label, so each output
stands as the verdict of an answer.
"""

import io
import json
import sys
from asyncio import run
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from evalqueue.evaluators import apps
from evalqueue.evaluators.batch.distributions import LabelShare, shares
from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.definitions.definition import (
    Choice,
    EvaluatorDefinition,
    JudgedUnit,
    Output,
    OutputKind,
    OutputLabel,
)
from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.whole_file import grouped
from evalqueue.evaluators.judging.defined.evaluator import DefinedEvaluator
from evalqueue.evaluators.judging.defined.pairs import pair_of
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import Judge
from evalqueue.evaluators.judging.voting.counting import Ballot, Vote
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest
from evalqueue.evaluators.providers.recorder import CallSite
from evalqueue.evaluators.statistics.agreement import Ratings, cohens_kappa, with_interval

APP = apps.load("retail-support")  # an evaluator needs one
LLMBAR = {"Output (a)": "first", "Output (b)": "second"}
PANDALM = {"1": "first", "2": "second", "Tie": "tie"}
PEOPLE = {0: Choice.TIE, 1: Choice.FIRST, 2: Choice.SECOND}
PANEL = 3


def evaluator(*labels: str) -> DefinedEvaluator:
    output = Output(
        kind=OutputKind.CATEGORY, labels=tuple(OutputLabel(name=each) for each in labels)
    )
    prompt = "Which answer follows the instruction better?"
    definition = EvaluatorDefinition(
        name="preference", prompt=prompt, scope=JudgedUnit.PAIR, output=output
    )
    return DefinedEvaluator(definition, APP)


class Recorded:
    """Answers questions with recorded outputs, by the text of the question."""

    def __init__(self, outputs: Mapping[str, str | None]) -> None:
        self._outputs = outputs

    async def call(
        self, request: CompletionRequest, site: CallSite, method: str = "generate_json"
    ) -> Completion:
        if method != "generate_json":
            raise ProviderError(CallOutcome.SCHEMA_INVALID, "Nothing else is recorded")
        answer = {
            "evidence": list[str](),
            "reasoning": "",
            "verdict": self._outputs[request.prompt],
        }
        return Completion(text=json.dumps(answer), model="recorded", latency_ms=0)

    def note_read(self, request: CompletionRequest) -> None:
        """Nothing depends on it."""

    def note_unread(
        self, request: CompletionRequest, site: CallSite, answer: str, fault: str
    ) -> None:
        """An output that is no answer stays one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A pair's verdicts of one judge. None: its output is no answer."""

    recorded: str | None
    exchanged: str | None
    """Where the answers change places, as a choice of the recorded order."""
    verdict: str | None = None
    consistent: bool | None = None


async def judged(asks: DefinedEvaluator, thread: Thread, outputs: Sequence[str | None]) -> Judged:
    """What the evaluator makes of the outputs in both orders."""
    pair = pair_of(thread)
    assert pair is not None
    questions = asks.questions_of_pair(thread, pair)
    texts = {each.text.prompt: text for each, text in zip(questions, outputs, strict=True)}
    judge = Judge(Recorded(texts))
    one, other = [await judge.answer(each) for each in questions]
    found = await asks.evaluate(thread, judge)
    values = {each.name: each.value for each in found.scores}
    exchanged = {"first": "second", "second": "first", "tie": "tie"}
    return Judged(
        recorded=None if isinstance(one, Failure) else str(one.verdict),
        exchanged=None if isinstance(other, Failure) else exchanged[str(other.verdict)],
        verdict=None if not values else str(values["verdict"]),
        consistent=None if not values else bool(values["consistent"]),
    )


def read(path: str) -> Iterator[tuple[dict[str, Any], Thread]]:
    """The records of a file, each with its conversation."""
    content = Path(path).read_bytes()
    faults = Faults(path)
    messages = list(JSONL.messages(io.BytesIO(content), faults))
    faults.raise_if_any()
    return zip(map(json.loads, content.splitlines()), grouped(messages), strict=True)


def share(label: object, found: Iterable[object]) -> LabelShare:
    """The share of a label, as a run's figures have it."""
    times = Counter(str(each) for each in found)
    (one,) = shares([str(label)], [({name: 1}, count) for name, count in times.items()])
    return one


def shown(found: LabelShare) -> str:
    assert found.share is not None
    return f"{found.share:.3f} [{found.low:.3f}, {found.high:.3f}]"


async def llmbar(path: str) -> None:
    """Print what each judge comes to, and the best majority of three."""
    asks = evaluator(Choice.FIRST, Choice.SECOND)
    wanted: list[str] = []
    found: dict[str, list[Judged]] = {}
    for record, thread in read(path):
        wanted.append(PEOPLE[record["label"]])
        for name, orders in record["judges"].items():
            texts = (orders[each]["completion"][0] for each in ("as_is", "swapped"))
            one, other = (LLMBAR.get(text, text) for text in texts)
            found.setdefault(name, []).append(await judged(asks, thread, (one, other)))
    print(f"{len(wanted)} pairs; shares with 95 % intervals")
    for name, pairs in found.items():
        right = [
            share(True, (each == label for each, label in zip(choices, wanted, strict=True)))
            for choices in ([p.recorded for p in pairs], [p.exchanged for p in pairs])
        ]
        measured = [each for each in pairs if each.verdict is not None]
        wins = ", ".join(
            f"{label} {share(label, (each.verdict for each in measured)).share:.3f}"
            for label in Choice
        )
        print(
            f"{name:13} right {shown(right[0])}, exchanged {shown(right[1])}; inconsistent "
            f"{shown(share(False, (each.consistent for each in measured)))} of {len(measured)}; "
            f"{wins}"
        )
    panels = {names: majority(found, names, wanted) for names in combinations(found, PANEL)}
    best = max(panels, key=lambda names: panels[names].share or 0)
    print(f"best majority of {PANEL}, both orders: {shown(panels[best])} ({', '.join(best)})")


def majority(
    found: Mapping[str, Sequence[Judged]], names: Sequence[str], wanted: Sequence[str]
) -> LabelShare:
    """How often the majority of the votes that some judges cast in both orders is right."""
    decisions: list[object] = []
    for row in zip(*(found[name] for name in names), strict=True):
        votes = [vote for each in row for vote in (each.recorded, each.exchanged)]
        decisions.append(decision(votes))
    return share(True, (one == label for one, label in zip(decisions, wanted, strict=True)))


def decision(votes: Iterable[str | None]) -> object:
    """What a majority decides; None: nothing."""
    return Ballot(votes=tuple(Vote(value=each) for each in votes)).decision


async def pandalm(path: str) -> None:
    """Print how far people agree with each other, and the judge with their majority."""
    asks = evaluator(*Choice)
    people: list[tuple[str, ...]] = []
    choices: list[str | None] = []
    for record, thread in read(path):
        people.append(tuple(PEOPLE[each] for each in record["annotators"]))
        text = PANDALM.get(record["gpt_3_5"], record["gpt_3_5"])
        choices.append((await judged(asks, thread, (text, text))).recorded)
    for one, other in combinations(range(len(people[0])), 2):
        rated: Counter[Ratings] = Counter((row[one], row[other]) for row in people)
        found = with_interval(rated, cohens_kappa)
        assert found is not None
        print(f"people {one + 1} and {other + 1}: κ {found.value:.3f} "
              f"[{found.low:.3f}, {found.high:.3f}], {found.items} pairs")  # fmt: skip
    decided = [decision(row) for row in people]
    pairs: Counter[Ratings] = Counter(
        (str(label), choice)
        for label, choice in zip(decided, choices, strict=True)
        if label is not None and choice is not None
    )
    print(f"judge: {choices.count(None)} outputs without an answer, "
          f"{len(choices) - choices.count(None)} with one")  # fmt: skip
    found = with_interval(pairs, cohens_kappa)
    assert found is not None
    right = share(True, (label == choice for (label, choice) in pairs.elements()))
    print(f"judge and majority: κ {found.value:.3f} [{found.low:.3f}, {found.high:.3f}], "
          f"the same {shown(right)}, {found.items} pairs")  # fmt: skip


def main() -> None:
    kinds = {"llmbar": llmbar, "pandalm": pandalm}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    run(kinds[sys.argv[1]](sys.argv[2]))


if __name__ == "__main__":
    main()
