"""A third-party package with an evaluator, laid out as pip installs it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

MODULE = '''
"""How politely a bot answers: a code evaluator, with a judge for the conversation."""

from evalqueue.evaluators.judging.evaluator import Evaluation
from evalqueue.evaluators.judging.plan import CallCounts, EvaluatorType
from evalqueue.evaluators.judging.scores import (
    EvaluatorDeclaration, Score, ScoreDeclaration, ScoreKind,
)

DECLARATION = EvaluatorDeclaration(
    name="politeness",
    title="Politeness",
    question="Does the bot answer politely?",
    calls="No call.",
    scores=(
        ScoreDeclaration(
            name="manner", title="Politeness", kind=ScoreKind.CATEGORY,
            labels=("POLITE", "CURT", "RUDE"), good=("POLITE",), bad=("RUDE",),
        ),
        ScoreDeclaration(
            name="has_question", title="Answers that ask back", kind=ScoreKind.BOOLEAN,
            per_turn=True, higher_is_better=True,
        ),
        ScoreDeclaration(
            name="words", title="Words of an answer", kind=ScoreKind.NUMBER, minimum=0,
        ),
    ),
    headline="manner",
    details_key="politeness_evaluation",
)


class Politeness:
    declaration = DECLARATION
    version = "politeness/1"

    async def evaluate(self, thread, judge):
        answers = [turn.bot_text for turn in thread.turns]
        words = sum(len(each.split()) for each in answers) / len(answers)
        manner = "POLITE" if words > 20 else "CURT" if words > 5 else "RUDE"
        return Evaluation(
            declaration=DECLARATION,
            version=self.version,
            scores=(
                Score(name="manner", value=manner, reasoning=f"{words:.1f} words in an answer"),
                Score(name="words", value=words),
                *(
                    Score(name="has_question", value="?" in turn.bot_text, turn=turn.number)
                    for turn in thread.turns
                ),
            ),
            details={"manner": manner, "words": words},
        )


EVALUATOR = EvaluatorType(declaration=DECLARATION, make=lambda plan: Politeness())
'''


def install(folder: Path) -> Path:
    """Put the package into a folder, which must then be on PYTHONPATH."""
    about = folder / "polite_bots-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "polite_bots.py").write_text(MODULE, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: polite-bots\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[evalqueue.evaluators]\npoliteness = polite_bots:EVALUATOR\n"
    )
    return folder


@contextmanager
def program(
    ready: str, *arguments: str, environment: Mapping[str, str], folder: Path
) -> Generator[str]:
    """Run `evalqueue` in a new interpreter; yields the group that `ready` matched."""
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("evalqueue")), *arguments],
        env=os.environ | dict(environment), cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(ready, line):
                break
        else:
            raise AssertionError(f"ended before it was ready: {''.join(lines)}")
        reading = threading.Thread(target=process.stdout.read, daemon=True)
        reading.start()
        yield found[1] if found.re.groups else ""
        process.terminate()
        reading.join(timeout=60)
    finally:
        process.kill()
        process.wait(timeout=60)
        process.stdout.close()
