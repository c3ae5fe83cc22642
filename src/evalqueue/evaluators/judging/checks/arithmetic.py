"""What a program can check by itself in an answer with figures: sums, energy from macros, bounds.

Language models add badly, so their opinion on a sum is not trusted alone: the bot's pipe tables are
read, and the result stands beside the judge's opinion. It never replaces it. What can't be read
is None, not right and not wrong.

Energy from macronutrients uses the general Atwater factors, 4 kcal per gram of protein and of
carbohydrate, 9 of fat (Merrill & Watt, Energy Value of Foods, USDA Agriculture Handbook 74, 1973).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalqueue.evaluators.apps import Bounds

KCAL_PER_GRAM: Mapping[str, float] = {"protein": 4.0, "carbs": 4.0, "fat": 9.0}

_NUTRIENTS: Mapping[str, re.Pattern[str]] = {
    "kcal": re.compile(r"\b(k?cal|calor|energy)"),
    "protein": re.compile(r"\bprotein"),
    "carbs": re.compile(r"\bcarb"),
    "fat": re.compile(r"^(?!.*(saturated|trans|body)).*\bfats?\b"),
}
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_RANGE = re.compile(r"\d\s*(?:-|–|—|to)\s*\d")
_KILOJOULES = re.compile(r"\bkj\b|kilojoule", re.IGNORECASE)
_SEPARATOR = re.compile(r"^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$")
_STATED_TOTAL = re.compile(r"total (?:calories|energy)\W{0,6}([\d,.]+)\s*k?cal", re.IGNORECASE)
_TOTAL = re.compile(r"^\W*(?:grand |meal )?total\b", re.IGNORECASE)
_BEGINS_A_MEAL = re.compile(r"\b(summary|total)\b", re.IGNORECASE)

Amounts = Mapping[str, float]
"""Energy in kcal under `kcal`, macronutrients in grams under their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A markdown pipe table, with the last line of text before it."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meal:
    """The figures of one meal as they are stated."""

    items: tuple[tuple[str, float], ...] = ()
    """Name and kcal of each row that is not the total."""
    total: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class MealCheck:
    """One meal's figures, computed."""

    items_sum_kcal: float | None
    stated_total_kcal: float | None
    macro_kcal: float | None
    items_add_up: bool | None
    macros_agree: bool | None

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """What was computed from one answer."""

    meals: tuple[MealCheck, ...]
    consistent: bool | None
    """None: there was nothing to compare."""
    always_wrong: bool
    """A figure that no meal can have."""
    remarks: tuple[str, ...]
    """What is wrong, or seldom, in words."""

    def as_json(self) -> dict[str, object]:
        return {
            "meals": [each.as_json() for each in self.meals],
            "consistent": self.consistent,
            "always_wrong": self.always_wrong,
            "remarks": self.remarks,
        }


def check(bot_text: str, bounds: Bounds) -> Arithmetic | None:
    """Compute what can be computed from an answer; None if it states no meal in a table."""
    meals = list(_meals(bot_text))
    if not meals:
        return None
    checks = tuple(_check(meal, bounds) for meal in meals)
    known = [
        fine
        for each in checks
        for fine in (each.items_add_up, each.macros_agree)
        if fine is not None
    ]
    figures = [kcal for meal in meals for kcal in _figures(meal)]
    return Arithmetic(
        meals=checks,
        consistent=all(known) if known else None,
        always_wrong=any(kcal >= bounds.kcal_always_wrong_from for kcal in figures),
        remarks=tuple(_remarks(meals, checks, bounds)),
    )


def tables(text: str) -> Iterator[Table]:
    """The pipe tables of a text, in their order."""
    heading, lines = "", text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position].strip()
        if "|" in line and position + 1 < len(lines) and _is_separator(lines[position + 1]):
            end = position + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            rows = tuple(_cells(row) for row in lines[position + 2 : end])
            yield Table(heading=heading, header=_cells(line), rows=rows)
            position = end
            continue
        heading = line or heading
        position += 1


def _is_separator(line: str) -> bool:
    return "|" in line and _SEPARATOR.match(line.strip()) is not None


def _cells(line: str) -> tuple[str, ...]:
    line = line.strip().removeprefix("|")
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return tuple(re.sub(r"[*_`]", "", cell).strip() for cell in re.split(r"(?<!\\)\|", line))


def _meals(text: str) -> Iterator[Meal]:
    """The meals of an answer: a table of foods, or a table of nutrients that begins a meal.

    A table of nutrients under another heading is the detail of one food, and is left out.
    """
    found: list[Meal] = []
    for table in tables(text):
        if columns := _columns(table.header):
            found.append(_meal_of_foods(table, columns))
        elif (amounts := _amounts_by_row(table)) and (
            not found or _BEGINS_A_MEAL.search(table.heading)
        ):
            found.append(Meal(total=amounts))
    stated = _STATED_TOTAL.search(text)
    if len(found) == 1 and "kcal" not in found[0].total and stated:
        kcal = _number(stated[1])
        if kcal is not None:
            found = [replace(found[0], total={**found[0].total, "kcal": kcal})]
    yield from found


def _columns(header: Sequence[str]) -> Mapping[str, int]:
    """Which column holds which nutrient; empty unless one holds the energy."""
    columns = {
        name: position
        for name, pattern in _NUTRIENTS.items()
        for position, cell in reversed(list(enumerate(header)))
        if position and pattern.search(cell.lower()) and not _KILOJOULES.search(cell)
    }
    return columns if "kcal" in columns else {}


def _meal_of_foods(table: Table, columns: Mapping[str, int]) -> Meal:
    items: list[tuple[str, Amounts]] = []
    total: Amounts = {}
    for row in table.rows:
        amounts = {
            name: number
            for name, position in columns.items()
            if position < len(row) and (number := _number(row[position])) is not None
        }
        if _TOTAL.search(row[0]):
            total = amounts
        else:
            items.append((row[0], amounts))
    if not total and len(items) == 1:
        total = items[0][1]
    return Meal(items=_energies(items), total=total)


def _energies(items: Iterable[tuple[str, Amounts]]) -> tuple[tuple[str, float], ...]:
    """The items' energy, or nothing if one of them has none: a sum of some is no sum."""
    items = list(items)
    known = tuple((name, amounts["kcal"]) for name, amounts in items if "kcal" in amounts)
    return known if len(known) == len(items) else ()


def _amounts_by_row(table: Table) -> Amounts:
    """The amounts of a table with a nutrient in each row; empty unless one is the energy."""
    amounts: dict[str, float] = {}
    for label, *values in table.rows:
        numbers = [number for cell in values if (number := _number(cell)) is not None]
        for name, pattern in _NUTRIENTS.items():
            if numbers and name not in amounts and pattern.search(label.lower()):
                amounts[name] = numbers[0]
    return amounts if "kcal" in amounts else {}


def _number(cell: str) -> float | None:
    """The number in a cell; None for none, for a range and for kilojoules."""
    if _RANGE.search(cell) or _KILOJOULES.search(cell):
        return None
    number = _NUMBER.search(cell)
    return float(number[0].replace(",", "")) if number else None


def _check(meal: Meal, bounds: Bounds) -> MealCheck:
    total = meal.total.get("kcal")
    items_sum = round(sum(kcal for _, kcal in meal.items), 1) if meal.items else None
    macro_kcal = None
    if KCAL_PER_GRAM.keys() <= meal.total.keys():
        macro_kcal = round(sum(meal.total[m] * kcal for m, kcal in KCAL_PER_GRAM.items()), 1)
    return MealCheck(
        items_sum_kcal=items_sum,
        stated_total_kcal=total,
        macro_kcal=macro_kcal,
        items_add_up=_near(
            items_sum, total, bounds.items_sum_tolerance_share, bounds.items_sum_tolerance_kcal
        ),
        macros_agree=_near(macro_kcal, total, bounds.macro_tolerance_share),
    )


def _near(
    computed: float | None, stated: float | None, share: float, at_least: float = 0.0
) -> bool | None:
    if computed is None or stated is None:
        return None
    return abs(computed - stated) <= max(share * stated, at_least)


def _figures(meal: Meal) -> list[float]:
    return [*(kcal for _, kcal in meal.items), meal.total.get("kcal", 0.0)]


def _remarks(meals: Sequence[Meal], checks: Sequence[MealCheck], bounds: Bounds) -> Iterator[str]:
    for meal, found in zip(meals, checks, strict=True):
        total = found.stated_total_kcal or 0.0
        if found.items_add_up is False:
            yield f"The items add up to {found.items_sum_kcal:g} kcal, not {total:g}."
        if found.macros_agree is False:
            yield f"The macronutrients give {found.macro_kcal:g} kcal, not {total:g}."
        for name, kcal in meal.items:
            if kcal > bounds.item_kcal_seldom_above:
                yield f"{name}: one item seldom has {kcal:g} kcal."
        if total >= bounds.kcal_always_wrong_from:
            yield f"No meal has {total:g} kcal."
        elif total > bounds.meal_kcal_seldom_above:
            yield f"A meal seldom has {total:g} kcal."
