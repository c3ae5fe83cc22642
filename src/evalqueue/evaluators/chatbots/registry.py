"""The protocols, and how a bot with each of them is opened. A new protocol needs one opener here.

The openers import their modules when called: an HTTP client takes long to load, and most processes
that know the job type never connect to a bot.
"""

from collections.abc import Callable, Mapping

from evalqueue.evaluators.apps import App
from evalqueue.evaluators.chatbots.protocol import Chatbot
from evalqueue.evaluators.chatbots.targets import Credential, Target, TargetRefused

Opener = Callable[[Target, Credential | None, App], Chatbot]


def open_chatbot(target: Target, credential: Credential | None, app: App) -> Chatbot:
    """A bot, not connected yet. The caller must call its `aclose`.

    Raises:
        TargetRefused: there is no such protocol, or the target, the credential or the app lacks
            what the protocol needs.
    """
    opener = PROTOCOLS.get(target.protocol)
    if opener is None:
        raise TargetRefused(
            f"There is no protocol {target.protocol!r}; the names are: {', '.join(PROTOCOLS)}."
        )
    return opener(target, credential, app)


def _kaira_v1(target: Target, credential: Credential | None, _app: App) -> Chatbot:
    from evalqueue.evaluators.chatbots.kaira.v1 import KairaV1

    return KairaV1(target, credential)


def _kaira_v2(target: Target, credential: Credential | None, _app: App) -> Chatbot:
    from evalqueue.evaluators.chatbots.kaira.v2 import KairaV2

    return KairaV2(target, credential)


def _openai(target: Target, credential: Credential | None, _app: App) -> Chatbot:
    from evalqueue.evaluators.chatbots.openai_compatible import OpenAICompatible

    return OpenAICompatible(target, credential)


def _webhook(target: Target, credential: Credential | None, app: App) -> Chatbot:
    from evalqueue.evaluators.chatbots.webhook import WebhookChatbot

    webhook = app.difficult_users.webhook if app.difficult_users else None
    if webhook is None:
        raise TargetRefused(
            f"The app {app.app_id} does not describe a webhook: add [difficult_users.webhook]."
        )
    return WebhookChatbot(webhook, target, credential)


def _scripted(target: Target, _credential: Credential | None, _app: App) -> Chatbot:
    from evalqueue.evaluators.chatbots.scripted import ScriptedChatbot

    return ScriptedChatbot(target.script)


PROTOCOLS: Mapping[str, Opener] = {
    "kaira_v1": _kaira_v1,
    "kaira_v2": _kaira_v2,
    "openai": _openai,
    "webhook": _webhook,
    "scripted": _scripted,
}
"""The protocols by name, and their openers."""
