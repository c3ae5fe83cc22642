"""The batch demo: the bundled conversations, evaluated, and the results as lines of text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalqueue.cli.demo.api import ApiClient
from evalqueue.cli.demo.judge import JudgeChoice
from evalqueue.cli.demo.next_steps import curl_command
from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.output import runs as output
from evalqueue.cli.output.runs import SHOWN_WORST, Headline, Tally, Worst

if TYPE_CHECKING:
    from rich.text import Text


def findings(
    run: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]], judge: JudgeChoice
) -> Iterator["Text"]:
    """The results of a run, line by line, from its JSON and that of its conversations."""
    found: Mapping[str, Any] = run["summary"] or {}
    headlines = output.headlines(run)
    worst = _alarming(headlines, outcomes)
    return output.summary(
        {"llm_provider": judge.provider, "llm_model": judge.model, **run},
        len(outcomes),
        [_tally(each, outcomes) for each in headlines],
        worst[:SHOWN_WORST],
        len(worst) - SHOWN_WORST,
        coverage=found.get("coverage", {}),
        failures=found.get("failures", {}),
        usage=found,
    )


def _tally(headline: Headline, outcomes: Sequence[Mapping[str, Any]]) -> Tally:
    values = [each["scores"].get(headline.key) for each in outcomes]
    known = [each for each in values if each is not None]
    missing = len(values) - len(known)
    if headline.score["kind"] == "number":
        mean = sum(known) / len(known) if known else None
        return Tally(headline=headline, missing=missing, mean=mean)
    counts = Counter(str(each).lower() if isinstance(each, bool) else each for each in known)
    return Tally(headline=headline, missing=missing, counts=counts)


def _alarming(headlines: Sequence[Headline], outcomes: Sequence[Mapping[str, Any]]) -> list[Worst]:
    """The conversations with the worst labels first."""
    alarming: list[tuple[int, str, list[str]]] = []
    for outcome in outcomes:
        found = sorted(
            (each.score["bad"].index(label), place, label)
            for place, each in enumerate(headlines)
            if (label := outcome["scores"].get(each.key)) in each.score["bad"]
        )
        if found:
            alarming.append((found[0][0], outcome["thread_id"], [label for *_, label in found]))
    alarming.sort(key=lambda each: each[:2])
    return [Worst(thread_id=thread_id, labels=labels) for _, thread_id, labels in alarming]


async def _print_results(api: ApiClient, run: Mapping[str, Any], judge: JudgeChoice) -> None:
    page = await api.get(f"/api/eval-runs/{run['id']}/outcomes")
    output.print_summary(findings(run, page["outcomes"], judge))


BATCH = DemoScenario(
    introduction=(
        "Evaluating the bundled conversations with a simulated nutrition chatbot, Kaira.",
    ),
    job_type="evaluate-batch",
    params={"data_path": "kaira-conversations.csv", "app_id": "kaira-bot", "concurrency": 16},
    print_results=_print_results,
    next_steps=lambda evalqueue, api: [f"{evalqueue} up", curl_command(api), f"{evalqueue} status"],
)
"""The bundled conversations, evaluated."""
