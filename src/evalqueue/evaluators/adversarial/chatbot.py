"""The chatbot that a job names: what may be asked of it, and what this process makes of that.

The job names a protocol, an address and credentials by their names; which of these there are, the
environment of the process says.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.chatbots import registry, targets
from evalqueue.evaluators.chatbots.scripted import Cue
from evalqueue.evaluators.chatbots.targets import ChatbotSettings, Credential, Target, TargetRefused

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class ChatbotParams(BaseModel):
    """The system under test. Tokens are never here: `credentials` names those of the workers."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    protocol: str | None = None
    """`kaira_v1`, `kaira_v2`, `openai`, `webhook` or `scripted`; without it, the profile's."""
    url: str | None = Field(default=None, min_length=1, max_length=2_000)
    """Where it is; without it, `EVALQUEUE_CHATBOT_URL` of the worker. Its host must be one of
    `EVALQUEUE_CHATBOT_HOSTS`."""
    model: str | None = Field(default=None, min_length=1, max_length=200)
    """For `openai`: the model to ask for."""
    credentials: list[Name] = Field(default_factory=list[Name], max_length=100)
    """Names from `EVALQUEUE_CHATBOT_CREDENTIALS`: each is a lane, in which one case runs at a time.
    None: one lane, without a token."""
    timeout_seconds: float = Field(default=120.0, ge=1, le=300)
    """At most so long may nothing come."""
    reply_seconds: float = Field(default=300.0, ge=1, le=1_800)
    """At most so long may one answer take."""
    script: list[Cue] | None = Field(default=None, min_length=1, max_length=1_000)
    """For `scripted`: what it answers."""

    def protocol_for(self, app: App) -> str:
        """How the chatbot is spoken to.

        Raises:
            TargetRefused: there is no such protocol, or it doesn't go with a script.
        """
        protocol = self.protocol or difficult_users(app).protocol
        if protocol not in registry.PROTOCOLS:
            known = ", ".join(registry.PROTOCOLS)
            raise TargetRefused(f"There is no protocol {protocol!r}. Known: {known}.")
        if (protocol == "scripted") is (self.script is None):
            raise TargetRefused("A scripted chatbot needs a script, and no other one has one")
        return protocol

    def target(self, app: App, settings: ChatbotSettings) -> Target | None:
        """The chatbot that is meant; None: only the worker knows, from its environment.

        Raises:
            TargetRefused: it may not be spoken to.
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
        """The credentials that are meant, each user of the bot once.

        Raises:
            TargetRefused: one is not there, or is not for this chatbot.
        """
        return targets.credentials(self.credentials, target, settings)


def difficult_users(app: App) -> DifficultUsers:
    """What a profile says about difficult users.

    Raises:
        UnknownProfile: it says nothing.
    """
    if app.difficult_users is None:
        raise apps.UnknownApp(
            f"The app {app.app_id!r} has no section [difficult_users]: nobody has said who its "
            "difficult users are."
        )
    return app.difficult_users


def chatbot_settings() -> ChatbotSettings:
    """What this process's environment says about chatbots.

    Raises:
        TargetRefused: it can't be read.
    """
    try:
        return targets.read()
    except ValidationError as error:
        slips = "; ".join(
            f"{'.'.join(map(str, slip['loc']))}: {slip['msg'].removeprefix('Value error, ')}"
            for slip in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise TargetRefused(
            f"The settings of the API or the worker can't be read: {slips}"
        ) from None
