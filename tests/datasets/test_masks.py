"""Personal data is masked before it is stored, and what only looks like it mostly stays."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from evalqueue.evaluators.conversation import ToolCall
from evalqueue.evaluators.datasets.masks import Masking, Masks, kinds_of
from evalqueue.evaluators.datasets.names import NameList, checked_names, read_names
from evalqueue.evaluators.formats import FormatError, Message
from evalqueue.evaluators.personal_data import PersonalData

MESSAGE = Message(
    2, "t-1", "ann@example.org", datetime(2025, 1, 15, tzinfo=UTC), "hi", "hello", None, None,
    False, None, None, None,
)  # fmt: skip


def masked(text: str, *kinds: PersonalData) -> str:
    masks = Masks.of(kinds or list(PersonalData), ())
    return Masking(masks).masked(MESSAGE._replace(user_text=text)).user_text


def without_names(text: str, *names: str) -> str:
    masking = Masking(Masks.of((), names))
    return masking.masked(MESSAGE._replace(user_text=text)).user_text


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
    masking = Masking(Masks.of([PersonalData.EMAILS], ()))
    first, second = masking.masked(MESSAGE), masking.masked(MESSAGE)
    other = masking.masked(MESSAGE._replace(user_id="bob@example.org"))

    assert first.user_id == second.user_id != other.user_id
    assert first.user_id.startswith("masked-")
    assert first.thread_id == "t-1"
    assert Masking(Masks.of([PersonalData.EMAILS], ())).masked(MESSAGE).user_id != first.user_id, (
        "no list names them"
    )


def test_everything_that_is_stored_is_masked() -> None:
    call = ToolCall(name="mail", arguments='{"to": "a@b.co"}', result="sent to a@b.co")
    text = "a@b.co"
    found = Masking(Masks.of([PersonalData.EMAILS], ())).masked(
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
    assert kinds_of(" Emails,cards,") == {PersonalData.EMAILS, PersonalData.CARDS}
    assert kinds_of("") == frozenset()
    with pytest.raises(FormatError, match="no mask 'names'. Known: emails, phones, cards"):
        kinds_of("emails,names")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello Anna Lee, how are you?", "Hello [name], how are you?"),
        ("ANNA  LEE's order; anna.lee wrote", "[name]'s order; [name] wrote"),
        ("Anna\nLee", "[name]"),
        ("Anna Leeds and Annabel Lee", "Anna Leeds and Annabel Lee"),
        ("Anna alone, Anna Lee, Anna", "Anna alone, [name], Anna"),
        ("call O’Brien or O'BRIEN", "call [name] or [name]"),
        ("José, Jose\u0301 and JOSÉ", "[name], [name] and [name]"),
        ("Jean-Luc Picard and Jean-Luc", "[name] and [name]"),
        ("Jean-Luc Picasso", "[name] Picasso"),
        ("Herr Strauß und HERR STRAUSS", "Herr [name] und HERR [name]"),
        ("请联系王小明。", "请联系[name]。"),
        ("민수가 왔다", "[name]가 왔다"),
        ("no name", "no name"),
        ("", ""),
    ],
)
def test_names_of_a_list_are_masked_as_whole_words(text: str, expected: str) -> None:
    names = (
        "Anna Lee",
        "O'Brien",
        "José",
        "Jean-Luc",
        "Jean-Luc Picard",
        "Strauß",
        "王小明",
        "민수",
    )

    assert without_names(text, *names) == expected


def test_names_are_masked_after_what_holds_them() -> None:
    masking = Masking(Masks.of([PersonalData.EMAILS], ["Anna"]))
    found = masking.masked(MESSAGE._replace(user_text="anna@x.org is Anna", user_id="anna-7"))

    assert found.user_text == "[email] is [name]"
    assert found.user_id.startswith("masked-")
    assert masking.count == 3


def test_a_long_text_is_searched_in_linear_time() -> None:
    names = NameList(f"a {n} b" for n in range(1_000))
    began = time.process_time()

    text, count = names.replaced("a 1 " * 200_000, "[name]")

    assert count == 0
    assert len(text) == 800_000
    assert time.process_time() - began < 10


def test_a_list_has_a_name_on_each_line() -> None:
    assert read_names("\ufeffAnna  Lee\r\n\n Bob\nBob\n") == ("Anna Lee", "Bob")
    assert checked_names(["李"]) == ("李",)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["A"], "'A' is too short"),
        (["--"], "'--' is too short"),
        (["x" * 201], "201 characters"),
        ((f"name {n}" for n in range(100_001)), "There are 100,001 names"),
    ],
)
def test_what_is_no_name_is_refused(names: Iterable[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked_names(names)
