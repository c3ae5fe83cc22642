"""A judge that answers from a script, and short ways to write conversations."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scripted_calls import ScriptedCalls, scripted_calls

from evalqueue.evaluators import apps
from evalqueue.evaluators.conversation import Thread, Turn

NOON = datetime(2025, 11, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def scripted() -> Callable[..., ScriptedCalls]:
    return scripted_calls


@pytest.fixture
def turn() -> Callable[..., Turn]:
    def make(number: int = 1, user: str = "2 idli at 8", bot: str = "Noted.", **more: Any) -> Turn:
        return Turn(
            number=number,
            timestamp=NOON + timedelta(minutes=number),
            user_text=user,
            bot_text=bot,
            response_id=f"resp_{number}",
            **more,
        )

    return make


@pytest.fixture
def thread() -> Callable[..., Thread]:
    def make(*turns: Turn, thread_id: str = "thr_1") -> Thread:
        return Thread(thread_id=thread_id, user_id="usr_1", turns=turns)

    return make


@pytest.fixture
def app() -> apps.App:
    """A small app with meals, two rules of each scope, and figures that are checked."""
    return apps.parse(APP, where="app.toml")


APP = """
app_id = "small"
name = "Small"
about = "A bot that logs meals."
[[intents]]
name = "FoodAgent"
description = "logs food"
examples = ["2 idli"]
[[intents]]
name = "General"
description = "the rest"
[[query_types]]
name = "logging"
description = "records"
[[query_types]]
name = "question"
description = "asks"
[[rules]]
rule_id = "require_xml_chips"
section = "Chips"
text = "Both chips are there."
scopes = ["correctness"]
[[rules]]
rule_id = "exact_calorie_values"
section = "Data"
text = "Nothing is rounded."
scopes = ["correctness"]
[[rules]]
rule_id = "ask_time_if_missing"
section = "Time"
text = "Ask for the time."
scopes = ["efficiency"]
[meal_summary]
markers = ["meal summary", "consumed at"]
description = "a meal summary"
[efficiency]
not_friction = ["asking for the time"]
bot_friction = ["asking again"]
ideal_turns = 2
[bounds]
item_kcal_seldom_above = 2000
meal_kcal_seldom_above = 4000
kcal_always_wrong_from = 10000
items_sum_tolerance_kcal = 15
items_sum_tolerance_share = 0.05
macro_tolerance_share = 0.20
"""
