"""Kaira's cards: the text that a person sees, the button, and the message that a tap sends."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from evalqueue.codec import clean_json, clean_text
from evalqueue.evaluators.chatbots.protocol import TEXT_LIMIT, Card

CARD_LIMIT = 20_000  # characters of its JSON: an app can't display more

Json = Mapping[str, Any]

_SENTINELS = re.compile(
    r"___(?:MULTI_FOOD|FOOD|BP|VITALS)_CARD___.*?(?:___END___|\Z)"
    r"|___SESSION_STATE___.*?(?:___END_SS___|\Z)",
    re.DOTALL,
)
_SMALLEST, _LARGEST = 1e-15, 1e15  # of numbers that mean something
_FIGURES = ("kcal", "protein_g", "carbs_g", "fat_g", "fiber_g")
_TABLE = (
    "| Food | Quantity | Calories (kcal) | Protein (g) | Carbs (g) | Fat (g) | Fiber (g) |",
    "|---|---|---|---|---|---|---|",
)


def without_sentinels(text: str) -> str:
    """The text that a person reads, without the cards and state that are for the app only."""
    return _SENTINELS.sub("", text).strip()


def read_card(kind: str, data: Any) -> Card | None:
    """A card of a known kind. None: its kind is unknown, it has nothing to confirm, or it is too
    large to be stored."""
    if not isinstance(data, dict) or not _has_sane_numbers(data):
        return None
    fields = cast("dict[str, Any]", clean_json(data))
    if len(_json(fields)) > CARD_LIMIT:
        return None
    if kind == "food_card" and fields.get("isBatch") is True:
        kind = "food_card_batch"
    widget = _WIDGETS.get(kind)
    if widget is None or not widget.is_complete(fields):
        return None
    shown = "\n".join([*widget.lines(fields), "", f"[{widget.label}]"])
    return Card(
        kind=kind,
        data=fields,
        shown=clean_text(shown, limit=TEXT_LIMIT),
        label=widget.label,
        confirmation=widget.confirmation(fields),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Widget:
    """A kind of card."""

    label: str
    confirmation: Callable[[Json], str]
    lines: Callable[[Json], Iterator[str]]
    is_complete: Callable[[Json], bool] = bool


def _meal(data: Json) -> Iterator[str]:
    items = _objects(data.get("items"))
    label = next((_cell(item["meal"]) for item in items if item.get("meal")), "")
    yield f"**Meal summary: {label}**" if label else "**Meal summary**"
    yield ""
    yield from _TABLE
    for item in items:
        figures = (_cell(item.get(name)) for name in _FIGURES)
        yield f"| {_name(item)} | {_cell(item.get('qty'))} | {' | '.join(figures)} |"
    yield ""
    yield f"Consumed at: {_cell(data.get('consumed_label') or data.get('consumed_at'))}"


def _meals(data: Json) -> Iterator[str]:
    for number, session in enumerate(_objects(data.get("sessions"))):
        if number:
            yield ""
        yield from _meal(session)


def _readings(data: Json) -> Iterator[str]:
    for name, value in data.items():
        yield f"- {_cell(name)}: {_cell(value)}"


def _log(meals: list[Any]) -> str:
    return f"update_meal & log_meal - {_json(meals)}"


def _name(item: Json) -> str:
    ingredients = item.get("ingredients")
    if not isinstance(ingredients, list) or not ingredients:
        return _cell(item.get("name"))
    listed = ", ".join(_cell(each) for each in cast("list[Any]", ingredients))
    return f"{_cell(item.get('name'))} (with {listed})"


def _cell(value: Any) -> str:
    match value:
        case None | "":
            return "–"
        case str():
            text = value
        case bool() | dict() | list():
            text = _json(value)
        case float():
            text = f"{value:g}"
        case _:
            text = str(value)
    return " ".join(text.replace("|", "/").split())


def _json(value: Any) -> str:
    """JSON as the app writes it: scripts other than Latin are not escaped."""
    return json.dumps(value, ensure_ascii=False)


def _has_sane_numbers(value: Any) -> bool:
    """Postgres stores numbers digit by digit: 1e300 has 301 of them."""
    match value:
        case dict():
            return all(map(_has_sane_numbers, cast("dict[str, Any]", value).values()))
        case list():
            return all(map(_has_sane_numbers, cast("list[Any]", value)))
        case int() | float():
            return value == 0 or _SMALLEST <= abs(value) < _LARGEST
        case _:
            return True


def _objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list. Any other value has none."""
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", each) for each in found if isinstance(each, dict)]


_WIDGETS = {
    "food_card": _Widget(
        label="Yes log this meal",
        confirmation=lambda data: _log([data]),
        lines=_meal,
        is_complete=lambda data: bool(_objects(data.get("items"))),
    ),
    "food_card_batch": _Widget(
        label="Yes log all meals",
        confirmation=lambda data: _log(_objects(data.get("sessions"))),
        lines=_meals,
        is_complete=lambda data: bool(_objects(data.get("sessions"))),
    ),
    "bp_card": _Widget(
        label="Yes log this BP reading",
        confirmation=lambda _data: "yes log this bp reading",
        lines=_readings,
    ),
    "vitals_card": _Widget(
        label="Yes, save these",
        confirmation=lambda _data: "yes, save these",
        lines=_readings,
    ),
}
