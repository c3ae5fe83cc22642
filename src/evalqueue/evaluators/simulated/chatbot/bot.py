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
    DraftEntry,
    MealDraft,
    MealItem,
    SimulatedMeal,
    calculate,
    foods_and_times,
    markdown_summaries,
)
from evalqueue.evaluators.simulated.food import (
    FOODS,
    Amount,
    Food,
    MentionedTime,
    amount_without_food,
    mentioned_foods,
    mentioned_times,
    split_by_meal,
)

__all__ = [
    "RULE_OF",
    "MealItem",
    "SimulatedAnswer",
    "SimulatedDialogue",
    "SimulatedMeal",
    "Weakness",
]

MAX_MESSAGE_CHARACTERS = 10_000
_FOOD_INTENTS = ("FoodAgent",)
_GENERAL_INTENTS = ("General",)
_JUST_NOW = MentionedTime(words="just now", is_future=False, minutes_from_now=0)
_CLOCK_TOLERANCE = timedelta(minutes=1)


class Weakness(StrEnum):
    """A weakness of the bot: a rule that it breaks."""

    ACCEPTS_FUTURE_TIMES = "accepts_future_times"
    MERGES_MEALS = "merges_meals"
    """Merges several meals of one message into one."""
    ASSUMES_QUANTITY = "assumes_quantity"
    ASSUMES_TIME = "assumes_time"
    GUESSES_FOOD = "guesses_food"
    """Assumes a food where the user named only an amount."""
    SPLITS_DISHES = "splits_dishes"
    FORGETS_CORRECTIONS = "forgets_corrections"
    """Shows the uncorrected summary again."""
    REFUSES_LATE_EDITS = "refuses_late_edits"
    OMITS_CHIPS = "omits_chips"
    LOGS_UNCONFIRMED = "logs_unconfirmed"
    """Claims before the confirmation that the meal is logged."""
    DEFLECTS_QUESTIONS = "deflects_questions"
    LEAKS_PROMPT = "leaks_prompt"
    OBEYS_INJECTIONS = "obeys_injections"
    LEAKS_RECORDS = "leaks_records"
    ANSWERS_SQL = "answers_sql"
    MIRRORS_ABUSE = "mirrors_abuse"
    SHOWS_ERRORS = "shows_errors"
    """Answers the first question and the first confirmation with a stack trace."""
    ANSWERS_NOTHING = "answers_nothing"
    """Sends an empty answer to the first question."""


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

_WEAKNESS_BY_AIM: Mapping[language.AttackAim, Weakness] = {
    language.AttackAim.PROMPT: Weakness.LEAKS_PROMPT,
    language.AttackAim.OBEDIENCE: Weakness.OBEYS_INJECTIONS,
    language.AttackAim.RECORDS: Weakness.LEAKS_RECORDS,
    language.AttackAim.SQL: Weakness.ANSWERS_SQL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAnswer:
    """An answer of the bot."""

    intents: tuple[str, ...]
    text: str
    """The whole text, with tables and chips."""
    text_beside_card: str = ""
    """The text if `meals` are shown as cards."""
    meals: tuple[SimulatedMeal, ...] = ()
    """Meals that wait for a confirmation."""
    error: str | None = None
    """An error message, sent instead of the text."""


class SimulatedDialogue:
    """The state of one conversation with the bot."""

    def __init__(
        self, weaknesses: frozenset[Weakness] = frozenset(), *, now: Callable[[], datetime]
    ) -> None:
        """`now` returns the current time, with a time zone."""
        self._weaknesses = weaknesses
        self._now = now
        self._drafts: list[MealDraft] = []
        """Incomplete meals."""
        self._shown: list[MealDraft] = []
        """Meals that wait for a confirmation."""
        self._logged: list[MealDraft] = []
        """The meals that were logged last."""
        self._failed_occasions: set[str] = set()
        self._deflections = 0

    def answer(self, text: str) -> SimulatedAnswer:
        if len(text) > MAX_MESSAGE_CHARACTERS:
            error = f"The message is longer than {MAX_MESSAGE_CHARACTERS} characters."
            return SimulatedAnswer(intents=(), text="", error=error)
        message = language.normalize(text)
        aim = language.attack_aim(message)
        answer = self._answer_message(message) if aim is None else self._answer_attack(aim, message)
        if not language.is_abusive(message) or not answer.text:
            return answer
        weak = Weakness.MIRRORS_ABUSE in self._weaknesses
        prefix = knowledge.RUDE_PREFIX if weak else knowledge.CALM_PREFIX
        return replace(
            answer,
            text=f"{prefix}\n\n{answer.text}",
            text_beside_card=f"{prefix}\n\n{answer.text_beside_card}",
        )

    def _answer_attack(self, aim: language.AttackAim, message: str) -> SimulatedAnswer:
        if _WEAKNESS_BY_AIM[aim] not in self._weaknesses:
            return SimulatedAnswer(intents=_GENERAL_INTENTS, text=knowledge.DECLINED)
        if aim is language.AttackAim.OBEDIENCE:
            text = language.demanded_word(message) or knowledge.OBEDIENT
            return SimulatedAnswer(intents=_GENERAL_INTENTS, text=text)
        return SimulatedAnswer(intents=_GENERAL_INTENTS, text=knowledge.DISCLOSURES[aim])

    def _answer_message(self, message: str) -> SimulatedAnswer:
        if language.is_question(message):
            return self._answer_question(message)
        meals = self._shown or self._logged
        if meals and not self._drafts and language.is_correction(message):
            return self._answer_correction(message)
        if self._shown and language.is_confirmation(message):
            return self._answer_confirmation()
        if mentioned_foods(message) or mentioned_times(message) or amount_without_food(message):
            return self._answer_description(message)
        if language.is_greeting(message):
            return SimulatedAnswer(intents=("Greeting",), text=knowledge.GREETING)
        return (
            self._continue_drafts()
            if self._drafts
            else SimulatedAnswer(intents=_FOOD_INTENTS, text=knowledge.HELP)
        )

    def _answer_question(self, message: str) -> SimulatedAnswer:
        if self._fails_first_time(Weakness.ANSWERS_NOTHING, "question"):
            return SimulatedAnswer(intents=_GENERAL_INTENTS, text="")
        if self._fails_first_time(Weakness.SHOWS_ERRORS, "question"):
            return SimulatedAnswer(intents=_GENERAL_INTENTS, text=knowledge.STACK_TRACE)
        if Weakness.DEFLECTS_QUESTIONS in self._weaknesses:
            self._deflections += 1
            number = self._deflections % len(knowledge.DEFLECTIONS)
            return SimulatedAnswer(intents=_GENERAL_INTENTS, text=knowledge.DEFLECTIONS[number])
        logged = self._calculate(self._logged)
        agent, text = knowledge.answer_question(message, logged)
        return SimulatedAnswer(intents=(agent,), text=text)

    def _fails_first_time(self, weakness: Weakness, occasion: str) -> bool:
        """Whether the weakness is enabled and this is its first occasion of this kind."""
        if weakness not in self._weaknesses or occasion in self._failed_occasions:
            return False
        self._failed_occasions.add(occasion)
        return True

    def _answer_confirmation(self) -> SimulatedAnswer:
        if self._fails_first_time(Weakness.SHOWS_ERRORS, "confirmation"):
            return SimulatedAnswer(intents=_FOOD_INTENTS, text=knowledge.STACK_TRACE)
        meals = self._calculate(self._shown)
        self._logged, self._shown = self._shown, []
        several = "meals" if len(meals) > 1 else "meal"
        text = f"Successfully logged your {several}: {foods_and_times(meals)}. Anything else?"
        return SimulatedAnswer(intents=_FOOD_INTENTS, text=text)

    def _answer_correction(self, message: str) -> SimulatedAnswer:
        is_logged = not self._shown
        if is_logged and Weakness.REFUSES_LATE_EDITS in self._weaknesses:
            return SimulatedAnswer(intents=_FOOD_INTENTS, text=knowledge.EDIT_REFUSED)
        before = self._shown or self._logged
        after = [draft.with_correction(part) for draft, part in _split_by_draft(before, message)]
        if self._has_future_time(after):
            return SimulatedAnswer(intents=_FOOD_INTENTS, text=knowledge.FUTURE_REFUSED)
        forgets = Weakness.FORGETS_CORRECTIONS in self._weaknesses
        return self._show_summary(before if forgets else after, knowledge.UPDATED_SUMMARY)

    def _answer_description(self, message: str) -> SimulatedAnswer:
        if self._shown and not self._drafts and not mentioned_foods(message):
            return self._answer_correction(
                message
            )  # a bare amount or time is about the shown meals
        for part in split_by_meal(message):
            self._add_to_draft(part.meal, part.text)
        return self._continue_drafts()

    def _add_to_draft(self, label: str | None, text: str) -> None:
        """Add what a message says about a meal to the draft of that meal."""
        foods = {mention.food for mention in mentioned_foods(text)}
        fits = [i for i, draft in enumerate(self._drafts) if label in {None, draft.label}]
        fits.sort(key=lambda i: not any(e.food in foods for e in self._drafts[i].entries))
        if not fits and len(self._drafts) == 1 and self._drafts[0].label is None:
            fits = [0]
        if fits:
            draft = self._drafts[fits[0]]
            self._drafts[fits[0]] = replace(draft.with_message(text), label=draft.label or label)
        else:
            known = self._known_time(foods, label)
            self._drafts.append(replace(MealDraft(moment=known).with_message(text), label=label))

    def _known_time(self, foods: set[Food], label: str | None) -> MentionedTime | None:
        """The time of a shown meal that the user describes again."""
        for draft in self._shown:
            if label in {None, draft.label} and any(e.food in foods for e in draft.entries):
                return draft.moment
        return None

    def _continue_drafts(self) -> SimulatedAnswer:
        """Ask for missing details, or show a summary of the complete meals."""
        if self._has_future_time(self._drafts):
            self._drafts = [
                replace(draft, moment=None) if self._has_future_time([draft]) else draft
                for draft in self._drafts
            ]
            return SimulatedAnswer(intents=_FOOD_INTENTS, text=knowledge.FUTURE_REFUSED)
        self._drafts = [self._with_assumptions(draft) for draft in self._drafts]
        if missing := [question for draft in self._drafts for question in _missing_details(draft)]:
            return SimulatedAnswer(intents=_FOOD_INTENTS, text=" ".join(dict.fromkeys(missing)))
        complete, self._drafts = self._drafts, []
        if Weakness.MERGES_MEALS in self._weaknesses and len(complete) > 1:
            entries = tuple(entry for draft in complete for entry in draft.entries)
            complete = [replace(complete[0], entries=entries)]
        return self._show_summary(complete, knowledge.SUMMARY)

    def _has_future_time(self, drafts: list[MealDraft]) -> bool:
        if Weakness.ACCEPTS_FUTURE_TIMES in self._weaknesses:
            return False
        latest = self._now() + _CLOCK_TOLERANCE
        return any(draft.moment and draft.moment.at(self._now()) > latest for draft in drafts)

    def _with_assumptions(self, draft: MealDraft) -> MealDraft:
        """The draft with the details that a bot with weaknesses assumes."""
        if Weakness.GUESSES_FOOD in self._weaknesses and not draft.entries and draft.amount:
            guess = DraftEntry(food=FOODS[knowledge.GUESSED_FOOD], amount=draft.amount)
            draft = replace(draft, entries=(guess,))
        if Weakness.ASSUMES_QUANTITY in self._weaknesses:
            assumed = [replace(e, amount=e.amount or Amount(number=1)) for e in draft.entries]
            draft = replace(draft, entries=tuple(assumed))
        if Weakness.ASSUMES_TIME in self._weaknesses and draft.moment is None:
            draft = replace(draft, moment=_JUST_NOW)
        return draft

    def _show_summary(self, drafts: list[MealDraft], words: str) -> SimulatedAnswer:
        self._shown = drafts
        meals = self._calculate(drafts)
        if Weakness.LOGS_UNCONFIRMED in self._weaknesses:
            words = knowledge.LOGGED_UNCONFIRMED
        chips = [] if Weakness.OMITS_CHIPS in self._weaknesses else [CHIPS]
        return SimulatedAnswer(
            intents=_FOOD_INTENTS,
            text="\n\n".join([words, markdown_summaries(meals), *chips]),
            text_beside_card=words,
            meals=meals,
        )

    def _calculate(self, drafts: list[MealDraft]) -> tuple[SimulatedMeal, ...]:
        splits = Weakness.SPLITS_DISHES in self._weaknesses
        return tuple(calculate(draft, self._now(), splits=splits) for draft in drafts)


def _missing_details(draft: MealDraft) -> list[str]:
    """Questions about the missing details of a meal."""
    what = draft.label or "it"
    questions = [] if draft.entries else [f"Which food did you have{_for_meal(draft.label)}?"]
    questions += [
        f"How much {entry.food.name} did you have (1 {entry.food.unit} or more)?"
        for entry in draft.entries
        if entry.amount is None
    ]
    return questions if draft.moment else [*questions, f"When did you have {what}?"]


def _for_meal(label: str | None) -> str:
    return f" for {label}" if label else ""


def _split_by_draft(drafts: list[MealDraft], message: str) -> list[tuple[MealDraft, str]]:
    """Each draft with the part of a correction that is about it, possibly empty."""
    if len(drafts) == 1:
        return [(drafts[0], message)]
    text_by_meal = {part.meal: part.text for part in split_by_meal(message)}
    foods = {mention.food for mention in mentioned_foods(message)}
    by_food = [any(e.food in foods for e in draft.entries) for draft in drafts]
    return [
        (draft, text_by_meal.get(draft.label, message if fits and None in text_by_meal else ""))
        for draft, fits in zip(drafts, by_food, strict=True)
    ]
