"""How often the 95 % interval of a rate contains the rate that people would have found.

    ./run bench coverage [FILE.jsonl JUDGE_FIELD LABEL_FIELD GOOD [GROUP_FIELD]]

Without a file, verdicts and labels are simulated. A file has one JSON object a line, with the
judge's verdict and people's label of an answer; GOOD is the value that is counted. XSTest's, for
example: `xstest.jsonl gpt4_label final_label 1_full_compliance bot`.
"""

import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from evalqueue.evaluators.statistics import prediction_powered
from evalqueue.evaluators.statistics.intervals import wilson
from evalqueue.evaluators.statistics.prediction_powered import JudgedAndLabelled, corrected_share

SIMULATIONS = 1000
CONVERSATIONS = 400
SIMULATED = [  # the share of good ones, sensitivity, specificity
    (0.5, 0.9, 0.9), (0.95, 0.98, 0.8), (0.98, 0.99, 0.7), (0.99, 0.99, 0.9), (0.02, 0.7, 0.99),
]  # fmt: skip

Pair = tuple[bool, bool]
"""Good by the judge, good by the label."""
Interval = tuple[float, float]
Population = Callable[[random.Random], Sequence[Pair]]
Method = Callable[[JudgedAndLabelled, int, int], Interval]


def judge_alone(labelled: JudgedAndLabelled, good: int, rest: int) -> Interval:
    size = labelled.size + rest
    return wilson((labelled.both_good + labelled.only_judge_good + good) / size, size)


def labels_alone(labelled: JudgedAndLabelled, good: int, rest: int) -> Interval:
    return wilson((labelled.both_good + labelled.only_label_good) / labelled.size, labelled.size)


def ppi(
    labelled: JudgedAndLabelled, good: int, rest: int, added: float = prediction_powered.ADDED
) -> Interval:
    found = corrected_share(labelled, good=good, rest=rest, added=added)
    assert found is not None
    return found.low, found.high


def plain_ppi(labelled: JudgedAndLabelled, good: int, rest: int) -> Interval:
    """Without the half conversations that are added."""
    return ppi(labelled, good, rest, added=0)


METHODS: dict[str, Method] = {
    "judge alone": judge_alone,
    "labels alone": labels_alone,
    "PPI++": plain_ppi,
    "PPI++ as here": ppi,
}


def simulated(good: float, se: float, sp: float, draw: random.Random) -> list[Pair]:
    found: list[Pair] = []
    for _ in range(CONVERSATIONS):
        is_good = draw.random() < good
        found.append((is_good is (draw.random() < (se if is_good else sp)), is_good))
    return found


def measure(name: str, population: Population, truth: float, labels: int) -> None:
    """Print the coverage and the mean width of each method."""
    draw = random.Random(labels)  # noqa: S311  a simulation, the same each time
    covered, width = Counter[str](), defaultdict[str, float](float)
    for _ in range(SIMULATIONS):
        pairs = list(population(draw))
        draw.shuffle(pairs)
        cells = Counter(pairs[:labels])
        labelled = JudgedAndLabelled(
            both_good=cells[True, True], only_judge_good=cells[True, False],
            only_label_good=cells[False, True], neither_good=cells[False, False],
        )  # fmt: skip
        rest = pairs[labels:]
        for method, interval in METHODS.items():
            low, high = interval(labelled, sum(judged for judged, _ in rest), len(rest))
            covered[method] += low <= truth <= high
            width[method] += high - low
    shown = "  ".join(
        f"{method} {covered[method] / SIMULATIONS:6.1%} {width[method] / SIMULATIONS:.3f}"
        for method in METHODS
    )
    print(f"{name:34} {labels:3} labels  {shown}")


def populations() -> Iterator[tuple[str, Population, float]]:
    """Name, conversations, and the rate that people would have found."""
    if len(sys.argv) == 1:
        for good, se, sp in SIMULATED:
            yield f"{good:.0%} good, Se {se}, Sp {sp}", partial(simulated, good, se, sp), good
        return
    path, judge, label, good_value, *group = sys.argv[1:]
    groups = defaultdict[str, list[Pair]](list)
    for line in Path(path).read_text("utf-8").splitlines():
        row = json.loads(line)
        name = str(row[group[0]]) if group else "all"
        groups[name].append((row[judge] == good_value, row[label] == good_value))
    for name, found in groups.items():
        truth = sum(good for _, good in found) / len(found)
        yield f"{name} (people {truth:.1%})", partial(_same, found), truth


def _same(pairs: Sequence[Pair], _draw: random.Random) -> Sequence[Pair]:
    return pairs


def main() -> None:
    for name, population, truth in populations():
        for labels in (30, 50, 100):
            measure(name, population, truth, labels)


if __name__ == "__main__":
    main()
