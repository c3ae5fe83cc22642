"""The protocols of chatbots, and how a bot with one of them is opened.

A protocol's module has a function `open_chatbot`, an `Opener`. It is imported when a bot is opened:
an HTTP client takes long to load, and most processes that know the job type never connect to a bot.
"""

from collections.abc import Callable, Mapping
from typing import cast

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.chatbots.protocol import Chatbot
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused
from evalqueue.evaluators.loading import load

Opener = Callable[[Target, Credential | None, App], Chatbot]

PROTOCOLS: Mapping[str, str] = {
    "kaira_v1": "protocols.kaira.v1",
    "kaira_v2": "protocols.kaira.v2",
    "openai": "protocols.openai_compatible",
    "webhook": "protocols.webhook",
    "scripted": "scripted",
}
"""The modules of the protocols, by the protocols' names."""


def open_chatbot(target: Target, credential: Credential | None, app: App) -> Chatbot:
    """A bot, not connected yet. The caller must call its `aclose`.

    Raises:
        TargetRefused: there is no such protocol, or the target, the credential or the app lacks
            what the protocol needs.
    """
    module = PROTOCOLS.get(target.protocol)
    if module is None:
        raise TargetRefused(
            f"There is no protocol {target.protocol!r}; the names are: {', '.join(PROTOCOLS)}."
        )
    found = load(f"{__package__}.{module}")
    return cast("Opener", found.open_chatbot)(target, credential, app)
