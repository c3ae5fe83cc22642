"""The texts that a defined evaluator asks with.

The criterion goes into the system text, which is the same for all conversations. With variables of
the conversation in it, it goes into the message, and says where what was said stands.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from evalqueue.evaluators.apps import App, Rule
from evalqueue.evaluators.conversation import UNKNOWN_TIME, Thread, ToolCall, Turn
from evalqueue.evaluators.definitions import templates
from evalqueue.evaluators.definitions.definition import (
    EvaluatorDefinition,
    Example,
    JudgedUnit,
    LongConversations,
    Output,
    OutputKind,
    TurnPart,
)
from evalqueue.evaluators.judging import prompts, rules, transcript
from evalqueue.evaluators.judging.defined.pairs import Pair, pair_of
from evalqueue.evaluators.judging.lengths import parts
from evalqueue.evaluators.judging.prompts import Prompt, Rendered

FRAME = "defined"
_NONE = "(none)"
_SUBJECTS = {
    JudgedUnit.TURN: "one answer of a chat assistant",
    JudgedUnit.CONVERSATION: "one whole conversation with a chat assistant",
    JudgedUnit.PAIR: "two answers of chat assistants to the same messages",
}
_OF_A_PART = {
    LongConversations.NO_VERDICT: "",
    LongConversations.WORST: "and take nothing for missing that another part may have.",
    LongConversations.BEST: "and nothing else.",
    LongConversations.LAST: "as it stands at the end of this part.",
    LongConversations.MEAN: "and take nothing for missing that another part may have.",
}
_IN_THE_MESSAGE = "The criterion is in the message, around what was said."


class Texts:
    """Makes the texts of one evaluator."""

    def __init__(self, definition: EvaluatorDefinition, app: App, asked: Sequence[Rule]) -> None:
        self._definition = definition
        used = templates.used(definition.prompt)
        values = _app_values(app)
        self.app_values = {name: value for name, value in values.items() if name in used}
        """What of the app the prompt names."""
        self.of_a_part = _OF_A_PART[definition.long_conversations]
        """How a part is to be judged, the end of a sentence."""
        self._frame = prompts.load(FRAME)
        self._prompt = definition.prompt.strip()
        self._is_fixed = used <= templates.OF_APP.keys()
        shows_earlier = self._is_fixed or "transcript" in used
        self._context_turns = definition.context_turns if shows_earlier else 0
        self.fixed: Mapping[str, str] = {
            "subject": _SUBJECTS[definition.scope],
            "about": app.about.strip(),
            "criterion": templates.filled(self._prompt, self.app_values)
            if self._is_fixed
            else _IN_THE_MESSAGE,
            "output": shown_output(definition.output),
            "rules": _shown_rules(asked),
            "examples": _shown_examples(definition),
            "keys": ", ".join(
                ["evidence (spans copied literally from the transcript, each with its turn)"]
                + (["rule_compliance"] if asked else [])
                + ["reasoning (two or three sentences)", "verdict"]
            ),
        }
        """Everything that does not depend on a conversation."""

    @property
    def prompt(self) -> Prompt:
        """The text around the criterion."""
        return self._frame

    def render(self, thread: Thread, turn: Turn | None, shown: Sequence[Turn]) -> Rendered:
        """The question about a conversation, or about one of its turns.

        Args:
            thread: the conversation.
            turn: the one whose answer is judged. None: the conversation is.
            shown: what `visible` returned, or some of these turns in a row.
        """
        shown = self.with_instructions(thread, shown)
        transcribed = _transcript(self._definition, shown)
        values = _conversation_values(shown, turn)
        note = ""
        if turn is not None:
            heading = "The conversation up to the answer to judge:"
            asked = f"Judge the bot's answer of turn {turn.number}."
        elif len(shown) < len(thread.turns):
            heading, asked = "A part of the conversation:", "Judge this part of the conversation."
            note = parts.note(thread, shown, self.of_a_part)
        else:
            heading, asked = "The whole conversation:", "Judge this conversation."
        return self._rendered(thread, turn, transcribed, values, (heading, asked), note)

    def render_pair(self, thread: Thread, pair: Pair) -> Rendered:
        """The question which of two answers is better."""
        pair = self.shown_pair(pair)
        heading = "The conversation, then its end with the first answer and with the second:"
        transcribed = _shown_pair(self._definition, pair)
        values = _conversation_values([*pair.before, *pair.first], None)
        asked = "Judge which of the two is better, whatever their order."
        return self._rendered(thread, None, transcribed, values, (heading, asked))

    def _rendered(
        self,
        thread: Thread,
        turn: Turn | None,
        transcribed: str,
        values: Mapping[str, str],
        ours: tuple[str, str],
        note: str = "",
    ) -> Rendered:
        """A question.

        Args:
            thread: the conversation.
            turn: the one whose answer is judged. None: the conversation is.
            transcribed: what was said.
            values: the variables of the conversation.
            ours: the line above the transcript, and what is asked below it.
            note: which part is shown.
        """
        heading, asked = ours
        fenced = transcript.fence("transcript", transcribed)
        message: list[str] = []
        if not self._is_fixed:
            filled = {**self.app_values, **values, "transcript": fenced}
            message.append(templates.filled(self._prompt, filled))
        message.append(transcript.marker(thread, turn) + note)
        if self._is_fixed:
            message += [heading, fenced]
        message.append(asked)
        return self._frame.render(**self.fixed, message="\n\n".join(message))

    def shown_pair(self, pair: Pair) -> Pair:
        """A pair with the parts that the judge sees of its turns."""
        parts = self._definition.shows
        return Pair(
            before=tuple(_with_parts(each, parts) for each in pair.before),
            first=tuple(_with_parts(each, parts) for each in pair.first),
            second=tuple(_with_parts(each, parts) for each in pair.second),
        )

    def visible(self, thread: Thread, turn: Turn | None) -> Sequence[Turn]:
        """The turns that the judge sees, with the parts that it sees of them."""
        turns = self._all(thread)
        if turn is None:
            return turns
        until = [each for each in turns if each.number <= turn.number]
        return until[-1 - self._context_turns :]

    def with_instructions(self, thread: Thread, shown: Sequence[Turn]) -> list[Turn]:
        """The turns that are shown, with the instructions that apply from a turn before them."""
        return transcript.with_instructions(shown, self._all(thread))

    def _all(self, thread: Thread) -> list[Turn]:
        return [_with_parts(each, self._definition.shows) for each in thread.turns]


def shown_output(output: Output) -> str:
    """What the verdict can be, as a judge reads it."""
    match output.kind:
        case OutputKind.CATEGORY:
            lines = [
                f"- {each.name}: {each.description}" if each.description else f"- {each.name}"
                for each in output.labels
            ]
            order = ", from the best to the worst" if output.ordered else ""
            what = "\n".join([f"verdict is one of these labels{order}:", *lines])
        case OutputKind.BOOLEAN:
            what = "verdict is true or false."
        case OutputKind.NUMBER:
            end = "best" if output.higher_is_better else "worst"
            what = (
                f"verdict is a number from {output.minimum:g} to {output.maximum:g}; "
                f"{output.maximum:g} is the {end}."
            )
    return f"{what}\n{output.description.strip()}".strip()


def example_thread(example: Example, thread_id: str) -> Thread:
    """An example as a conversation."""
    turns = tuple(
        Turn(
            number=number,
            timestamp=UNKNOWN_TIME,
            user_text=each.user,
            bot_text=each.bot,
            alternative=each.alternative,
            system=each.system,
            context=each.context,
            tool_calls=tuple(
                ToolCall(name=call.name, arguments=call.arguments, result=call.result)
                for call in each.tool_calls
            ),
        )
        for number, each in enumerate(example.turns, start=1)
    )
    return Thread(thread_id=thread_id, user_id="example", turns=turns)


def _app_values(app: App) -> dict[str, str]:
    intents = "\n".join(f"- {label.name}: {label.description}" for label in app.intents)
    return {"app_name": app.name, "about": app.about.strip(), "intents": intents}


def _conversation_values(shown: Sequence[Turn], turn: Turn | None) -> dict[str, str]:
    """The variables of a conversation, fenced: none of it is trusted."""
    judged = list(shown) if turn is None else [shown[-1]]
    instructions = [each.system for each in shown if each.system]
    contexts = [each.context for each in judged if each.context]
    calls = [_shown_call(call) for each in judged for call in each.tool_calls]
    values = {
        "system_prompt": transcript.quoted("system-prompt", "\n\n".join(instructions) or _NONE),
        "context": transcript.quoted("context", "\n\n".join(contexts) or _NONE),
        "tool_calls": transcript.quoted("tool-calls", "\n".join(calls) or _NONE),
    }
    if turn is None:
        return values
    return values | {
        "turn": str(turn.number),
        "user_message": transcript.quoted("user-message", shown[-1].user_text),
        "answer": transcript.quoted("answer", shown[-1].bot_text),
    }


def _shown_call(call: ToolCall) -> str:
    result = "(not recorded)" if call.result is None else call.result
    return f"{call.name} {call.arguments}\nResult: {result}"


def _with_parts(turn: Turn, parts: Sequence[TurnPart]) -> Turn:
    """A turn without the recorded parts that the judge does not see."""
    return replace(
        turn,
        system=turn.system if TurnPart.SYSTEM in parts else None,
        context=turn.context if TurnPart.CONTEXT in parts else None,
        tool_calls=turn.tool_calls if TurnPart.TOOLS in parts else (),
        error=turn.error if TurnPart.ERRORS in parts else None,
    )


def _transcript(definition: EvaluatorDefinition, turns: Sequence[Turn]) -> str:
    return transcript.shown(
        turns,
        timed=TurnPart.TIMES in definition.shows,
        with_user=TurnPart.USER in definition.shows,
        with_bot=TurnPart.BOT in definition.shows,
    )


def _shown_pair(definition: EvaluatorDefinition, pair: Pair) -> str:
    # What is the same in both is shown once, so that neither answer has more behind it.
    common = [replace(each, system=None, context=None, tools=None) for each in pair.second]
    blocks = [_transcript(definition, pair.before)] if pair.before else []
    blocks += ["The first answer", _transcript(definition, pair.first)]
    blocks += ["The second answer", _transcript(definition, common)]
    return "\n\n".join(blocks)


def _shown_rules(asked: Sequence[Rule]) -> str:
    if not asked:
        return ""
    return (
        "\n## Rules\n\n"
        "rule_compliance has one entry for each rule, with the rule_id exactly as written.\n"
        "FOLLOWED or VIOLATED only with a reason that you can name; NOT_APPLICABLE where the\n"
        "rule's situation did not arise; NOT_EVALUATED where you can't tell.\n\n"
        f"{rules.listed(asked)}\n"
    )


def _shown_examples(definition: EvaluatorDefinition) -> str:
    if not definition.examples:
        return ""
    blocks = [_shown_example(definition, each) for each in definition.examples]
    return "\n".join(["\n## Examples\n", *blocks, ""])


def _shown_example(definition: EvaluatorDefinition, example: Example) -> str:
    thread = example_thread(example, "example")
    turns = [_with_parts(each, definition.shows) for each in thread.turns]
    is_pair = definition.scope is JudgedUnit.PAIR
    pair = pair_of(replace(thread, turns=tuple(turns))) if is_pair else None
    shown = _transcript(definition, turns) if pair is None else _shown_pair(definition, pair)
    fenced = transcript.fence("example", shown)
    known = {"reasoning": example.reasoning} if example.reasoning else {}
    answer = json.dumps({**known, "verdict": example.verdict}, ensure_ascii=False)
    return f"{fenced}\nThe right answer has: {answer}"
