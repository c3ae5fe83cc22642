"""The chatbot that a job names, and how its params become a target and credentials.

The job names a protocol, an address, and credentials by their names. The environment of the process
determines which of these exist.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from evalqueue.errors import InvalidParams, Problem
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.chatbots import registry, targets
from evalqueue.evaluators.chatbots.scripted import Cue
from evalqueue.evaluators.chatbots.targets import ChatbotSettings, Credential, Target, TargetRefused
from evalqueue.problems import OneLine, StrictNumbers, explained

T = TypeVar("T")
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), OneLine]


class ChatbotParams(StrictNumbers):
    """The system under test. Params never contain tokens: `credentials` names the workers' own."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    protocol: str | None = None
    """`kaira_v1`, `kaira_v2`, `openai`, `webhook` or `scripted`; the default is the app's."""
    url: str | None = Field(default=None, min_length=1, max_length=2_000)
    """The address; the default is `EVALQUEUE_CHATBOT_URL` of the worker. Its host must be one of
    `EVALQUEUE_CHATBOT_HOSTS`."""
    model: Annotated[str, Field(min_length=1, max_length=200), OneLine] | None = None
    """For `openai`: the model to request."""
    credentials: list[Name] = Field(default_factory=list[Name], max_length=100)
    """Names from `EVALQUEUE_CHATBOT_CREDENTIALS`. One case runs at a time with each of them. An
    empty list means one case at a time, without a token."""
    timeout_seconds: float = Field(default=120.0, ge=1, le=300)
    """The longest time without any data."""
    reply_seconds: float = Field(default=300.0, ge=1, le=1_800)
    """The longest time for one whole answer."""
    script: list[Cue] | None = Field(default=None, min_length=1, max_length=1_000)
    """For `scripted`: the answers."""

    def protocol_for(self, app: App) -> str:
        """The name of the chatbot's protocol.

        Raises:
            TargetRefused: there is no such protocol, or it can't be combined with a script.
        """
        protocol = self.protocol or difficult_users(app).protocol
        if protocol not in registry.PROTOCOLS:
            known = ", ".join(registry.PROTOCOLS)
            raise TargetRefused(f"There is no protocol {protocol!r}. Known: {known}.")
        if (protocol == "scripted") is (self.script is None):
            raise TargetRefused("A scripted chatbot needs a script, and no other one has one")
        return protocol

    def target(self, app: App, settings: ChatbotSettings) -> Target | None:
        """The chatbot's endpoint. None: only the worker's environment has its address.

        Raises:
            TargetRefused: connections to it are not allowed.
        """
        protocol = self.protocol_for(app)
        if self.script is not None:
            return targets.scripted(self.script)
        url = self.url
        if url is None and settings.url is not None:
            url = settings.url.get_secret_value()
        if url is None:
            return None
        return targets.check(
            url,
            settings,
            protocol=protocol,
            model=self.model,
            timeout_seconds=self.timeout_seconds,
            reply_seconds=self.reply_seconds,
        )

    def credentials_for(self, target: Target, settings: ChatbotSettings) -> tuple[Credential, ...]:
        """The credentials that the job names, each user of the bot once.

        Raises:
            TargetRefused: one does not exist, or is not for this chatbot.
        """
        return targets.credentials(self.credentials, target, settings)


def difficult_users(app: App) -> DifficultUsers:
    """An app's description of its difficult users.

    Raises:
        UnknownApp: the app has no such description.
    """
    if app.difficult_users is None:
        raise apps.UnknownApp(
            f"The app {app.app_id!r} has no section [difficult_users], which describes its "
            "difficult users."
        )
    return app.difficult_users


async def refuse_unfit(chatbot: ChatbotParams, app: App) -> None:
    """Refuse a chatbot that a job can't open. No connection is made.

    Raises:
        InvalidParams: naming what is wrong.
    """
    _refusing("app_id", lambda: difficult_users(app))
    settings = _refusing("chatbot", chatbot_settings)
    _refusing("chatbot.protocol", lambda: chatbot.protocol_for(app))
    target = _refusing("chatbot.url", lambda: chatbot.target(app, settings))
    if target is None or (chatbot.credentials and not settings.credentials):
        return  # only the worker has the address, or credentials: it reports what is wrong
    credentials = _refusing(
        "chatbot.credentials", lambda: chatbot.credentials_for(target, settings)
    )
    for credential in credentials or (None,):
        opened = _refusing("chatbot", partial(registry.open_chatbot, target, credential, app))
        await opened.aclose()


def tested(chatbot: ChatbotParams, app: App) -> tuple[Target, tuple[Credential, ...]]:
    """The endpoint and the credentials of a job, by the settings of this worker.

    Raises:
        TargetRefused: there is no address, or something is not allowed.
    """
    settings = chatbot_settings()
    target = chatbot.target(app, settings)
    if target is None:
        raise TargetRefused(
            "Where is the chatbot? Set chatbot.url, or EVALQUEUE_CHATBOT_URL where the workers run"
        )
    return target, chatbot.credentials_for(target, settings)


def _refusing(field: str, found: Callable[[], T]) -> T:
    """The result of `found`. A ValueError or LookupError becomes an InvalidParams for the field."""
    try:
        return found()
    except (ValueError, LookupError) as error:
        loc = ("params", *field.split("."))
        raise InvalidParams([Problem(loc=loc, msg=str(error))]) from error


def chatbot_settings() -> ChatbotSettings:
    """The chatbot settings from this process's environment.

    Raises:
        TargetRefused: the settings are invalid.
    """
    try:
        return targets.read()
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}"
            for mistake in explained(error)
        )
        raise TargetRefused(
            f"The settings of the API or the worker can't be read: {mistakes}"
        ) from None
