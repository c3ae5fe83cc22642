"""Tokens in the environment: which entries are valid, and that no secret is shown in errors."""

from hashlib import sha256

import pytest
from pydantic import ValidationError

from evalqueue import Settings, tokens
from evalqueue.cli.output.errors import error_lines
from evalqueue.tokens import Right

SECRET = "hunter2-hunter2"
HASH = sha256(SECRET.encode()).hexdigest()
OTHER = sha256(b"another").hexdigest()


def test_entries_are_separated_by_commas_or_white_space() -> None:
    found = tokens.parse(f" anna:submit:{HASH},\n ci@build.example:read:{OTHER.upper()} ")

    assert [(each.name, each.right) for each in found] == [
        ("anna", Right.SUBMIT),
        ("ci@build.example", Right.READ),
    ]
    assert [each.digest.hex() for each in found] == [HASH, OTHER]


def test_several_tokens_may_share_a_name() -> None:
    assert {each.name for each in tokens.parse(f"anna:read:{HASH} anna:admin:{OTHER}")} == {"anna"}


@pytest.mark.parametrize("text", ["", " \n", ", ,"])
def test_nothing_is_no_tokens(text: str) -> None:
    assert tokens.parse(text) == ()
    assert Settings(api_tokens=text).api_tokens == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (SECRET, "Entry 2 is not name:right:sha256hex (it looks like a token that is not hashed)"),
        (f"anna:submit:{SECRET}", "Entry 2 (anna) seems to have a token that is not hashed"),
        (f"{SECRET}:submit", "Entry 2 is not name:right:sha256hex."),
        (f"anna:{SECRET}", "Entry 2 is not name:right:sha256hex."),
        (f"{SECRET * 3}:admin:anna", "Entry 2 seems to have a token that is not hashed"),
        (f"anna:submit:{HASH}:{SECRET}", "Entry 2 is not name:right:sha256hex."),
        (f"anna:root:{HASH}", "Entry 2 (anna) has no good right. It is one of read, submit, admin"),
        (f"anna:Submit:{HASH}", "Entry 2 (anna) has no good right"),
        (f":submit:{HASH}", "Entry 2 has no good name"),
        (f"{'a' * 51}:submit:{HASH}", "Entry 2 has no good name"),
        (f"ännä:submit:{HASH}", "Entry 2 has no good name"),
        (f"anna:submit:{'0' * 40}", "Entry 2 (anna) has a hash that is no SHA-256"),
        (f"anna:submit:{HASH[:-1]}", "Entry 2 (anna) seems to have a token that is not hashed"),
        (f"anna:submit:{sha256().hexdigest()}", "Entry 2 (anna) has the hash of an empty text"),
        ("anna:submit:", "Entry 2 (anna) seems to have a token that is not hashed"),
    ],
)
def test_a_bad_entry_is_named_without_its_secret(entry: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(api_tokens=f"otto:read:{OTHER}, {entry}")

    (line,) = error_lines(raised.value)
    assert line.startswith(f"EVALQUEUE_API_TOKENS: {message}")
    assert "good" in line or "evalqueue token NAME" in line
    for text in (line, str(raised.value), repr(raised.value)):
        assert SECRET not in text
        assert HASH not in text


def test_every_bad_entry_is_named() -> None:
    with pytest.raises(ValueError, match="Entry 1 .*\n.*Entry 3 ") as raised:
        tokens.parse(f"x anna:submit:{HASH} y:z")
    assert "Entry 2" not in str(raised.value)


def test_a_hash_belongs_to_one_entry() -> None:
    with pytest.raises(
        ValueError, match=r"^Entry 2 \(otto\) has the hash of entry 1\. Keep one\.$"
    ):
        tokens.parse(f"anna:submit:{HASH} otto:admin:{HASH}")


def test_a_new_token_is_the_one_that_its_entry_knows() -> None:
    made, known = tokens.make("anna", Right.SUBMIT)

    assert tokens.parse(known.entry) == (known,)
    assert known.digest == sha256(made.encode()).digest()
    assert len(made) == 43  # 32 bytes
    assert tokens.make("anna", Right.SUBMIT)[0] != made


def test_a_settings_repr_has_no_hash_in_it() -> None:
    settings = Settings(api_tokens=f"anna:submit:{HASH}")

    assert "anna" in repr(settings)
    assert HASH not in repr(settings)
    assert repr(bytes.fromhex(HASH)) not in repr(settings)


@pytest.mark.parametrize("rate", ["600", "0/minute", "-1/second", "6/day", "x/minute", ""])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ValidationError, match="Write 600/minute"):
        Settings(rate_limit=rate)


def test_a_rate_is_so_many_in_so_long() -> None:
    rates = [Settings(rate_limit=each).rate for each in ("10/second", "600 / minute", "5/hour")]

    assert [(each.amount, each.seconds) for each in rates if each] == [
        (10, 1),
        (600, 60),
        (5, 3600),
    ]
    assert Settings(rate_limit="off").rate is None


def test_a_proxy_is_an_address_or_a_network() -> None:
    assert Settings(proxies="10.0.0.1, 10.1.0.0/16,::1").proxies == (
        "10.0.0.1",
        "10.1.0.0/16",
        "::1",
    )
    with pytest.raises(ValidationError, match="Entry 1 is neither an IP address nor a network"):
        Settings(proxies="nginx")
