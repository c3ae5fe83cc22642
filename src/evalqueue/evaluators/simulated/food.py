"""Foods, amounts and times, and how they are parsed from English messages of users in India.

The simulated user, the simulated bot and the simulated judge share this vocabulary.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

INDIA = timezone(timedelta(hours=5, minutes=30), "Asia/Kolkata")
MEALS = ("breakfast", "lunch", "dinner", "snack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Food:
    """A food, with the nutrients of one unit of it."""

    name: str
    unit: str
    kcal: float
    protein_g: float
    carbs_g: float
    fat_g: float
    fiber_g: float
    takes_ingredients: bool = False
    """Whether "with …" after its name lists ingredients of it, not foods eaten beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A precise amount of a food. Without a unit, the number counts units of the food."""

    number: float
    unit: str | None = None

    def in_units_of(self, food: Food) -> float:
        """The amount as a number of the food's own units."""
        return self.number * _UNIT_SIZES[self.unit or food.unit] / _UNIT_SIZES[food.unit]

    def as_text(self, food: Food) -> str:
        unit = self.unit or food.unit
        return f"{self.number:g} {unit if self.number <= 1 else _PLURALS.get(unit, unit + 's')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionedFood:
    """A food named in a message."""

    food: Food
    amount: Amount | None
    ingredients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionedTime:
    """A time named in a message, exact enough for a diary ("this morning" alone is not)."""

    words: str
    is_future: bool
    """Whether its words refer to the future, independent of the current time."""
    day: int | None = None
    """Days from today; None if the message names no day."""
    hour: int | None = None
    minute: int = 0
    minutes_from_now: int | None = None

    def at(self, now: datetime) -> datetime:
        """The absolute time. Without a day it is the most recent such time before `now`."""
        here = now.astimezone(INDIA).replace(second=0, microsecond=0)
        if self.minutes_from_now is not None:
            return here + timedelta(minutes=self.minutes_from_now)
        hour = here.hour if self.hour is None else self.hour
        then = here.replace(hour=hour, minute=self.minute) + timedelta(days=self.day or 0)
        return then - timedelta(days=1) if self.day is None and then > here else then


@dataclass(frozen=True, slots=True, kw_only=True)
class MealText:
    """The part of a message that is about one meal."""

    meal: str | None
    text: str


# name | unit | kcal | protein g | carbs g | fat g | fiber g; "+": the food takes ingredients.
_FOOD_TABLE = """
idli            | piece  |  39 |  1.6 |  8.0 |  0.2 | 0.6
masala dosa     | piece  | 263 |  5.2 | 38.6 |  9.7 | 2.9
dosa            | piece  | 133 |  3.1 | 22.4 |  3.4 | 1.1
uttapam         | piece  | 191 |  5.3 | 31.2 |  5.0 | 2.2
medu vada       | piece  | 137 |  4.2 | 13.1 |  7.6 | 2.4
sambar          | katori |  98 |  4.6 | 14.2 |  2.5 | 3.7
rasam           | katori |  43 |  1.7 |  6.8 |  1.1 | 0.9
roti            | piece  | 104 |  3.1 | 17.9 |  2.3 | 2.6
aloo paratha    | piece  | 237 |  5.1 | 34.2 |  8.9 | 3.8
paratha         | piece  | 193 |  4.3 | 26.4 |  7.9 | 3.1
naan            | piece  | 262 |  8.7 | 45.3 |  5.1 | 2.0
puri            | piece  |  84 |  1.4 |  9.6 |  4.5 | 0.7
thepla          | piece  | 117 |  3.0 | 16.2 |  4.5 | 2.3
dhokla          | piece  |  54 |  2.2 |  7.9 |  1.5 | 0.8
khandvi         | piece  |  31 |  1.3 |  3.0 |  1.6 | 0.4
samosa          | piece  | 217 |  3.6 | 24.1 | 11.8 | 2.2
kachori         | piece  | 186 |  3.3 | 19.7 | 10.5 | 1.9
rajma           | katori | 143 |  7.7 | 20.6 |  3.4 | 6.1
chole           | katori | 178 |  8.1 | 24.3 |  5.4 | 6.8
dal             | katori | 117 |  6.9 | 16.4 |  2.7 | 4.2
palak paneer    | katori | 226 | 11.2 |  7.8 | 16.7 | 2.9
paneer          | katori | 283 | 18.1 |  3.6 | 21.9 | 0.2
aloo gobi       | katori | 124 |  3.2 | 16.1 |  5.3 | 3.6
bhindi          | katori | 106 |  2.4 |  9.7 |  6.6 | 3.9
rice            | katori | 129 |  2.7 | 28.1 |  0.3 | 0.4
jeera rice      | katori | 174 |  3.0 | 30.2 |  4.6 | 0.8
biryani         | plate  | 487 | 19.3 | 62.4 | 17.8 | 3.3
pulao           | plate  | 341 |  7.2 | 55.6 |  9.9 | 3.8
curd            | katori |  73 |  3.9 |  5.6 |  3.9 | 0.0
raita           | katori |  81 |  3.6 |  7.1 |  4.2 | 0.7
lassi           | glass  | 183 |  6.1 | 27.4 |  5.5 | 0.0
chai            | cup    |  67 |  2.1 |  8.9 |  2.6 | 0.0
coffee          | cup    |  53 |  1.9 |  6.8 |  2.1 | 0.0
banana          | piece  | 106 |  1.3 | 26.9 |  0.4 | 3.1
apple           | piece  |  94 |  0.5 | 24.8 |  0.3 | 4.4
egg             | piece  |  74 |  6.3 |  0.4 |  5.0 | 0.0
gulab jamun     | piece  | 147 |  2.1 | 22.6 |  5.4 | 0.3
+ porridge      | bowl   | 183 |  6.4 | 31.7 |  3.3 | 4.3
+ oats          | bowl   | 171 |  6.1 | 28.4 |  3.6 | 4.4
+ poha          | plate  | 246 |  4.7 | 45.3 |  5.2 | 2.6
+ upma          | plate  | 233 |  5.8 | 37.1 |  6.8 | 3.2
+ khichdi       | bowl   | 217 |  7.9 | 37.6 |  3.9 | 4.1
+ fruit salad   | bowl   | 127 |  1.7 | 31.1 |  0.6 | 4.7
+ smoothie      | glass  | 164 |  4.6 | 31.3 |  2.4 | 3.4
+ sandwich      | piece  | 227 |  7.3 | 31.2 |  8.1 | 3.3
+ omelette      | piece  | 154 | 10.7 |  1.1 | 11.9 | 0.1
"""
# The size of each unit relative to a katori, to convert an amount to the food's own unit.
_UNIT_SIZES = {
    "piece": 1,
    "katori": 1,
    "cup": 1,
    "glass": 1.25,
    "bowl": 1.5,
    "plate": 2,
    "tbsp": 0.1,
}
_PLURALS = {"glass": "glasses", "tbsp": "tbsp"}
_UNITS = r"(?P<unit>pieces?|katoris?|cups?|glass(?:es)?|bowls?|plates?|tbsp)"

INGREDIENTS = (
    "almonds", "honey", "raisins", "walnuts", "chia seeds", "jaggery", "peanuts", "onions",
    "tomatoes", "cheese", "peas", "carrots", "dates", "coconut", "ghee", "flax seeds",
)  # fmt: skip


def _foods() -> Iterator[Food]:
    for line in _FOOD_TABLE.strip().splitlines():
        name, unit, *figures = (cell.strip() for cell in line.split("|"))
        kcal, protein_g, carbs_g, fat_g, fiber_g = map(float, figures)
        yield Food(
            name=name.removeprefix("+ "),
            unit=unit,
            kcal=kcal,
            protein_g=protein_g,
            carbs_g=carbs_g,
            fat_g=fat_g,
            fiber_g=fiber_g,
            takes_ingredients=name.startswith("+"),
        )


FOODS = {food.name: food for food in _foods()}
_NUMBER_WORDS: dict[str, float] = {
    "a": 1, "an": 1, "half": 0.5, "half a": 0.5, "one": 1, "two": 2, "three": 3, "four": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}  # fmt: skip
_ANY_NUMBER_WORD = "|".join(sorted(_NUMBER_WORDS, key=len, reverse=True))
_NUMBER = rf"(?P<number>\d{{1,4}}(?:\.\d{{1,2}})?|{_ANY_NUMBER_WORD})"
# These count as an amount only together with a unit or a food.
_VAGUE_NUMBERS = {"a", "an", "one", "half", "half a"}
_ANY_FOOD = "|".join(sorted(FOODS, key=len, reverse=True))
_ANY_INGREDIENT = "|".join(INGREDIENTS)
_FOOD_PATTERN = re.compile(
    rf"(?:\b{_NUMBER}\s+(?:{_UNITS}\s+(?:of\s+)?)?)?\b(?P<food>{_ANY_FOOD})(?:e?s)?\b"
    rf"(?:\s+with\s+(?P<with>(?:{_ANY_INGREDIENT})(?:(?:,\s*|,?\s+and\s+)(?:{_ANY_INGREDIENT}))*))?"
)
_AMOUNT_PATTERN = re.compile(
    rf"\b{_NUMBER}(?:\s+{_UNITS}\b|(?=\s*(?:$|[.,;!]|each\b|of\b(?!\s+them))))"
)
_DAY_OFFSETS = {
    "today": 0, "yesterday": -1, "last night": -1, "this morning": None, "tomorrow": 1,
    "tomorrow morning": 1, "tomorrow night": 1, "day after tomorrow": 2, "next week": 7,
}  # fmt: skip
_DAY = "|".join(sorted(_DAY_OFFSETS, key=len, reverse=True))
_CLOCK = r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?(?:\s*(?P<half>am|pm)\b)"
_CLOCK_24 = r"(?P<hour24>\d{1,2}):(?P<minute24>\d{2})\b"
_TIME_PATTERN = re.compile(
    rf"(?:\b(?P<before>{_DAY})\s+)?(?:\b(?:at|around|about|by)\s+)?\b(?:{_CLOCK}|{_CLOCK_24})"
    rf"(?:\s+(?P<after>{_DAY})\b)?"
    r"|\b(?P<now>just now|right now|abhi)\b"
    r"|\b(?P<ago>\d{1,3}|an?|two|three|four)\s+(?P<ago_unit>hour|minute)s?\s+ago\b"
    r"|\bin\s+(?P<ahead>\d{1,3}|an?|two|three|four)\s+(?P<ahead_unit>hour|minute)s?\b"
    r"|\b(?P<someday>day after tomorrow|tomorrow(?: morning| night)?|next week)\b"
)


def mentioned_foods(text: str) -> list[MentionedFood]:
    """The foods that a text names, in the order of the text."""
    foods: list[MentionedFood] = []
    for match in _FOOD_PATTERN.finditer(without_times(text)):
        food = FOODS[match["food"]]
        ingredient_names = re.findall(_ANY_INGREDIENT, match["with"] or "")
        ingredients = tuple(ingredient_names) if food.takes_ingredients else ()
        foods.append(MentionedFood(food=food, amount=_amount(match), ingredients=ingredients))
    return foods


def amount_without_food(text: str) -> Amount | None:
    """The first precise amount in a text that belongs to no food."""
    match = _AMOUNT_PATTERN.search(_FOOD_PATTERN.sub(" ", without_times(text)))
    if match is None or (match["number"] in _VAGUE_NUMBERS and not match["unit"]):
        return None
    return _amount(match)


def mentioned_times(text: str) -> list[MentionedTime]:
    """The times that a text names, in the order of the text."""
    return [_mentioned_time(match) for match in _TIME_PATTERN.finditer(text.lower())]


def without_times(text: str) -> str:
    return _TIME_PATTERN.sub(" ", text.lower())


def split_by_meal(text: str) -> list[MealText]:
    """Split a message by the meals that it names. Fewer than two meals: one part."""
    lowered = text.lower()
    names = list(re.finditer(rf"\b(?:for\s+)?(?P<meal>{'|'.join(MEALS)})\b", lowered))
    if len({name["meal"] for name in names}) <= 1:
        return [MealText(meal=names[0]["meal"] if names else None, text=lowered)]
    # "2 idli for breakfast and …": the food comes before the name of its meal.
    if mentioned_foods(lowered[: names[0].start()]):
        cuts = [0, *(_next_clause(lowered, name.end()) for name in names[:-1])]
    else:
        cuts = [0, *(name.start() for name in names[1:])]
    ends = [*cuts[1:], len(lowered)]
    return [
        MealText(meal=name["meal"], text=lowered[start:end])
        for name, start, end in zip(names, cuts, ends, strict=True)
    ]


def _next_clause(text: str, position: int) -> int:
    match = re.compile(r"[,;]|\band\b|\bthen\b").search(text, position)
    return match.start() if match else len(text)


def _amount(match: re.Match[str]) -> Amount | None:
    if not match["number"]:
        return None
    number = _NUMBER_WORDS.get(match["number"])
    unit = match["unit"]
    return Amount(
        number=float(match["number"]) if number is None else number,
        unit=next((name for name in _UNIT_SIZES if unit.startswith(name)), None) if unit else None,
    )


def _mentioned_time(match: re.Match[str]) -> MentionedTime:
    words = " ".join(match[0].split())
    if match["now"]:
        return MentionedTime(words=words, is_future=False, minutes_from_now=0)
    for name, sign in (("ago", -1), ("ahead", 1)):
        if match[name]:
            number = int(_NUMBER_WORDS.get(match[name]) or match[name])
            minutes = sign * number * (60 if match[f"{name}_unit"] == "hour" else 1)
            return MentionedTime(words=words, is_future=sign > 0, minutes_from_now=minutes)
    if match["someday"]:
        return MentionedTime(
            words=words, is_future=True, day=_DAY_OFFSETS[match["someday"]], hour=12
        )
    day = _DAY_OFFSETS.get(match["before"] or match["after"])
    hour = int(match["hour24"] or match["hour"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"] == "pm" else 0)
    return MentionedTime(
        words=words,
        is_future=(day or 0) > 0,
        day=day,
        hour=min(hour, 23),
        minute=min(int(match["minute24"] or match["minute"] or 0), 59),
    )
