"""The evaluators in an app's document."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from evalqueue.errors import Problem
from evalqueue.evaluators.definitions import catalogue, validation
from evalqueue.evaluators.definitions.definition import (
    CatalogueUse,
    EvaluatorDefinition,
    EvaluatorEntry,
)

MOST = 50
"""Of an app: each is a call for each conversation, or for each turn."""


def definitions(
    entries: Sequence[EvaluatorEntry], scopes: Iterable[str]
) -> tuple[EvaluatorDefinition, ...]:
    """The evaluators of an app: its entries, then those of the catalogue that scopes name."""
    found = {each.name: each for each in map(_definition, entries)}
    for scope in scopes:
        if scope not in found and scope in catalogue.names():
            found[scope] = catalogue.load(scope)
    return tuple(found.values())


def name_of(entry: EvaluatorEntry) -> str:
    """The name that an entry gives to its evaluator."""
    return entry.name or entry.use if isinstance(entry, CatalogueUse) else entry.name


def mistakes(entries: Sequence[EvaluatorEntry], taken: Collection[str]) -> Iterator[Problem]:
    """The mistakes in an app's evaluators.

    Args:
        entries: the evaluators.
        taken: names that none of them can have.
    """
    if len(entries) > MOST:
        yield _mistake(f"there are {len(entries)}: {MOST} are allowed")
        return
    times = Counter(map(name_of, entries))
    for number, entry in enumerate(entries):
        name = name_of(entry)
        if isinstance(entry, CatalogueUse) and entry.use not in catalogue.names():
            listed = ", ".join(catalogue.names())
            yield _mistake(f"the catalogue has no {entry.use!r}. It has {listed}", number, "use")
            continue
        if name in taken:
            yield _mistake(f"{name!r} is the name of another evaluator: rename it", number, "name")
        if times[name] > 1:
            yield _mistake(f"{name!r} is there twice: give each a name of its own", number, "name")
        for each in validation.mistakes(_definition(entry)):
            yield each.within("evaluators", number)


def _definition(entry: EvaluatorEntry) -> EvaluatorDefinition:
    if isinstance(entry, CatalogueUse):
        return entry.changed(catalogue.load(entry.use))
    return entry


def _mistake(msg: str, *path: str | int) -> Problem:
    return Problem(loc=("evaluators", *path), msg=msg)
