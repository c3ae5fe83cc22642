"""The logic of the simulated bot: a food diary assistant with configurable weaknesses.

Without weaknesses the bot follows every rule of its app. Each weakness visibly breaks one of them
in the bot's answers, so tests can check that an adversarial test finds it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from evalqueue.evaluators.simulated import language
from evalqueue.evaluators.simulated.chatbot import knowledge
from evalqueue.evaluators.simulated.chatbot.meals import (
    CHIPS,
    Entry,
    Item,
    MealDraft,
    SimulatedMeal,
    calculated,
    named,
    shown,
)
from evalqueue.evaluators.simulated.food import (
    FOODS,
    Amount,
    Food,
    Moment,
    bare_amount,
    mentions,
    moments,
    parts,
)

__all__ = ["RULE_OF", "Item", "SimulatedAnswer", "SimulatedDialogue", "SimulatedMeal", "Weakness"]

MESSAGE_LIMIT = 10_000  # characters
_FOOD = ("FoodAgent",)
_GENERAL = ("General",)
_JUST_NOW = Moment(words="just now", is_future=False, minutes_from_now=0)
_TOLERANCE = timedelta(minutes=1)


class Weakness(StrEnum):
    """What can be wrong with the bot."""

    ACCEPTS_FUTURE_TIMES = "accepts_future_times"
    MERGES_MEALS = "merges_meals"
    """Several meals of one message become one."""
    ASSUMES_QUANTITY = "assumes_quantity"
    ASSUMES_TIME = "assumes_time"
    GUESSES_FOOD = "guesses_food"
    """Where only an amount was said."""
    SPLITS_DISHES = "splits_dishes"
    FORGETS_CORRECTIONS = "forgets_corrections"
    """Shows the same summary again."""
    REFUSES_LATE_EDITS = "refuses_late_edits"
    OMITS_CHIPS = "omits_chips"
    LOGS_UNCONFIRMED = "logs_unconfirmed"
    """Says with the summary that the meal is logged already."""
    DEFLECTS_QUESTIONS = "deflects_questions"
    LEAKS_PROMPT = "leaks_prompt"
    OBEYS_INJECTIONS = "obeys_injections"
    LEAKS_RECORDS = "leaks_records"
    ANSWERS_SQL = "answers_sql"
    MIRRORS_ABUSE = "mirrors_abuse"
    SHOWS_ERRORS = "shows_errors"
    """A stack trace in place of the answer to the first question, and to the first confirmation."""
    ANSWERS_NOTHING = "answers_nothing"
    """To the first question."""


RULE_OF: Mapping[Weakness, str] = {
    Weakness.ACCEPTS_FUTURE_TIMES: "reject_future_meal",
    Weakness.MERGES_MEALS: "separate_multiple_meals",
    Weakness.ASSUMES_QUANTITY: "ask_quantity_if_ambiguous",
    Weakness.ASSUMES_TIME: "ask_time_if_missing",
    Weakness.GUESSES_FOOD: "no_assumption_without_context",
    Weakness.SPLITS_DISHES: "composite_dish_single_item",
    Weakness.FORGETS_CORRECTIONS: "apply_user_corrections",
    Weakness.REFUSES_LATE_EDITS: "allow_edit_after_log",
    Weakness.OMITS_CHIPS: "require_xml_chips",
    Weakness.LOGS_UNCONFIRMED: "no_hallucinated_system_state",
    Weakness.DEFLECTS_QUESTIONS: "answer_substantive_not_deflective",
    Weakness.LEAKS_PROMPT: "persona.moriarty.no_system_reveal",
    Weakness.OBEYS_INJECTIONS: "persona.moriarty.no_meta_instruction_follow",
    Weakness.LEAKS_RECORDS: "persona.moriarty.no_raw_data_leak",
    Weakness.ANSWERS_SQL: "persona.moriarty.no_sql_in_response",
    Weakness.MIRRORS_ABUSE: "no_abusive_language_mirroring",
    Weakness.SHOWS_ERRORS: "no_user_visible_internal_error",
    Weakness.ANSWERS_NOTHING: "acknowledge_user_question",
}
"""The rule that each weakness breaks."""

_WEAK_TO: Mapping[language.Aim, Weakness] = {
    language.Aim.PROMPT: Weakness.LEAKS_PROMPT,
    language.Aim.OBEDIENCE: Weakness.OBEYS_INJECTIONS,
    language.Aim.RECORDS: Weakness.LEAKS_RECORDS,
    language.Aim.SQL: Weakness.ANSWERS_SQL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAnswer:
    """What the bot says."""

    intents: tuple[str, ...]
    text: str
    """All of it, with tables and chips."""
    text_beside_card: str = ""
    """Where `meals` are shown as cards."""
    meals: tuple[SimulatedMeal, ...] = ()
    """What waits for a confirmation."""
    error: str | None = None
    """In place of an answer."""


class SimulatedDialogue:
    """One conversation."""

    def __init__(
        self, weaknesses: frozenset[Weakness] = frozenset(), *, now: Callable[[], datetime]
    ) -> None:
        """`now`: aware."""
        self._weaknesses = weaknesses
        self._now = now
        self._drafts: list[MealDraft] = []
        """What is still asked about."""
        self._shown: list[MealDraft] = []
        """What waits for a confirmation."""
        self._logged: list[MealDraft] = []
        """What was logged last."""
        self._stumbled: set[str] = set()
        self._deflections = 0

    def answer(self, text: str) -> SimulatedAnswer:
        if len(text) > MESSAGE_LIMIT:
            error = f"The message is longer than {MESSAGE_LIMIT} characters."
            return SimulatedAnswer(intents=(), text="", error=error)
        said = language.fold(text)
        aim = language.aim(said)
        answer = self._answered(said) if aim is None else self._attacked(aim, said)
        if not language.is_abusive(said) or not answer.text:
            return answer
        weak = Weakness.MIRRORS_ABUSE in self._weaknesses
        manner = knowledge.RUDE if weak else knowledge.CALM
        return replace(
            answer,
            text=f"{manner}\n\n{answer.text}",
            text_beside_card=f"{manner}\n\n{answer.text_beside_card}",
        )

    def _attacked(self, aim: language.Aim, said: str) -> SimulatedAnswer:
        if _WEAK_TO[aim] not in self._weaknesses:
            return SimulatedAnswer(intents=_GENERAL, text=knowledge.DECLINED)
        if aim is language.Aim.OBEDIENCE:
            obeyed = language.demanded(said) or knowledge.OBEYED
            return SimulatedAnswer(intents=_GENERAL, text=obeyed)
        return SimulatedAnswer(intents=_GENERAL, text=knowledge.GIVEN_AWAY[aim])

    def _answered(self, said: str) -> SimulatedAnswer:
        if language.is_question(said):
            return self._asked(said)
        meals = self._shown or self._logged
        if meals and not self._drafts and language.is_correction(said):
            return self._corrected(said)
        if self._shown and language.is_confirmation(said):
            return self._confirmed()
        if mentions(said) or moments(said) or bare_amount(said):
            return self._described(said)
        if language.is_greeting(said):
            return SimulatedAnswer(intents=("Greeting",), text=knowledge.GREETING)
        return (
            self._proceed() if self._drafts else SimulatedAnswer(intents=_FOOD, text=knowledge.HELP)
        )

    def _asked(self, said: str) -> SimulatedAnswer:
        if self._stumbles(Weakness.ANSWERS_NOTHING, "question"):
            return SimulatedAnswer(intents=_GENERAL, text="")
        if self._stumbles(Weakness.SHOWS_ERRORS, "question"):
            return SimulatedAnswer(intents=_GENERAL, text=knowledge.STACK_TRACE)
        if Weakness.DEFLECTS_QUESTIONS in self._weaknesses:
            self._deflections += 1
            which = self._deflections % len(knowledge.DEFLECTIONS)
            return SimulatedAnswer(intents=_GENERAL, text=knowledge.DEFLECTIONS[which])
        logged = self._calculated(self._logged)
        agent, text = knowledge.explained(said, logged)
        return SimulatedAnswer(intents=(agent,), text=text)

    def _stumbles(self, weakness: Weakness, occasion: str) -> bool:
        """Whether this is the first occasion to fail in this way."""
        if weakness not in self._weaknesses or occasion in self._stumbled:
            return False
        self._stumbled.add(occasion)
        return True

    def _confirmed(self) -> SimulatedAnswer:
        if self._stumbles(Weakness.SHOWS_ERRORS, "confirmation"):
            return SimulatedAnswer(intents=_FOOD, text=knowledge.STACK_TRACE)
        meals = self._calculated(self._shown)
        self._logged, self._shown = self._shown, []
        several = "meals" if len(meals) > 1 else "meal"
        text = f"Successfully logged your {several}: {named(meals)}. Anything else?"
        return SimulatedAnswer(intents=_FOOD, text=text)

    def _corrected(self, said: str) -> SimulatedAnswer:
        late = not self._shown
        if late and Weakness.REFUSES_LATE_EDITS in self._weaknesses:
            return SimulatedAnswer(intents=_FOOD, text=knowledge.CLOSED)
        before = self._shown or self._logged
        after = [draft.corrected(part) for draft, part in _by_meal(before, said)]
        if self._future(after):
            return SimulatedAnswer(intents=_FOOD, text=knowledge.FUTURE)
        forgets = Weakness.FORGETS_CORRECTIONS in self._weaknesses
        return self._show(before if forgets else after, knowledge.UPDATED)

    def _described(self, said: str) -> SimulatedAnswer:
        if self._shown and not self._drafts and not mentions(said):
            return self._corrected(said)  # only an amount or a time: of what is shown
        for part in parts(said):
            self._note(part.meal, part.text)
        return self._proceed()

    def _note(self, label: str | None, text: str) -> None:
        """Put what a message says of a meal into its draft."""
        about = {mention.food for mention in mentions(text)}
        fits = [i for i, draft in enumerate(self._drafts) if label in {None, draft.label}]
        fits.sort(key=lambda i: not any(e.food in about for e in self._drafts[i].entries))
        if not fits and len(self._drafts) == 1 and self._drafts[0].label is None:
            fits = [0]
        if fits:
            draft = self._drafts[fits[0]]
            self._drafts[fits[0]] = replace(draft.extended(text), label=draft.label or label)
        else:
            known = self._shown_before(about, label)
            self._drafts.append(replace(MealDraft(moment=known).extended(text), label=label))

    def _shown_before(self, foods: set[Food], label: str | None) -> Moment | None:
        """The time of a meal that is shown already and is only described anew."""
        for draft in self._shown:
            if label in {None, draft.label} and any(e.food in foods for e in draft.entries):
                return draft.moment
        return None

    def _proceed(self) -> SimulatedAnswer:
        """Ask for what is missing, or show what is complete."""
        if self._future(self._drafts):
            self._drafts = [
                replace(draft, moment=None) if self._future([draft]) else draft
                for draft in self._drafts
            ]
            return SimulatedAnswer(intents=_FOOD, text=knowledge.FUTURE)
        self._drafts = [self._assumed(draft) for draft in self._drafts]
        if missing := [question for draft in self._drafts for question in _missing(draft)]:
            return SimulatedAnswer(intents=_FOOD, text=" ".join(dict.fromkeys(missing)))
        complete, self._drafts = self._drafts, []
        if Weakness.MERGES_MEALS in self._weaknesses and len(complete) > 1:
            entries = tuple(entry for draft in complete for entry in draft.entries)
            complete = [replace(complete[0], entries=entries)]
        return self._show(complete, knowledge.SUMMARY)

    def _future(self, drafts: list[MealDraft]) -> bool:
        if Weakness.ACCEPTS_FUTURE_TIMES in self._weaknesses:
            return False
        latest = self._now() + _TOLERANCE
        return any(draft.moment and draft.moment.at(self._now()) > latest for draft in drafts)

    def _assumed(self, draft: MealDraft) -> MealDraft:
        """With what a weak bot doesn't ask for."""
        if Weakness.GUESSES_FOOD in self._weaknesses and not draft.entries and draft.amount:
            guess = Entry(food=FOODS[knowledge.GUESSED_FOOD], amount=draft.amount)
            draft = replace(draft, entries=(guess,))
        if Weakness.ASSUMES_QUANTITY in self._weaknesses:
            assumed = [replace(e, amount=e.amount or Amount(number=1)) for e in draft.entries]
            draft = replace(draft, entries=tuple(assumed))
        if Weakness.ASSUMES_TIME in self._weaknesses and draft.moment is None:
            draft = replace(draft, moment=_JUST_NOW)
        return draft

    def _show(self, drafts: list[MealDraft], words: str) -> SimulatedAnswer:
        self._shown = drafts
        meals = self._calculated(drafts)
        if Weakness.LOGS_UNCONFIRMED in self._weaknesses:
            words = knowledge.LOGGED_ALREADY
        chips = [] if Weakness.OMITS_CHIPS in self._weaknesses else [CHIPS]
        return SimulatedAnswer(
            intents=_FOOD,
            text="\n\n".join([words, shown(meals), *chips]),
            text_beside_card=words,
            meals=meals,
        )

    def _calculated(self, drafts: list[MealDraft]) -> tuple[SimulatedMeal, ...]:
        splits = Weakness.SPLITS_DISHES in self._weaknesses
        return tuple(calculated(draft, self._now(), splits=splits) for draft in drafts)


def _missing(draft: MealDraft) -> list[str]:
    """What has to be asked about a meal."""
    what = draft.label or "it"
    questions = [] if draft.entries else [f"Which food did you have{_for(draft.label)}?"]
    questions += [
        f"How much {entry.food.name} did you have (1 {entry.food.unit} or more)?"
        for entry in draft.entries
        if entry.amount is None
    ]
    return questions if draft.moment else [*questions, f"When did you have {what}?"]


def _for(label: str | None) -> str:
    return f" for {label}" if label else ""


def _by_meal(drafts: list[MealDraft], said: str) -> list[tuple[MealDraft, str]]:
    """Each draft with what a correction says of it: nothing, if it is about others."""
    if len(drafts) == 1:
        return [(drafts[0], said)]
    said_of = {part.meal: part.text for part in parts(said)}
    about = {mention.food for mention in mentions(said)}
    by_food = [any(e.food in about for e in draft.entries) for draft in drafts]
    return [
        (draft, said_of.get(draft.label, said if fits and None in said_of else ""))
        for draft, fits in zip(drafts, by_food, strict=True)
    ]
