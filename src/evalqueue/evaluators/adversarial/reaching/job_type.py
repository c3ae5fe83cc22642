"""The job type `reach-chatbot`: its params, and what is refused before a job is stored."""

from typing import Self

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.adversarial.chatbot import ChatbotParams, refuse_unfit
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.runs.params import AppId
from evalqueue.jobtypes import AdmissionContext, JobParams


class ReachChatbot(JobParams, job_type="reach-chatbot"):
    """Let a worker greet a chatbot, once with each credential. The answers are not kept."""

    app_id: AppId | None = None
    """The app of the bot. Default: EVALQUEUE_DEFAULT_APP."""
    chatbot: ChatbotParams = ChatbotParams()
    """As the test will have it."""

    async def admit(self, admission: AdmissionContext) -> Self:
        """Refuse an unknown app, and a chatbot that is not allowed."""
        try:
            app = await self.app(admission)
        except UnknownApp as error:
            raise InvalidParams.of("app_id", str(error)) from error
        await refuse_unfit(self.chatbot, app)
        return self.model_copy(update={"app_id": app.app_id})

    async def app(self, admission: AdmissionContext) -> App:
        """The app that is meant, as it is now.

        Raises:
            UnknownApp: there is none of this name.
        """
        async with admission.database.connection() as connection:
            stored = await app_store.named(
                connection,
                self.app_id or admission.settings.default_app,
                owner=admission.owner,
            )
        return stored.app
