"""The batch demo: the bundled conversations, evaluated, and the results as lines of text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalqueue.cli.demo.api import ApiClient
from evalqueue.cli.demo.judge import SIMULATED_WARNING, JudgeChoice
from evalqueue.cli.demo.next_steps import curl_command
from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.output import console
from evalqueue.cli.output.times import format_duration

if TYPE_CHECKING:
    from rich.text import Text

_BAR_WIDTH = 32  # characters
_SHOWN_THREADS = 5


def findings(
    run: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]], judge: JudgeChoice
) -> Iterator["Text"]:
    """The results of a run, line by line, from its JSON and that of its conversations."""
    from rich.text import Text

    summary: Mapping[str, Any] = run["summary"] or {}
    yield Text()
    yield Text.assemble(
        (f"{len(outcomes)} of {run['total_items']} conversations evaluated", "bold"),
        f" in {format_duration(run['duration_seconds'] or 0)}, run {run['status']}",
    )
    if judge.is_simulated:
        yield Text(f"Judge: {SIMULATED_WARNING}", "bold magenta")
    else:
        yield Text(f"Judge: {run['llm_provider']}, {run['llm_model']}")
    yield Text()
    headlines = _headlines(run)
    for evaluator, score in headlines:
        if score["labels"]:
            found = [each["scores"].get(f"{evaluator}.{score['name']}") for each in outcomes]
            styles = {label: _style(score, label) for label in score["labels"]}
            yield from distribution(score["title"], styles, found)
    for evaluator, score in headlines:
        if score["kind"] == "number":
            found = [each["scores"].get(f"{evaluator}.{score['name']}") for each in outcomes]
            yield Text(f"{score['title']:<17} {_mean(score, found)}")
    for name, coverage in summary.get("coverage", {}).items():
        judged, attempted = coverage["judged"], coverage["attempted"]
        yield Text(
            f"Coverage          {name}: {judged} of {attempted} judged "
            f"({percent(coverage.get('rate'))})"
        )
    failures: Mapping[str, int] = summary.get("failures", {})
    listed = ", ".join(f"{reason}: {times}" for reason, times in failures.items())
    yield Text(f"Not judged        {listed or 'nothing'}")
    yield from calls(summary)
    yield from _alarming(headlines, outcomes)


def _headlines(run: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The score that stands for each evaluator of a run, as its config declares it."""
    return [
        (evaluator["name"], score)
        for evaluator in run["config"].get("evaluators", [])
        for score in evaluator["scores"]
        if score["name"] == evaluator["headline"]
    ]


def _mean(score: Mapping[str, Any], found: Iterable[float | None]) -> str:
    values = [each for each in found if each is not None]
    if not values:
        return percent(None)
    mean = sum(values) / len(values)
    return percent(mean) if (score["minimum"], score["maximum"]) == (0, 1) else f"{mean:.3g}"


def calls(summary: Mapping[str, Any]) -> Iterator["Text"]:
    """The LLM calls of a run, counted."""
    from rich.text import Text

    yield Text(
        f"LLM calls         {_number(summary.get('llm_calls'))}, "
        f"{_number(summary.get('failed_llm_calls'))} of them failed and were retried"
    )
    yield Text(
        f"Tokens            {_number(summary.get('tokens_in'))} in, "
        f"{_number(summary.get('tokens_out'))} out"
    )


def distribution(
    title: str, styles: Mapping[str, str], found: Sequence[str | None]
) -> Iterator["Text"]:
    """How often each label was found, as bars of its style."""
    from rich.text import Text

    yield Text(title, "bold")
    counts = {label: found.count(label) for label in styles}
    most = max(counts.values(), default=0) or 1
    for label, count in counts.items():
        bar = "█" * max(round(count / most * _BAR_WIDTH), int(count > 0))
        yield Text.assemble(f"  {label:<16}", (f"{bar} ", styles[label]), str(count))
    if missing := found.count(None):
        yield Text(f"  {'not measured':<16}{missing}")
    yield Text()


def _style(score: Mapping[str, Any], label: str) -> str:
    if label in score["bad"]:
        return "bold red" if label == score["bad"][0] else "red"
    if label in score["neutral"]:
        return "dim"
    return "green" if label in score["good"] else "yellow"


def _alarming(
    headlines: Sequence[tuple[str, Mapping[str, Any]]], outcomes: Sequence[Mapping[str, Any]]
) -> Iterator["Text"]:
    """The conversations with the worst labels first."""
    from rich.text import Text

    alarming: list[tuple[int, str, list[str]]] = []
    for outcome in outcomes:
        found = sorted(
            (score["bad"].index(label), place, label)
            for place, (evaluator, score) in enumerate(headlines)
            if (label := outcome["scores"].get(f"{evaluator}.{score['name']}")) in score["bad"]
        )
        if found:
            alarming.append((found[0][0], outcome["thread_id"], [label for *_, label in found]))
    alarming.sort(key=lambda each: each[:2])
    if not alarming:
        return
    yield Text()
    yield Text("Look at these first", "bold")
    for _, thread_id, labels in alarming[:_SHOWN_THREADS]:
        yield Text(f"  {console.printable(thread_id):<16}{', '.join(labels)}")
    if (more := len(alarming) - _SHOWN_THREADS) > 0:
        yield Text(f"  … and {more} more")


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "not measured" if share is None else f"{share:.1%}"


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


async def _print_results(api: ApiClient, run: Mapping[str, Any], judge: JudgeChoice) -> None:
    page = await api.get(f"/api/eval-runs/{run['id']}/outcomes")
    output = console.rich_console()
    for line in findings(run, page["outcomes"], judge):
        output.print(line)


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
