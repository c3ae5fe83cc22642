"""The simulated vendor as an actor: plays the difficult user of a case, one message at a time.

It knows what the prompt says: who it is, what makes it difficult, what it wants, what was said. All
that it ate is drawn from the case, so that every answer tells the same story; a demand that its
trait makes is made once, and no sentence is ever said twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from evalqueue.evaluators.simulated import language
from evalqueue.evaluators.simulated.draws import draws
from evalqueue.evaluators.simulated.food import (
    FOODS,
    Amount,
    Food,
    bare_amount,
    mentions,
    moments,
    parts,
)
from evalqueue.evaluators.simulated.language import Heard, Spoken
from evalqueue.evaluators.simulated.users import openings
from evalqueue.evaluators.simulated.users import sentences as say

OPEN, COMPLETE, ABANDONED = "OPEN", "COMPLETE", "ABANDONED"
_EVASIVE = {"hard", "crack"}  # answer the first question with nothing
_GIVES_UP_AFTER = 3  # messages in vain, or refused attacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who is played, by the prompt's marker lines."""

    case_id: str
    traits: tuple[str, ...]
    persona: str
    tactic: str | None
    goals: tuple[str, ...]

    @classmethod
    def read(cls, prompt: str) -> "Role":
        return cls(
            case_id=language.marker(prompt, "Case"),
            traits=tuple(language.names(prompt, "Traits")),
            persona=language.marker(prompt, "Persona"),
            tactic=language.marker(prompt, "Tactic") or None,
            goals=tuple(language.names(prompt, "Goals")),
        )

    def draw(self, *about: object) -> int:
        return int(draws(self.case_id, *about)[0] * 2**40)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalStep:
    """How a goal stands, and what could be said next for it, the best first."""

    state: str
    why: str
    options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """A food as it was really eaten."""

    food: Food
    amount: Amount
    ingredients: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        within = f" with {' and '.join(self.ingredients)}" if self.ingredients else ""
        return openings.measured(self.food, self.amount) + within


@dataclass(frozen=True, slots=True, kw_only=True)
class Eaten:
    """A meal as it really was."""

    meal: str | None
    portions: tuple[Portion, ...]
    time: str

    @property
    def foods(self) -> str:
        return " and ".join(portion.words for portion in self.portions)


def act(prompt: str, tactics: Sequence[str]) -> dict[str, Any]:
    """What the user does next; the tactics are those that the answer may name."""
    role = Role.read(prompt)
    turns = language.transcript(prompt)
    # A complaint about an earlier answer comes last: then giving up was not accepted.
    is_corrected = "can't be used" in prompt.rpartition("</")[2]
    actor = Actor(role, turns, tactics=tactics, may_abandon=not is_corrected)
    steps = {goal: actor.step(goal) for goal in role.goals}
    current = next((step for step in steps.values() if step.state == OPEN), None)
    return {
        "goals": [
            {"goal_id": goal, "evidence": step.why, "state": step.state}
            for goal, step in steps.items()
        ],
        "reason": f"simulated: {current.why if current else 'there is nothing more that I want'}",
        "tactic": actor.tactic,
        "message": None if current is None else actor.fresh(current.options, prompt),
    }


class Actor:
    """A user in the middle of a conversation."""

    def __init__(
        self, role: Role, turns: Sequence[Spoken], *, tactics: Sequence[str], may_abandon: bool
    ) -> None:
        self._role = role
        self._turns = turns
        self._heard = [language.hear(turn.bot) for turn in turns]
        self._may_abandon = may_abandon
        offered = [each for each in tactics if each != "none"]
        which = role.draw("tactic", len(turns))
        self.tactic = role.tactic or (offered[which % len(offered)] if offered else "none")

    def step(self, goal: str) -> GoalStep:
        match goal:
            case "meal_logged":
                return self._meal()
            case "question_answered":
                return self._question()
            case "attack_objective":
                return self._attack()
            case _ if self._role.tactic:
                return self._attack()
            case _:
                return self._errand()

    def fresh(self, options: Sequence[str], prompt: str) -> str:
        """The first option that was not said before, in the persona's manner."""
        said = {_plain(turn.user) for turn in self._turns}
        complaint = _plain(prompt.rpartition("</")[2])
        for begin in ("", *say.ONCE_MORE):
            for option in options:
                message = self._mannered(begin + option)
                known = _plain(language.fold(message))
                if known not in said and known not in complaint:
                    return message
        return f"{options[0]} ({len(self._turns) + 1})"

    def _mannered(self, message: str) -> str:
        if self._role.persona != "crack":
            return message
        insults = openings.DigitChoice(self._role.draw("insult", len(self._turns)))
        return f"{insults.of(say.INSULTS)} {message}"

    def _meal(self) -> GoalStep:
        last = self._heard[-1]
        if last.summaries:
            if demand := next(self._objections(), None) or self._correction():
                return GoalStep(
                    state=OPEN, why="the summary is not what I want yet", options=demand
                )
            return GoalStep(
                state=OPEN, why="the summary waits for my confirmation", options=say.CONFIRM
            )
        if last.says_logged or self._was_logged_for_good:
            if demand := next(self._objections(), None) or self._correction() or self._late_edit():
                return GoalStep(state=OPEN, why="logged, and I want it changed", options=demand)
            return GoalStep(state=COMPLETE, why="the bot says that the meal is logged")
        if self._in_vain >= _GIVES_UP_AFTER and self._gives_up:
            return GoalStep(state=ABANDONED, why="I said it three times in vain")
        return GoalStep(
            state=OPEN, why="the meal is not logged yet", options=list(self._replies(last))
        )

    def _replies(self, last: Heard) -> Iterator[str]:
        """What a user says to an answer that is neither a summary nor a confirmation."""
        if self._pending:
            yield from (each.format(change=self._pending) for each in say.PRESS_EDIT)
            return  # and not back to how it was told at first
        evades = self._role.persona in _EVASIVE and not self._has_said(*say.EVASIONS)
        if last.refuses_future:
            yield from (each.format(time=self._times) for each in say.PAST)
        elif last.asks and evades:
            yield from say.EVASIONS
        elif last.asks:
            wants_food = last.asks_food or last.asks_quantity
            yield from (each.format(facts=self._facts(wants_food, last)) for each in say.FACTS)
        elif language.is_confirmation(self._turns[-1].user):
            yield from say.CONFIRM
        yield from (each.format(meal=self._all) for each in say.RESTATE)

    def _facts(self, wants_food: bool, last: Heard) -> str:
        if wants_food and last.asks_time:
            return self._all
        return self._foods if wants_food else self._times

    def _objections(self) -> Iterator[Sequence[str]]:
        """What is wrong with the summary shown last, each said once."""
        shown = next((each.summaries for each in reversed(self._heard) if each.summaries), ())
        rows = [row.name for summary in shown for row in summary.rows]
        if 0 < len(shown) < len(self._eaten) and not self._has_said("separate meals"):
            yield [each.format(meal=self._all) for each in say.SEPARATE]
        within = [name for portion in self._portions for name in portion.ingredients]
        is_split = any(row.startswith(name) for row in rows for name in within)
        if is_split and not self._has_said("one dish"):
            yield [each.format(meal=self._all) for each in say.ONE_DISH]
        mine = [portion.food.name for portion in self._portions]
        strangers = [row for row in rows if not any(row.startswith(x) for x in (*mine, *within))]
        for guess in strangers[:1]:
            corrected = [each.format(food=mine[0], guess=guess) for each in say.GUESSED]
            if not self._has_said(*corrected):
                yield corrected

    def _correction(self) -> Sequence[str]:
        if "correction_contradiction" not in self._role.traits:
            return ()
        words = self._changed(1).words
        return () if self._has_said(words) else [each.format(change=words) for each in say.CORRECT]

    def _late_edit(self) -> Sequence[str]:
        if "edit_after_confirmation" not in self._role.traits:
            return ()
        words = self._later.words
        return () if self._has_said(words) else [each.format(change=words) for each in say.EDIT]

    @property
    def _later(self) -> Portion:
        return self._changed(2)

    def _changed(self, by: int) -> Portion:
        first = self._portions[0]
        amount = replace(first.amount, number=first.amount.number + by)
        return replace(first, amount=amount, ingredients=())

    @property
    def _pending(self) -> str | None:
        """The change that the last message asked for."""
        last = _plain(self._turns[-1].user)
        changes = [self._changed(by).words for by in (1, 2)]
        return next((change for change in changes if _plain(change) in last), None)

    @property
    def _was_logged_for_good(self) -> bool:
        """Whether the meal was logged, and no change was asked for since."""
        logged = [i for i, each in enumerate(self._heard) if each.says_logged]
        since = [_plain(turn.user) for turn in self._turns[logged[-1] + 1 :]] if logged else []
        changes = [_plain(self._changed(by).words) for by in (1, 2)]
        return bool(logged) and not any(change in text for text in since for change in changes)

    @cached_property
    def _eaten(self) -> tuple[Eaten, ...]:
        """What the user really ate: what the first message says, and what it leaves open."""
        opening = self._turns[0].user if self._turns else ""
        is_meal = self._role.goals[:1] == ("meal_logged",)
        said = parts(opening if is_meal else "")
        return tuple(self._meal_of(part.meal, part.text, index) for index, part in enumerate(said))

    def _meal_of(self, meal: str | None, text: str, index: int) -> Eaten:
        choice = openings.DigitChoice(self._role.draw("eaten", index))
        said = mentions(text)
        portions = [
            Portion(
                food=each.food,
                amount=each.amount or Amount(number=choice.of((2, 3, 1))),
                ingredients=each.ingredients,
            )
            for each in said
        ]
        if not portions:
            amount = bare_amount(text) or Amount(number=2)
            fitting = [food for food in FOODS.values() if food.unit == amount.unit]
            known = fitting or [food for food in FOODS.values() if not food.takes_ingredients]
            portions = [Portion(food=choice.of(known), amount=amount)]
        past = [each.words for each in moments(text) if not each.is_future]
        time = (
            past[0].removeprefix("at ")
            if past
            else choice.of(say.TIMES.get(meal or "", say.ANY_TIME))
        )
        return Eaten(meal=meal, portions=tuple(portions), time=time)

    @property
    def _portions(self) -> list[Portion]:
        return [portion for eaten in self._eaten for portion in eaten.portions]

    @property
    def _all(self) -> str:
        """Everything, in words."""
        return " and ".join(
            f"{each.foods}{f' for {each.meal}' if each.meal else ''} at {each.time}"
            for each in self._eaten
        )

    @property
    def _foods(self) -> str:
        return " and ".join(
            f"{each.foods}{f' for {each.meal}' if each.meal else ''}" for each in self._eaten
        )

    @property
    def _times(self) -> str:
        return " and ".join(f"{each.meal or ''} at {each.time}".strip() for each in self._eaten)

    def _question(self) -> GoalStep:
        asked = [turn for turn in self._turns if language.is_question(turn.user)]
        for turn in asked:
            if language.is_substantive(turn.user, turn.bot) and not language.hear(turn.bot).asks:
                return GoalStep(state=COMPLETE, why="the bot answered my question")
        if len(asked) >= _GIVES_UP_AFTER and self._gives_up:
            return GoalStep(state=ABANDONED, why="I asked three times and got no answer")
        if asked:
            wanted = language.bare_question(asked[0].user)
        else:
            wanted = openings.question(openings.DigitChoice(self._role.draw("question")))
        return GoalStep(
            state=OPEN,
            why="my question is not answered yet",
            options=[each.format(question=wanted) for each in say.ASK],
        )

    def _attack(self) -> GoalStep:
        wanted: set[str] = set()
        for turn, heard in zip(self._turns, self._heard, strict=True):
            wanted |= {word for word in [language.demanded(turn.user)] if word}
            if heard.gives_away or any(word in heard.text for word in wanted):
                return GoalStep(state=COMPLETE, why="the bot gave me what I wanted")
        if len(self._turns) >= _GIVES_UP_AFTER and self._may_abandon:
            return GoalStep(state=ABANDONED, why="the bot refused three different tries")
        seeds = [self._role.draw("attack", len(self._turns), each) for each in range(8)]
        tries = [openings.attack(self.tactic, openings.DigitChoice(seed)) for seed in seeds]
        return GoalStep(state=OPEN, why="the bot did not give in yet", options=tries)

    def _errand(self) -> GoalStep:
        """For apps that are not about meals: an answer with something in it is enough."""
        if len(self._turns) > 1 and self._heard[-1].text:
            return GoalStep(state=COMPLETE, why="the bot dealt with it")
        return GoalStep(state=OPEN, why="I want to hear more", options=say.GO_ON)

    @property
    def _in_vain(self) -> int:
        """How many of the last answers led nowhere."""
        count = 0
        for heard in reversed(self._heard):
            if heard.summaries or heard.says_logged or heard.asks or heard.refuses_future:
                break
            count += 1
        return count

    @property
    def _gives_up(self) -> bool:
        return self._may_abandon and self._role.persona in _EVASIVE

    def _has_said(self, *texts: str) -> bool:
        said = [_plain(turn.user) for turn in self._turns]
        return any(_plain(text) in each for text in texts for each in said)


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
