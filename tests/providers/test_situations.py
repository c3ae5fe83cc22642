"""What every provider must make of the answers and errors that real endpoints give.

One row is a situation of the simulated vendor: the outcome of a question and its number of
requests. A provider of another package runs the rows of its protocol by the same function.
"""

from collections.abc import Awaitable, Callable

import pytest

from evalqueue.evaluators.judging import prompts
from evalqueue.evaluators.judging.answers import Form
from evalqueue.evaluators.judging.builtin.intent import IntentAnswer
from evalqueue.evaluators.judging.judge import Judge, Parameters, Question
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.policy import CallPolicy, LlmCaller, Slots
from evalqueue.evaluators.providers.provider import Provider
from evalqueue.evaluators.providers.recorder import CallRecord, CallSite
from evalqueue.evaluators.simulated.vendor.server import SimulatedServer
from evalqueue.evaluators.simulated.vendor.situations import chat, gemini
from evalqueue.evaluators.simulated.vendor.situations.situation import PREFIX

Open = Callable[..., Awaitable[Provider]]
Row = tuple[str, CallOutcome, int]

CHAT_PROVIDERS = ["openai", "azure_openai", "simulated"]
TRIES = CallPolicy().max_attempts
OK = CallOutcome.OK

CHAT: list[Row] = [
    ("plain", OK, 1),
    ("think-draft", OK, 1),
    ("think-draft-comma", OK, 1),
    ("think-set", OK, 1),
    ("think-unopened", OK, 1),
    ("think-twice", OK, 1),
    ("think-unclosed", CallOutcome.SCHEMA_INVALID, 2),
    ("think-only-draft", CallOutcome.SCHEMA_INVALID, 2),
    ("think-quoted", OK, 1),
    ("think-other-marks", OK, 1),
    ("harmony-channels", OK, 1),
    ("reasoning-parts", OK, 1),
    ("reasoning-field", OK, 1),
    ("reasoning-field-only", OK, 1),
    ("reasoning-field-draft", CallOutcome.TRANSIENT, TRIES),
    ("text-part", OK, 1),
    ("content-object", OK, 1),
    ("tool-call", OK, 1),
    ("tool-call-object", OK, 1),
    ("function-call", OK, 1),
    ("empty-tool-calls", OK, 1),
    ("stream", OK, 1),
    ("stream-of-pieces", OK, 1),
    ("fenced", OK, 1),
    ("trailing-comma", OK, 1),
    ("line-break-in-string", OK, 1),
    ("python-literal", OK, 1),
    ("commented", OK, 1),
    ("lower-case-labels", OK, 1),
    ("wrapped", OK, 1),
    ("wrapped-text", OK, 1),
    ("list-of-one", OK, 1),
    ("wrapped-draft", CallOutcome.SCHEMA_INVALID, 2),
    ("two-answers", CallOutcome.SCHEMA_INVALID, 2),
    ("cut-off", CallOutcome.SCHEMA_INVALID, 2),
    ("soft-refusal", CallOutcome.SCHEMA_INVALID, 2),
    ("empty-once", OK, 2),
    ("empty", CallOutcome.TRANSIENT, TRIES),
    ("odd-usage", OK, 1),
    ("no-usage", OK, 1),
    ("error-in-200-billing", CallOutcome.BILLING, 1),
    ("error-in-200-text", CallOutcome.TRANSIENT, TRIES),
    ("error-in-choice", CallOutcome.TRANSIENT, TRIES),
    ("wrapped-filter", CallOutcome.CONTENT_FILTER, 1),
    ("azure-filter", CallOutcome.CONTENT_FILTER, 1),
    ("filtered-turn", OK, 1),
    ("moderation", CallOutcome.CONTENT_FILTER, 1),
    ("wrapped-context", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("gateway-quote", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("context-text", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("listed-error", CallOutcome.BAD_REQUEST, 1),
    ("minute-too-small", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("minute-too-small-413", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("minute-too-small-by-number", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("rate-limited-once", OK, 2),
    ("quoted-words", CallOutcome.BAD_REQUEST, 1),
    ("no-response-format", OK, 3),
    ("no-json-mode", OK, 3),
    ("no-json-schema", OK, 2),
    ("wrapped-parameter", OK, 2),
    ("extra-field", OK, 3),
    ("limit-too-large", OK, 2),
    ("reasoning-budget", OK, 2),
    ("reasoning-without-end", CallOutcome.TRUNCATED, 2),
]
GEMINI: list[Row] = [
    ("plain", OK, 1),
    ("thought-parts", OK, 1),
    ("no-candidates-once", OK, 2),
    ("no-candidates", CallOutcome.TRANSIENT, TRIES),
    ("empty-once", OK, 2),
    ("empty", CallOutcome.TRANSIENT, TRIES),
    ("recitation", CallOutcome.CONTENT_FILTER, 1),
    ("blocked", CallOutcome.CONTENT_FILTER, 1),
    ("odd-usage", OK, 1),
    ("no-usage", OK, 1),
    ("error-in-200", CallOutcome.TRANSIENT, TRIES),
    ("overloaded", CallOutcome.TRANSIENT, TRIES),
    ("daily-quota", CallOutcome.BILLING, 1),
    ("minute-too-small", CallOutcome.CONTEXT_TOO_LONG, 1),
    ("rate-limited-once", OK, 2),
    ("lower-case-labels", OK, 1),
    ("no-json-mode", OK, 3),
    ("reasoning-budget", OK, 2),
    ("reasoning-without-end", CallOutcome.TRUNCATED, 2),
]


class Records(list[CallRecord]):
    is_ready = True

    async def ready(self) -> None: ...

    def record(self, call: CallRecord) -> None:
        self.append(call)


QUESTION = Question(
    site=CallSite(evaluator="intent", thread_id="t-1", turn=1),
    text=prompts.Rendered(
        system="You are a judge.",
        prompt='Thread: "t-1"\nTurn to judge: 1\nTurn 1\nUser:\n    hello there\n',
    ),
    form=Form(
        IntentAnswer,
        {"intents": ("FoodAgent", "Greeting"), "query_types": ("logging", "question")},
    ),
)


async def ask(provider: Provider, records: Records, question: Question[IntentAnswer]) -> str:
    """The agent that the judge chooses, or the outcome."""

    async def sleep(_: float) -> None: ...

    caller = LlmCaller(provider, slots=Slots(1), recorder=records, sleep=sleep)
    try:
        return (await Judge(caller).ask(question)).predicted_agent
    except ProviderError as error:
        return error.outcome


async def check(
    row: Row, name: str, server: SimulatedServer, open_provider: Open
) -> tuple[Provider, Records]:
    """Ask one question in a situation, and compare its outcome and the number of requests."""
    situation, outcome, requests = row
    provider = await open_provider(name, server.url, model=PREFIX + situation)
    records = Records()

    found = await ask(provider, records, QUESTION)

    assert found == ("Greeting" if outcome is OK else outcome)
    assert server.simulation.stats["requests"] == requests
    return provider, records


@pytest.mark.parametrize("name", CHAT_PROVIDERS)
@pytest.mark.parametrize("row", CHAT, ids=lambda row: row[0])
async def test_a_situation_of_chat_completions(
    name: str, row: Row, server: SimulatedServer, open_provider: Open
) -> None:
    await check(row, name, server, open_provider)


@pytest.mark.parametrize("row", GEMINI, ids=lambda row: row[0])
async def test_a_situation_of_gemini(
    row: Row, server: SimulatedServer, open_provider: Open
) -> None:
    await check(row, "gemini", server, open_provider)


def test_every_situation_has_a_row() -> None:
    assert {row[0] for row in CHAT} | {"new-parameters"} == set(chat.CHAT)
    assert {row[0] for row in GEMINI} | {"limit-too-large"} == set(gemini.GEMINI)


@pytest.mark.parametrize(
    ("name", "requests"), [("openai", 3), ("simulated", 3), ("azure_openai", 2)]
)
async def test_parameters_of_new_models_are_learnt_once_and_recorded_as_sent(
    name: str, requests: int, server: SimulatedServer, open_provider: Open
) -> None:
    # Azure is asked with the new name of the limit at once.
    provider, records = await check(("new-parameters", OK, requests), name, server, open_provider)
    assert await ask(provider, records, QUESTION) == "Greeting"

    assert server.simulation.stats["requests"] == requests + 1
    assert [dict(each.parameters) for each in records] == [
        {"response_format": "json_schema", "max_completion_tokens": 4096}
    ] * 2


@pytest.mark.parametrize("name", CHAT_PROVIDERS)
async def test_a_ceiling_is_learnt_and_ends_the_longer_try(
    name: str, server: SimulatedServer, open_provider: Open
) -> None:
    provider, records = await check(("limit-too-large", OK, 2), name, server, open_provider)

    limits = [value for name, value in records[0].parameters.items() if name.startswith("max_")]
    assert limits == [chat.CEILING]
    assert await ask(provider, records, QUESTION) == "Greeting"
    assert server.simulation.stats["requests"] == 3


async def test_geminis_ceiling_is_learnt(server: SimulatedServer, open_provider: Open) -> None:
    provider = await open_provider("gemini", server.url, model=f"{PREFIX}limit-too-large")
    records = Records()
    question = Question(
        site=QUESTION.site, text=QUESTION.text, form=QUESTION.form,
        parameters=Parameters(max_output_tokens=100_000),
    )  # fmt: skip

    for _ in range(2):
        assert await ask(provider, records, question) == "Greeting"

    assert server.simulation.stats["requests"] == 3
    assert [each.parameters["maxOutputTokens"] for each in records] == [gemini.CEILING] * 2


@pytest.mark.parametrize("name", CHAT_PROVIDERS)
async def test_words_that_an_error_quotes_teach_nothing(
    name: str, server: SimulatedServer, open_provider: Open
) -> None:
    _, records = await check(
        ("quoted-words", CallOutcome.BAD_REQUEST, 1), name, server, open_provider
    )

    assert records[0].parameters["temperature"] == 0.1


@pytest.mark.parametrize("name", [*CHAT_PROVIDERS, "gemini"])
async def test_settings_of_the_model_are_passed_on_and_recorded(
    name: str, server: SimulatedServer, open_provider: Open
) -> None:
    provider = await open_provider(name, server.url, model=f"{PREFIX}plain")
    records = Records()
    question = Question(
        site=QUESTION.site, text=QUESTION.text, form=QUESTION.form,
        parameters=Parameters(model_settings={"seed": 7}),
    )  # fmt: skip

    assert await ask(provider, records, question) == "Greeting"

    assert records[0].parameters["seed"] == 7
