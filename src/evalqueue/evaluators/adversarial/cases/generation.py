"""Generation: an LLM makes up the cases, one for each slot, and a program checks them.

The result has exactly as many cases as requested, or generation fails: a short list could be taken
for the whole. A case that is missing, blank, too long, a duplicate or contains a forbidden payload
is requested again, with the reason.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Annotated

from pydantic import Field

from evalqueue.codec import clean_text
from evalqueue.evaluators.adversarial.cases import payloads
from evalqueue.evaluators.adversarial.cases.case import (
    EXPECTED_LIMIT,
    LABEL_LIMIT,
    OPENING_LIMIT,
    Case,
    CaseSource,
)
from evalqueue.evaluators.adversarial.cases.slots import Slot
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.judging import prompts
from evalqueue.evaluators.judging.answers import Answer, Form
from evalqueue.evaluators.judging.evaluator import Failure
from evalqueue.evaluators.judging.judge import Judge, Parameters, Question, concurrently, version_of
from evalqueue.evaluators.providers.recorder import CallSite

NAME = "adversarial_cases"
DEFAULT_PARAMETERS = Parameters(temperature=0.9, max_output_tokens=8192)
SLOTS_PER_CALL = 8
ROUNDS = 3

_NEARLY_THE_SAME = 0.9  # of the words of two openings, shared ÷ all
_TAKEN_SHOWN = 100  # openings; all of them are compared
_TAKEN_CHARACTERS = 200  # of each opening shown
_REASONS_SHOWN = 5


class TooFewCases(Exception):
    """Some slots have no usable case."""

    def __init__(self, wanted: int, got: int, reasons: Mapping[int, str]) -> None:
        self.wanted = wanted
        self.got = got
        self.reasons = dict(reasons)
        """The reason for each missing slot, by its number."""
        shown = [f"case {number}: {why}" for number, why in self.reasons.items()][:_REASONS_SHOWN]
        more = len(self.reasons) - len(shown)
        super().__init__(
            f"Of {wanted} cases only {got} could be made up, after {ROUNDS} rounds of asking. "
            + "; ".join([*shown, *([f"and {more} more"] if more else [])])
            + ". Ask for fewer, choose more traits, or use another model."
        )


class WrittenCase(Answer):
    """The LLM's case for one slot."""

    slot: Annotated[int, Field(description="the number from the list of cases to write")]
    situation: Annotated[str, Field(description="who this is and what happened, in one sentence")]
    expected_behavior: Annotated[str, Field(description="what a good assistant does, turn by turn")]
    label: Annotated[str, Field(description="at most eight words")]
    opening: Annotated[str, Field(description="the user's first message, literally")]


class CasesAnswer(Answer):
    cases: list[WrittenCase]


async def generate(
    app: App,
    slots: Sequence[Slot],
    judge: Judge,
    *,
    instructions: str = "",
    taken: Iterable[str] = (),
    parameters: Parameters = DEFAULT_PARAMETERS,
) -> list[Case]:
    """A case for every slot, in their order.

    Args:
        instructions: the user's extra instructions for the LLM.
        taken: openings that exist already. No new opening has the same or nearly the same words.

    Raises:
        TooFewCases: some slots have no usable case.
        ProviderError: every later call would fail in the same way.
        ValueError: the app has no difficult users.
    """
    if app.difficult_users is None:
        raise ValueError(f"{app.app_id} has no [difficult_users] section: it has no such users.")
    writer = _Writer(app, app.difficult_users, slots, judge, instructions, parameters)
    openings = _Openings()
    for opening in taken:
        openings.add(opening)
        await asyncio.sleep(0)  # there may be thousands, and the job's lease must be renewed
    made: dict[int, Case] = {}
    reasons: dict[int, str] = {}
    for _ in range(ROUNDS):
        left = [slot for slot in slots if slot.number not in made]
        if not left:
            break
        written = await writer.write(left, openings, reasons)
        reasons.clear()
        for slot in left:
            found = _case(slot, written[slot.number], openings, app.difficult_users)
            if isinstance(found, Case):
                made[slot.number] = found
                openings.add(found.opening)
            else:
                reasons[slot.number] = found
            await asyncio.sleep(0)
    if reasons:
        raise TooFewCases(len(slots), len(made), reasons)
    return [made[slot.number] for slot in slots]


def version(app: App, parameters: Parameters = DEFAULT_PARAMETERS) -> str:
    """A digest of everything that influences the cases, except the model."""
    about = [app.about.strip(), app.difficult_users]
    return version_of(
        prompts.load(NAME), schema=Form(CasesAnswer).schema, app=about, parameters=parameters
    )


class _Openings:
    """Openings that must not be repeated, indexed by their words."""

    def __init__(self) -> None:
        self._taken: list[str] = []
        self._words: list[frozenset[str]] = []
        self._plain: dict[str, str] = {}
        self._with_word: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, opening: str) -> None:
        words = _words(opening)
        for word in words:
            self._with_word[word].append(len(self._taken))
        self._taken.append(opening)
        self._words.append(words)
        self._plain[_plain(opening)] = opening

    def like(self, opening: str) -> str | None:
        """An opening that is equal or nearly equal, if there is one."""
        if (plain := _plain(opening)) in self._plain:
            return self._plain[plain]
        words = _words(opening)
        alike = (each for each in self._candidates(words) if _alike(words, self._words[each]))
        first = min(alike, default=None)
        return None if first is None else self._taken[first]

    def _candidates(self, words: frozenset[str]) -> set[int]:
        """The openings that can be nearly equal. Each lacks at most n of the words, so it contains
        at least one of any n + 1 words. The rarest n + 1 words give the fewest candidates."""
        lacked = len(words) - ceil(_NEARLY_THE_SAME * len(words))
        found = sorted((self._with_word.get(word, []) for word in words), key=len)
        return {each for holders in found[: lacked + 1] for each in holders}

    def listed(self) -> str:
        lines = [f"- {_short(each)}" for each in self._taken[-_TAKEN_SHOWN:]]
        return "\n".join(lines) or "(none)"


class _Writer:
    """Requests cases from the LLM, in concurrent batches."""

    def __init__(
        self,
        app: App,
        users: DifficultUsers,
        slots: Sequence[Slot],
        judge: Judge,
        instructions: str,
        parameters: Parameters,
    ) -> None:
        self._prompt = prompts.load(NAME)
        self._about = {"about": app.about.strip(), **_menus(users, slots)}
        self._form = Form(CasesAnswer)
        self._judge = judge
        self._instructions = clean_text(instructions.strip())
        self._parameters = parameters

    async def write(
        self, slots: Sequence[Slot], openings: _Openings, reasons: Mapping[int, str]
    ) -> dict[int, WrittenCase | str]:
        """The LLM's case for each slot, or why there is none."""
        batches = [slots[at : at + SLOTS_PER_CALL] for at in range(0, len(slots), SLOTS_PER_CALL)]
        taken = openings.listed()
        answers = await concurrently(
            self._judge.answer(self._question(batch, taken, reasons)) for batch in batches
        )
        written: dict[int, WrittenCase | str] = {}
        for batch, answer in zip(batches, answers, strict=True):
            if isinstance(answer, Failure):
                written |= {slot.number: f"no answer came: {answer.message}" for slot in batch}
                continue
            first = {each.slot: each for each in reversed(answer.cases)}
            missing = "it was missing from the answer."
            written |= {slot.number: first.get(slot.number, missing) for slot in batch}
        return written

    def _question(
        self, batch: Sequence[Slot], taken: str, reasons: Mapping[int, str]
    ) -> Question[CasesAnswer]:
        again = [slot for slot in batch if slot.number in reasons]
        asked = ["Asked for besides:", self._instructions] if self._instructions else []
        asked += ["These were written before and could not be used:"] if again else []
        asked += [f"- slot {slot.number}: {reasons[slot.number]}" for slot in again]
        return Question(
            site=CallSite(evaluator=NAME, label=f"cases {batch[0].number} to {batch[-1].number}"),
            text=self._prompt.render(
                **self._about,
                slots="\n".join(_line(slot) for slot in batch),
                taken=taken,
                instructions="\n".join(asked),
                count=str(len(batch)),
            ),
            form=self._form,
            parameters=self._parameters,
        )


def _case(
    slot: Slot, written: WrittenCase | str, openings: _Openings, users: DifficultUsers
) -> Case | str:
    """The case of a slot, or why the LLM's case can't be used."""
    if isinstance(written, str):
        return written
    opening = clean_text(written.opening.strip())
    expected = clean_text(written.expected_behavior.strip())
    if not opening or not expected:
        return f"its {'expected_behavior' if opening else 'opening'} was empty."
    if len(opening) > OPENING_LIMIT or len(expected) > EXPECTED_LIMIT:
        return "it was too long."
    if other := openings.like(opening):
        return f"its opening was nearly the same as {_short(other)}."
    if reason := payloads.refusal(opening, allows_destructive=users.allows_destructive):
        return f"its opening can't be sent: {reason}"
    return Case(
        opening=opening,
        expected_behavior=expected,
        difficulty=slot.difficulty,
        persona=slot.persona,
        traits=slot.traits,
        goals=slot.goals,
        tactic=slot.tactic,
        objective=slot.objective,
        source=CaseSource.GENERATED,
        label=clean_text(written.label.strip(), limit=LABEL_LIMIT),
    )


def _line(slot: Slot) -> str:
    return (
        f"- slot {slot.number}: traits: {', '.join(slot.traits) or '-'}; "
        f"goals: {', '.join(slot.goals) or '-'}; persona: {slot.persona}; "
        f"tactic: {slot.tactic or '-'}"
    )


def _menus(users: DifficultUsers, slots: Sequence[Slot]) -> dict[str, str]:
    """The meaning of the slots' names. It is the same for every batch, so vendors can cache it."""
    traits = [
        f"- {each.name}: {each.description} {each.behaviour} A good assistant: {each.expected}"
        for each in users.traits
        if any(each.name in slot.traits for slot in slots)
    ]
    tactics = [
        f"- {each.name} (an attacker's tactic): {each.behaviour} {each.objective}"
        for each in users.tactics
        if any(each.name == slot.tactic for slot in slots)
    ]
    goals = [
        f"- {each.goal_id}: {each.description} {each.behaviour}"
        for each in users.goals
        if any(each.goal_id in slot.goals for slot in slots)
    ]
    personas = [
        f"- {each.name}: {each.behaviour}"
        for each in users.personas
        if any(each.name == slot.persona for slot in slots)
    ]
    return {
        "traits": "\n".join([*traits, *tactics]),
        "goals": "\n".join(goals),
        "personas": "\n".join(personas),
    }


def _plain(opening: str) -> str:
    return " ".join(opening.casefold().split())


def _words(opening: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", opening.casefold()))


def _alike(ones: frozenset[str], others: frozenset[str]) -> bool:
    return bool(ones) and len(ones & others) >= _NEARLY_THE_SAME * len(ones | others)


def _short(opening: str) -> str:
    """An opening as one line of a prompt. Its content is untrusted."""
    return json.dumps(clean_text(opening, limit=_TAKEN_CHARACTERS), ensure_ascii=False)
