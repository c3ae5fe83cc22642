"""How `reach-chatbot` works: the worker says one greeting with each credential.

What the chatbot answers may be meant for a few people only, so neither the result nor an error
quotes it.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, TypedDict

from evalqueue.context import JobContext
from evalqueue.errors import JobFailed
from evalqueue.evaluators.adversarial.chatbot import tested
from evalqueue.evaluators.adversarial.credential_leases import CredentialLease, CredentialLeases
from evalqueue.evaluators.adversarial.reaching.job_type import ReachChatbot
from evalqueue.evaluators.apps import UnknownApp
from evalqueue.evaluators.chatbots.protocol import ChatbotError, Fault
from evalqueue.evaluators.chatbots.targets import Target, TargetRefused
from evalqueue.jobtypes import AdmissionContext
from evalqueue.settings import Settings

GREETING = "Hello"
LEASE_SECONDS = 30.0
"""How long a credential is waited for that a test uses."""
_ADVICE = {401: "check the credential", 403: "check the credential", 404: "check the address"}


class Reached(TypedDict):
    """What one credential came to."""

    credential: str | None
    """None: without a credential."""
    reached: bool
    reason: str | None
    """Why not."""
    answered_ms: float | None


async def reach_chatbot(
    context: JobContext, params: ReachChatbot, settings: Settings
) -> Mapping[str, Any]:
    """Greet the chatbot with each credential.

    Raises:
        JobFailed: the params are wrong, or there was no answer with one of the credentials.
    """
    admission = AdmissionContext(
        settings=settings, database=context.database, owner=context.job.owner
    )
    try:
        app = await context.database.retry_transient(
            partial(params.app, admission), what=f"Job {context.job.id}"
        )
        target, credentials = tested(params.chatbot, app)
    except (UnknownApp, TargetRefused) as error:
        raise JobFailed(str(error)) from error
    found: list[Reached] = []
    async with CredentialLeases(context, target, app, credentials, case_delay_seconds=0) as leases:
        for number, name in enumerate([each.name for each in credentials] or [None]):
            context.progress(number, len(leases), f"Greeting {target.host}")
            found.append(await _reached(leases, name, target))
    context.progress(len(found), len(found), "Done")
    result = {"url": target.url, "protocol": target.protocol, "credentials": found}
    failed = [each for each in found if not each["reached"]]
    if failed:
        reasons = "; ".join(
            f"{each['credential']}: {each['reason']}" if each["credential"] else f"{each['reason']}"
            for each in failed
        )
        raise JobFailed(f"The chatbot can't be tested: {reasons}", result=result)
    return result


async def _reached(leases: CredentialLeases, name: str | None, target: Target) -> Reached:
    """Greet with the credential whose turn it is: they are leased in their order."""
    key = name or ""
    try:
        async with asyncio.timeout(LEASE_SECONDS) as waiting, leases.take(key) as lease:
            waiting.reschedule(None)  # an answer has time limits of its own
            try:
                return await _greeted(lease, target)
            finally:
                leases.note_stored(key)
    except TimeoutError:
        return _entry(name, reason=f"a test has used the credential for {LEASE_SECONDS:g} s")


async def _greeted(lease: CredentialLease, target: Target) -> Reached:
    try:
        async with lease.chatbot.chat() as chat:
            reply = await chat.say(GREETING)
    except ChatbotError as error:
        return _entry(lease.credential, reason=_reason(error, target))
    if reply.error is not None:
        return _entry(lease.credential, reason=f"{target.host} reports an error, and no answer")
    return _entry(lease.credential, answered_ms=round(reply.duration_ms, 1))


def _entry(
    credential: str | None, *, reason: str | None = None, answered_ms: float | None = None
) -> Reached:
    return {
        "credential": credential,
        "reached": reason is None,
        "reason": reason,
        "answered_ms": answered_ms,
    }


def _reason(error: ChatbotError, target: Target) -> str:
    """Why there was no answer, without anything that the chatbot has sent."""
    match error.fault:
        case Fault.HTTP_ERROR if error.status is not None:
            is_redirect = 300 <= error.status < 400  # noqa: PLR2004  redirection
            advice = "redirects are not followed" if is_redirect else _ADVICE.get(error.status)
            return f"{target.host} answers HTTP {error.status}{f': {advice}' if advice else ''}"
        case Fault.HTTP_ERROR | Fault.UNREADABLE:
            return f"{target.host} does not answer as the protocol {target.protocol} says"
        case Fault.CONNECTION_LOST:
            return f"{target.host} closes the connection before its answer is whole"
        case _:  # there is nothing yet that could be quoted
            return error.message
