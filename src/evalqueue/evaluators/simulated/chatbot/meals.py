"""Meals of the simulated bot: incomplete drafts, complete meals, and how they are shown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evalqueue.evaluators.simulated.food import (
    INDIA,
    Amount,
    Food,
    Mention,
    Moment,
    bare_amount,
    mentions,
    moments,
)
from evalqueue.evaluators.simulated.language import affirmed, denied

CHIPS = (
    '<button id="confirm_log">Yes, log this meal</button><button id="edit_meal">Edit meal</button>'
)
_NOON = 12
_INGREDIENT_KCAL = 57.0  # what a bot that splits dishes gives for each ingredient
_HEADER = (
    "| Food | Quantity | Calories (kcal) | Protein (g) | Carbs (g) | Fat (g) |",
    "|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row of a meal, calculated."""

    name: str
    ingredients: tuple[str, ...]
    qty: str
    meal: str
    kcal: float
    protein_g: float
    carbs_g: float
    fat_g: float
    fiber_g: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedMeal:
    """A meal that can be logged."""

    items: tuple[Item, ...]
    consumed_at: datetime
    consumed_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A food of a draft."""

    food: Food
    amount: Amount | None = None
    ingredients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MealDraft:
    """What is known of a meal so far."""

    label: str | None = None
    entries: tuple[Entry, ...] = ()
    amount: Amount | None = None
    """Of a food that was not named yet."""
    moment: Moment | None = None

    @property
    def unmeasured(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.amount is None]

    def extended(self, text: str) -> "MealDraft":
        """With what a message adds to it."""
        draft = self
        for mention in mentions(text):
            draft = draft._with(mention)
        amount = bare_amount(text)
        if amount is not None:
            draft = draft._measured(amount)
        return replace(draft, moment=next(iter(moments(text)), draft.moment))

    def corrected(self, text: str) -> "MealDraft":
        """With what a correction changes; what comes after "not" is what was wrong."""
        wrong = {mention.food for mention in mentions(denied(text))}
        right = affirmed(text)
        named = mentions(right)
        kept = tuple(entry for entry in self.entries if entry.food not in wrong)
        lost = [entry.amount for entry in self.entries if entry.food in wrong]
        draft = replace(self, entries=kept if named or kept else self.entries)
        for mention in named:  # instead of what was wrong: as much as that was, if nothing is said
            draft = draft._with(mention, amount=lost[0] if lost else None)
        amount = bare_amount(right)
        if amount is not None and draft.entries and not named:
            first, *others = draft.entries
            draft = replace(draft, entries=(replace(first, amount=amount), *others))
        return replace(draft, moment=next(iter(moments(right)), draft.moment))

    def _with(self, mention: Mention, amount: Amount | None = None) -> "MealDraft":
        """The draft with a food. `amount` is the default amount."""
        known = {entry.food: entry for entry in self.entries}
        before = known.get(mention.food, Entry(food=mention.food, amount=self.amount or amount))
        known[mention.food] = Entry(
            food=mention.food,
            amount=mention.amount or before.amount,
            ingredients=mention.ingredients or before.ingredients,
        )
        return replace(self, entries=tuple(known.values()), amount=None)

    def _measured(self, amount: Amount) -> "MealDraft":
        waiting = self.unmeasured
        if not waiting:
            return self if self.entries else replace(self, amount=amount)
        entries = tuple(
            replace(entry, amount=amount) if entry is waiting[0] else entry
            for entry in self.entries
        )
        return replace(self, entries=entries)


def calculated(draft: MealDraft, now: datetime, *, splits: bool) -> SimulatedMeal:
    """A complete draft with its figures."""
    if draft.moment is None:
        raise ValueError("a meal without a time is not complete: ask for it first")
    at = draft.moment.at(now).astimezone(INDIA)
    label = draft.label or _meal_at(at)
    items = [item for entry in draft.entries for item in _items(entry, label, splits=splits)]
    return SimulatedMeal(items=tuple(items), consumed_at=at, consumed_label=_time(at))


def named(meals: Iterable[SimulatedMeal]) -> str:
    """Foods and times in a sentence."""
    return "; ".join(
        f"{', '.join(item.name for item in meal.items)} ({meal.consumed_label})" for meal in meals
    )


def _items(entry: Entry, label: str, *, splits: bool) -> Iterator[Item]:
    food, amount = entry.food, entry.amount or Amount(number=1)
    units = amount.of(food)
    ingredients = () if splits else entry.ingredients
    yield Item(
        name=food.name.capitalize(),
        ingredients=ingredients,
        qty=amount.shown(food),
        meal=label,
        kcal=round(units * food.kcal, 1),
        protein_g=round(units * food.protein_g, 1),
        carbs_g=round(units * food.carbs_g, 1),
        fat_g=round(units * food.fat_g, 1),
        fiber_g=round(units * food.fiber_g, 1),
    )
    for ingredient in entry.ingredients if splits else ():
        yield Item(
            name=ingredient.capitalize(),
            ingredients=(),
            qty="1 tbsp",
            meal=label,
            kcal=_INGREDIENT_KCAL,
            protein_g=1.1,
            carbs_g=9.3,
            fat_g=1.7,
            fiber_g=0.6,
        )


def shown(meals: Sequence[SimulatedMeal]) -> str:
    """The summaries of some meals, in Markdown."""
    return "\n\n".join("\n".join(_shown(meal)) for meal in meals)


def _shown(meal: SimulatedMeal) -> Iterator[str]:
    yield f"**Meal summary: {meal.items[0].meal}**"
    yield ""
    yield from _HEADER
    yield from (_row(item) for item in meal.items)
    if len(meal.items) > 1:
        yield _total(meal.items)
    yield ""
    yield f"Consumed at: {meal.consumed_label}"
    for item in meal.items if len(meal.items) > 1 else ():
        yield f"\n**{item.name}**\n"
        yield "| Nutrient | Amount |\n|---|---|"
        yield f"| Calories | {item.kcal:g} kcal |\n| Protein | {item.protein_g:g} g |"
        yield f"| Carbs | {item.carbs_g:g} g |\n| Fat | {item.fat_g:g} g |"


def _row(item: Item) -> str:
    name = item.name + (f" (with {', '.join(item.ingredients)})" if item.ingredients else "")
    figures = (item.kcal, item.protein_g, item.carbs_g, item.fat_g)
    return f"| {name} | {item.qty} | {' | '.join(f'{figure:g}' for figure in figures)} |"


def _total(items: Sequence[Item]) -> str:
    sums = (
        sum(item.kcal for item in items),
        sum(item.protein_g for item in items),
        sum(item.carbs_g for item in items),
        sum(item.fat_g for item in items),
    )
    return f"| **Total** | | {' | '.join(f'{figure:.4g}' for figure in sums)} |"


def _meal_at(at: datetime) -> str:
    bounds = ((11, "breakfast"), (16, "lunch"), (18, "snack"))
    return next((name for before, name in bounds if at.hour < before), "dinner")


def _time(at: datetime) -> str:
    half = "AM" if at.hour < _NOON else "PM"
    return f"{at.hour % _NOON or _NOON}:{at:%M} {half}, {at.day} {at:%b %Y}"
