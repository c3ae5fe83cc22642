"""Runs as tables and as summaries: what their evaluators found, counted, and the worst first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalqueue.cli.output import console
from evalqueue.cli.output.times import format_duration, format_time
from evalqueue.evaluators.providers.vendors.simulated import SIMULATED

if TYPE_CHECKING:
    from rich.text import Text

SIMULATED_WARNING = "answers are gold labels with noise, not judgements"
SHOWN_WORST = 5
_BAR_WIDTH = 32  # characters
_YES_OR_NO = ("true", "false")
_REASONS = {
    "no_key": "no key set",
    "not_recorded": "no answer in the run that is replayed",
    "not_measured": "the data do not say",
}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The score that stands for an evaluator, as a run's config declares it."""

    evaluator: str
    score: Json

    @property
    def key(self) -> str:
        """As conversations have it."""
        return f"{self.evaluator}.{self.score['name']}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a headline came to."""

    headline: Headline
    missing: int
    """Conversations without a value."""
    counts: Mapping[str, int] | None = None
    """How often each label was found; None: it is a number."""
    mean: float | None = None
    version: str | None = None
    """Of the evaluator, where the run has several."""
    agreement: float | None = None
    """Of the votes on its questions: the share of pairs that are the same. None: there are none."""
    flip_rate: float | None = None
    """The share of questions on which not all votes are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """A conversation with its bad labels, the worst first."""

    thread_id: str
    labels: Sequence[str]


def headlines(run: Json) -> list[Headline]:
    """The score that stands for each evaluator of a run."""
    return [
        Headline(evaluator=evaluator["name"], score=score)
        for evaluator in run["config"].get("evaluators", [])
        for score in evaluator["scores"]
        if score["name"] == evaluator["headline"]
    ]


def summary(
    run: Json,
    evaluated: int,
    tallies: Sequence[Tally],
    worst: Sequence[Worst],
    more: int,
    *,
    coverage: Json,
    failures: Mapping[str, int],
    usage: Json,
) -> Iterator["Text"]:
    """The results of a run, line by line.

    Args:
        run: its JSON, as the API has it.
        evaluated: conversations that have a result.
        tallies: in the order in which they are shown.
        worst: the conversations to look at first.
        more: how many other ones have bad labels, too.
        coverage: by evaluator: how many answers it was to find, and how many it found.
        failures: how often each reason led to no verdict.
        usage: calls and tokens, by the names in a run's summary.
    """
    from rich.text import Text

    yield Text()
    yield Text.assemble(
        (f"{evaluated} of {run['total_items']} conversations evaluated", "bold"),
        f" in {format_duration(run['duration_seconds'] or 0)}, run {run['status']}",
    )
    yield _judge(run["llm_provider"], run["llm_model"])
    if replayed := run["config"].get("params", {}).get("replay"):
        yield Text(f"Replayed: the answers of run {replayed}")
    yield Text()
    for tally in tallies:
        if tally.counts is not None:
            yield from _distribution(tally)
    for tally in tallies:
        if tally.counts is None:
            yield Text(f"{_title(tally):<17} {_mean(tally)}")
    for tally in tallies:
        if tally.agreement is not None:
            yield Text(
                f"Votes             {tally.headline.evaluator}: {percent(tally.agreement)} agree, "
                f"flip rate {percent(tally.flip_rate)}"
            )
    for name, each in coverage.items():
        judged, attempted = each["judged"], each["attempted"]
        rate = judged / attempted if attempted else None
        yield Text(f"Coverage          {name}: {judged} of {attempted} judged ({percent(rate)})")
    gaps = sum(each["attempted"] - each["judged"] for each in coverage.values())
    unknown = max(0, gaps - sum(failures.values()))
    reasons = {**failures, **({"not_measured": unknown} if unknown else {})}
    listed = ", ".join(f"{_REASONS.get(name, name)}: {n}" for name, n in reasons.items())
    yield Text(f"Not judged        {listed or 'nothing'}", "dim" if listed else "")
    yield from calls(usage)
    yield from _to_look_at(worst, more)


def _judge(provider: str | None, model: str | None) -> "Text":
    from rich.text import Text

    if provider == SIMULATED.name:
        return Text(f"Judge: simulated: {SIMULATED_WARNING}", "bold magenta")
    return Text("Judge: none" if provider is None else f"Judge: {provider}, {model}")


def print_summary(lines: Iterable["Text"]) -> None:
    """Print a summary."""
    output = console.rich_console()
    for line in lines:
        output.print(line)


def calls(usage: Json) -> Iterator["Text"]:
    """The LLM calls of a run, counted."""
    from rich.text import Text

    yield Text(
        f"LLM calls         {_number(usage.get('llm_calls'))}, "
        f"{_number(usage.get('failed_llm_calls'))} of them failed"
    )
    yield Text(
        f"Tokens            {_number(usage.get('tokens_in'))} in, "
        f"{_number(usage.get('tokens_out'))} out"
    )
    cost, unpriced = usage.get("cost_usd"), usage.get("unpriced_calls")
    without = f", without {_number(unpriced)} calls of unknown price" if cost and unpriced else ""
    yield Text(f"Cost              {'unknown' if cost is None else f'${cost}'}{without}")


def distribution(
    title: str, styles: Mapping[str, str], counts: Mapping[str, int], missing: int
) -> Iterator["Text"]:
    """How often each label was found, as bars of its style."""
    from rich.text import Text

    yield Text(title, "bold")
    most = max((counts.get(label, 0) for label in styles), default=0) or 1
    for label, style in styles.items():
        count = counts.get(label, 0)
        bar = "█" * max(round(count / most * _BAR_WIDTH), int(count > 0))
        yield Text.assemble(f"  {console.printable(label):<16}", (f"{bar} ", style), str(count))
    if missing:
        yield Text(f"  {'not measured':<16}{missing}", "dim")
    yield Text()


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "not measured" if share is None else f"{share:.1%}"


def print_runs(runs: Sequence[Json]) -> None:
    """Print a table of runs."""
    console.print_table(
        ("id", "status", "name", "app", "data", "created", "results"),
        [
            (
                run["id"], run["status"], run["name"] or "", run["app_id"] or "",
                _data(run), format_time(run["created_at"]), headline_text(run),
            )
            for run in runs
        ],
    )  # fmt: skip


def headline_text(run: Json) -> str:
    """The headline figures of a run that is over, on one line."""
    found: Json = run["summary"] or {}
    if "pass_rate" in found:
        return f"passed {percent(found['pass_rate'])} of {found['judged']} judged tests"
    declared = {each.evaluator: each for each in headlines(run)}
    shown: list[str] = []
    for score in found.get("scores", []):
        headline = declared.get(score["evaluator"])
        if headline is None:
            continue
        if "mean" in score:
            tally = Tally(headline=headline, missing=0, mean=score["mean"])
            shown.append(f"{score['evaluator']} {_mean(tally)}")
        else:
            good = [label for label in labels_of(headline.score) if _is_good(headline.score, label)]
            judged = sum(
                times
                for label, times in score["counts"].items()
                if label not in headline.score["neutral"]
            )
            count = sum(score["counts"].get(label, 0) for label in good)
            shown.append(f"{score['evaluator']} {count} of {judged} good")
    return ", ".join(shown)


def labels_of(score: Json) -> Sequence[str]:
    """The labels that a score can have; none: any, or it is a number."""
    return _YES_OR_NO if score["kind"] == "boolean" else score["labels"]


def print_threads(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> None:
    """Print a table of conversations."""
    console.print_table(("conversation", "messages", *columns, "not judged"), rows)


def shown_value(value: object) -> str:
    """A score's value, as text."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)


def _data(run: Json) -> str:
    dataset: Json = run["config"].get("dataset") or {}
    return str(dataset.get("name") or run["data_path"] or "")


def _distribution(tally: Tally) -> Iterator["Text"]:
    counts = tally.counts or {}
    score = tally.headline.score
    labels = labels_of(score) or sorted(counts, key=lambda label: -counts[label])
    styles = {label: _style(score, label) for label in labels}
    return distribution(_title(tally), styles, counts, tally.missing)


def _title(tally: Tally) -> str:
    title = str(tally.headline.score["title"])
    return title if tally.version is None else f"{title} ({tally.version})"


def _mean(tally: Tally) -> str:
    score, mean = tally.headline.score, tally.mean
    if mean is None:
        return percent(None)
    return percent(mean) if (score["minimum"], score["maximum"]) == (0, 1) else f"{mean:.3g}"


def _is_good(score: Json, label: str) -> bool:
    if score["kind"] == "boolean":
        return score["higher_is_better"] is (label == "true")
    return label in score["good"]


def _style(score: Json, label: str) -> str:
    if score["kind"] == "boolean":
        if score["higher_is_better"] is None:
            return "yellow"
        return "green" if _is_good(score, label) else "red"
    if label in score["bad"]:
        return "bold red" if label == score["bad"][0] else "red"
    if label in score["neutral"]:
        return "dim"
    return "green" if label in score["good"] else "yellow"


def _to_look_at(worst: Sequence[Worst], more: int) -> Iterator["Text"]:
    """The conversations with the worst labels first."""
    from rich.text import Text

    if not worst:
        return
    yield Text()
    yield Text("Look at these first", "bold")
    for each in worst:
        labels = ", ".join(map(console.printable, each.labels))
        yield Text(f"  {console.printable(each.thread_id):<16}{labels}")
    if more > 0:
        yield Text(f"  … and {more} more")


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
