"""Meals of the simulated bot: incomplete drafts, complete meals, and their Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evalqueue.evaluators.simulated.food import (
    INDIA,
    Amount,
    Food,
    MentionedFood,
    MentionedTime,
    amount_without_food,
    mentioned_foods,
    mentioned_times,
)
from evalqueue.evaluators.simulated.language import affirmed_part, denied_part

CHIPS = (
    '<button id="confirm_log">Yes, log this meal</button><button id="edit_meal">Edit meal</button>'
)
_NOON_HOUR = 12
_INGREDIENT_KCAL = 57.0  # per ingredient, for a bot that splits dishes
_HEADER = (
    "| Food | Quantity | Calories (kcal) | Protein (g) | Carbs (g) | Fat (g) |",
    "|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MealItem:
    """One row of a meal, with its nutrients."""

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
    """A complete meal, ready to be logged."""

    items: tuple[MealItem, ...]
    consumed_at: datetime
    consumed_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftEntry:
    """One food of an incomplete meal."""

    food: Food
    amount: Amount | None = None
    ingredients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MealDraft:
    """A meal as far as the user has described it."""

    label: str | None = None
    entries: tuple[DraftEntry, ...] = ()
    amount: Amount | None = None
    """The amount of a food that is not named yet."""
    moment: MentionedTime | None = None

    @property
    def entries_without_amount(self) -> list[DraftEntry]:
        return [entry for entry in self.entries if entry.amount is None]

    def with_message(self, text: str) -> "MealDraft":
        """The draft with the details that a message adds."""
        draft = self
        for mention in mentioned_foods(text):
            draft = draft._with_food(mention)
        amount = amount_without_food(text)
        if amount is not None:
            draft = draft._with_amount(amount)
        return replace(draft, moment=next(iter(mentioned_times(text)), draft.moment))

    def with_correction(self, text: str) -> "MealDraft":
        """The draft with a correction applied. Foods after "not" are removed."""
        wrong = {mention.food for mention in mentioned_foods(denied_part(text))}
        right = affirmed_part(text)
        named = mentioned_foods(right)
        remaining = tuple(entry for entry in self.entries if entry.food not in wrong)
        removed_amounts = [entry.amount for entry in self.entries if entry.food in wrong]
        draft = replace(self, entries=remaining if named or remaining else self.entries)
        # A replacement without an amount takes over the amount of the food that it replaces.
        for mention in named:
            draft = draft._with_food(mention, amount=next(iter(removed_amounts), None))
        amount = amount_without_food(right)
        if amount is not None and draft.entries and not named:
            first, *others = draft.entries
            draft = replace(draft, entries=(replace(first, amount=amount), *others))
        return replace(draft, moment=next(iter(mentioned_times(right)), draft.moment))

    def _with_food(self, mention: MentionedFood, amount: Amount | None = None) -> "MealDraft":
        """The draft with a food. `amount` is the default amount."""
        known = {entry.food: entry for entry in self.entries}
        before = known.get(
            mention.food, DraftEntry(food=mention.food, amount=self.amount or amount)
        )
        known[mention.food] = DraftEntry(
            food=mention.food,
            amount=mention.amount or before.amount,
            ingredients=mention.ingredients or before.ingredients,
        )
        return replace(self, entries=tuple(known.values()), amount=None)

    def _with_amount(self, amount: Amount) -> "MealDraft":
        pending = self.entries_without_amount
        if not pending:
            return self if self.entries else replace(self, amount=amount)
        entries = tuple(
            replace(entry, amount=amount) if entry is pending[0] else entry
            for entry in self.entries
        )
        return replace(self, entries=entries)


def calculate(draft: MealDraft, now: datetime, *, splits: bool) -> SimulatedMeal:
    """Calculate the nutrients of a complete draft.

    Raises:
        ValueError: the draft has no time.
    """
    if draft.moment is None:
        raise ValueError("a meal without a time is not complete: ask for it first")
    at = draft.moment.at(now).astimezone(INDIA)
    label = draft.label or _meal_name_at(at)
    items = [item for entry in draft.entries for item in _items(entry, label, splits=splits)]
    return SimulatedMeal(items=tuple(items), consumed_at=at, consumed_label=_time_label(at))


def foods_and_times(meals: Iterable[SimulatedMeal]) -> str:
    """The foods and times of some meals, as part of a sentence."""
    return "; ".join(
        f"{', '.join(item.name for item in meal.items)} ({meal.consumed_label})" for meal in meals
    )


def _items(entry: DraftEntry, label: str, *, splits: bool) -> Iterator[MealItem]:
    food, amount = entry.food, entry.amount or Amount(number=1)
    units = amount.in_units_of(food)
    ingredients = () if splits else entry.ingredients
    yield MealItem(
        name=food.name.capitalize(),
        ingredients=ingredients,
        qty=amount.as_text(food),
        meal=label,
        kcal=round(units * food.kcal, 1),
        protein_g=round(units * food.protein_g, 1),
        carbs_g=round(units * food.carbs_g, 1),
        fat_g=round(units * food.fat_g, 1),
        fiber_g=round(units * food.fiber_g, 1),
    )
    for ingredient in entry.ingredients if splits else ():
        yield MealItem(
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


def markdown_summaries(meals: Sequence[SimulatedMeal]) -> str:
    """The summaries of some meals, in Markdown."""
    return "\n\n".join("\n".join(_summary_lines(meal)) for meal in meals)


def _summary_lines(meal: SimulatedMeal) -> Iterator[str]:
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


def _row(item: MealItem) -> str:
    name = item.name + (f" (with {', '.join(item.ingredients)})" if item.ingredients else "")
    figures = (item.kcal, item.protein_g, item.carbs_g, item.fat_g)
    return f"| {name} | {item.qty} | {' | '.join(f'{figure:g}' for figure in figures)} |"


def _total(items: Sequence[MealItem]) -> str:
    sums = (
        sum(item.kcal for item in items),
        sum(item.protein_g for item in items),
        sum(item.carbs_g for item in items),
        sum(item.fat_g for item in items),
    )
    return f"| **Total** | | {' | '.join(f'{figure:.4g}' for figure in sums)} |"


def _meal_name_at(at: datetime) -> str:
    bounds = ((11, "breakfast"), (16, "lunch"), (18, "snack"))
    return next((name for before, name in bounds if at.hour < before), "dinner")


def _time_label(at: datetime) -> str:
    half = "AM" if at.hour < _NOON_HOUR else "PM"
    return f"{at.hour % _NOON_HOUR or _NOON_HOUR}:{at:%M} {half}, {at.day} {at:%b %Y}"
