"""Text that may be long or hostile, laid out in a fixed way."""

from collections.abc import Mapping

from evalqueue.cli.output.console import print_data

_WIDTH = 100  # characters of a line of text that may be longer


def print_facts(facts: Mapping[str, str | None]) -> None:
    """Print the facts that are not empty, a name and its text on each line."""
    for name, fact in facts.items():
        if fact:
            first, *rest = fact.splitlines() or [""]
            print_data("\n".join([f"{name:<12}{first}", *(f"{'':<12}{each}" for each in rest)]))


def one_line(text: str, width: int = _WIDTH) -> str:
    """The text on one line, cut off at a width."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def block(text: str) -> str:
    """The text as an indented block: its lines can't be mistaken for ours, which are not."""
    return "\n".join(f"      {line}" for line in text.splitlines()) or "      (nothing)"
