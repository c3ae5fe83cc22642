"""Personal data is masked before it is stored, and what only looks like it mostly stays."""

from datetime import UTC, datetime

import pytest

from evalqueue.evaluators.conversation import ToolCall
from evalqueue.evaluators.datasets.masks import Masking, masks_of
from evalqueue.evaluators.formats import FormatError, Message
from evalqueue.evaluators.personal_data import PersonalData

MESSAGE = Message(
    2, "t-1", "ann@example.org", datetime(2025, 1, 15, tzinfo=UTC), "hi", "hello", None, None,
    False, None, None, None,
)  # fmt: skip


def masked(text: str, *masks: PersonalData) -> str:
    return Masking(masks or list(PersonalData)).masked(MESSAGE._replace(user_text=text)).user_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to Ann.Lee+bus@mail.example.co.uk, please", "Write to [email], please"),
        ("jörg@müller.de", "[email]"),
        ("Call +49 30 1234567 today", "Call [phone] today"),
        ("(555) 123-4567", "[phone]"),
        ("my number is 98765 43210.", "my number is [phone]."),
        ("00441632960961", "[phone]"),
        ("4111 1111 1111 1111", "[card]"),
        ("378282246310005", "[card]"),
        ("4111-1111-1111-1111 exp 12/27", "[card] exp 12/27"),
    ],
)
def test_it_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2 idli at 8:30, 104 mg/dL",
        "on 2025-01-15 10:30 or 15/01/2025",
        "1234 56",
        "version 1.2.3",
        "@bus stop",
        "12:30:45",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert masked(text) == text


def test_only_the_kinds_that_are_asked_for_are_masked() -> None:
    text = "ann@example.org, +49 30 1234567"

    assert masked(text, PersonalData.EMAILS) == "[email], +49 30 1234567"
    assert masked(text, PersonalData.PHONES) == "ann@example.org, [phone]"


def test_ids_become_others_and_equal_ones_stay_equal() -> None:
    masking = Masking([PersonalData.EMAILS])
    first, second = masking.masked(MESSAGE), masking.masked(MESSAGE)
    other = masking.masked(MESSAGE._replace(user_id="bob@example.org"))

    assert first.user_id == second.user_id != other.user_id
    assert first.user_id.startswith("masked-")
    assert first.thread_id == "t-1"
    assert Masking([PersonalData.EMAILS]).masked(MESSAGE).user_id != first.user_id, (
        "no list names them"
    )


def test_everything_that_is_stored_is_masked() -> None:
    call = ToolCall(name="mail", arguments='{"to": "a@b.co"}', result="sent to a@b.co")
    text = "a@b.co"
    found = Masking([PersonalData.EMAILS]).masked(
        MESSAGE._replace(
            user_text=text,
            bot_text=text,
            routed_intent=text,
            routed_query_type=text,
            error=text,
            session_id=text,
            response_id=text,
            system=text,
            context=text,
            tool_calls=(call,),
            expected=text,
        )
    )

    assert "a@b.co" not in str(found)


def test_kinds_are_listed_by_commas() -> None:
    assert masks_of(" Emails,cards,") == {PersonalData.EMAILS, PersonalData.CARDS}
    assert masks_of("") == frozenset()
    with pytest.raises(FormatError, match="no mask 'names'. Known: emails, phones, cards"):
        masks_of("emails,names")
