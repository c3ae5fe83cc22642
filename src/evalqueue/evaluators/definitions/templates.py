"""The variables of a prompt: `{{name}}` is replaced by a text, in one pass, and nothing else is.

There are no expressions, conditions, loops or filters, so a prompt can't do anything. What is
filled in is not looked at again: a `{{name}}` that somebody said stays what it is.
"""

import re
from collections.abc import Iterator, Mapping

from evalqueue.evaluators.definitions.definition import JudgedUnit

OF_APP: Mapping[str, str] = {
    "app_name": "the app's name",
    "about": "what the app says about the bot",
    "intents": "the app's intents with their descriptions",
}
OF_CONVERSATION: Mapping[str, str] = {
    "transcript": "the conversation; of scope turn: up to the answer that is judged",
    "system_prompt": "the bot's instructions",
    "context": "what was given to the bot besides the messages; of scope turn: in this turn",
    "tool_calls": "the tools called, with arguments and results; of scope turn: in this turn",
}
OF_TURN: Mapping[str, str] = {
    "turn": "the number of the turn that is judged",
    "user_message": "its message",
    "answer": "its answer",
}
_VARIABLE = re.compile(r"\{\{([^{}\n]*)\}\}")


def variables(scope: JudgedUnit) -> Mapping[str, str]:
    """The variables of a prompt, and what each is replaced by."""
    of_all = {**OF_APP, **OF_CONVERSATION}
    return {**of_all, **OF_TURN} if scope is JudgedUnit.TURN else of_all


def used(prompt: str) -> frozenset[str]:
    """The variables in a prompt."""
    return frozenset(name.strip() for name in _VARIABLE.findall(prompt))


def filled(prompt: str, values: Mapping[str, str]) -> str:
    """A prompt with its variables replaced; every one it has must be given."""
    return _VARIABLE.sub(lambda found: values[found[1].strip()], prompt)


def mistakes(prompt: str, scope: JudgedUnit) -> Iterator[str]:
    """What is wrong with a prompt's variables."""
    known = variables(scope)
    for name in sorted(used(prompt) - known.keys()):
        if name in OF_TURN:
            cure = 'write scope = "turn", or use {{transcript}}'
            yield f"{{{{{name}}}}} is about one turn: {cure}"
        else:
            listed = ", ".join(f"{{{{{each}}}}}" for each in known)
            yield f"{{{{{name}}}}} is not a variable: remove it, or correct it. There are {listed}"
    of_conversation = used(prompt) & {*OF_CONVERSATION, *OF_TURN}
    if of_conversation and not of_conversation & {"transcript", "answer"}:
        listed = ", ".join(f"{{{{{each}}}}}" for each in sorted(of_conversation))
        yield (
            f"with {listed} the prompt says what the judge sees, and the bot's answer is not "
            "in it: add {{transcript}}"
        )
    rest = _VARIABLE.sub("", prompt)
    if "{{" in rest or "}}" in rest.replace("}}}", ""):
        yield "a variable is not closed: write {{name}}, on one line"
    if "{%" in rest:
        yield "{% … %} is not understood: only {{name}} is replaced. Remove it"
