"""Who may call the API: by tokens, which the server knows by their hashes, or by single sign-on.

`EVALQUEUE_API_TOKENS` has an entry `name:right:sha256hex` for each token. Only the caller has the
token itself. Several tokens may share a name, so that a new one can replace an old one.
"""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import cast

VARIABLE = "EVALQUEUE_API_TOKENS"
SINGLE_SIGN_ON = "EVALQUEUE_OIDC_ISSUER"
TOKEN_BYTES = 32
ANYBODY = "*"
NAME_RULE = "1 to 50 letters, digits and . _ @ + -, of which the first is a letter or a digit"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,49}")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_OTHER_HASH = re.compile(r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{96}|[0-9A-Fa-f]{128}")
_OF_NOTHING = sha256(b"").digest()
_PARTS = 3
_AS_LONG_AS_TOKENS = 32  # characters: what stands in a token's place is not repeated either


class Right(StrEnum):
    """What a caller may do; each may also do what those before it may."""

    READ = "read"
    """Look at what is one's own."""
    SUBMIT = "submit"
    """Submit jobs, and do with them what one likes."""
    ADMIN = "admin"
    """Everything, also with what is others'."""

    def covers(self, needed: "Right") -> bool:
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER = list(Right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as the server knows it."""

    name: str
    """Who holds it: the owner of what they submit."""
    right: Right
    digest: bytes = field(repr=False)
    """The SHA-256 of the token."""

    @property
    def entry(self) -> str:
        """It as the variable has it."""
        return f"{self.name}:{self.right}:{self.digest.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRule:
    """Which right people have whom the identity provider says something about."""

    right: Right
    claim: str
    """Its name, or the path to it, as in `realm_access.roles`. "*": everybody who can sign in."""
    value: str
    """What it is, or what a list has. With `*` in front: how it ends."""

    def fits(self, claims: Mapping[str, object]) -> bool:
        """Whether it is about the person with these claims."""
        if self.claim == ANYBODY:
            return True
        if self.claim == "email" and claims.get("email_verified") is not True:
            return False
        found: object = claims
        for part in self.claim.split("."):
            found = _member(found, part)
        return any(isinstance(each, str) and self._is_value(each) for each in _listed(found))

    def _is_value(self, text: str) -> bool:
        if self.value.startswith("*"):
            return text.casefold().endswith(self.value[1:].casefold())
        return text == self.value


def parse_claim_rules(text: str) -> tuple[ClaimRule, ...]:
    """The entries of `EVALQUEUE_OIDC_RIGHTS`: `right:claim=value`, or `right:*` for everybody.

    Raises:
        ValueError: an entry is wrong.
    """
    rules: list[ClaimRule] = []
    for number, entry in enumerate((e for e in re.split(r"[,\s]+", text) if e), start=1):
        right, _, rest = entry.partition(":")
        claim, equals, value = rest.partition("=")
        if right not in _ORDER or not claim or (claim == ANYBODY) == bool(equals and value):
            raise ValueError(
                f"Entry {number} is not right:claim=value. Write, for example, "
                "admin:groups=eval-admins, submit:email=*@example.com or read:*"
            )
        rules.append(ClaimRule(right=Right(right), claim=claim, value=value))
    return tuple(rules)


def right_by_claims(rules: Sequence[ClaimRule], claims: Mapping[str, object]) -> Right | None:
    """The highest right that a rule gives; None: no rule fits."""
    rights = [rule.right for rule in rules if rule.fits(claims)]
    return max(rights, key=_ORDER.index, default=None)


def _member(value: object, name: str) -> object:
    return cast("Mapping[str, object]", value).get(name) if isinstance(value, Mapping) else None


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def is_name(text: str) -> bool:
    """Whether a caller may be called so."""
    return _NAME.fullmatch(text) is not None


def digest_of(token: bytes) -> bytes:
    return sha256(token).digest()


def make(name: str, right: Right) -> tuple[str, Token]:
    """A new token, and what the server is to know of it.

    Raises:
        ValueError: it can't be called so.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"A name has {NAME_RULE}.")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, Token(name=name, right=right, digest=digest_of(token.encode()))


def parse(text: str) -> tuple[Token, ...]:
    """The entries of the variable.

    Raises:
        ValueError: with a line for each entry that is wrong. What is in it is not repeated, except
            a name: it may be a secret.
    """
    entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
    found: dict[bytes, int] = {}
    tokens: list[Token] = []
    wrong: list[str] = []
    for number, entry in enumerate(entries, start=1):
        name, _, rest = entry.partition(":")
        right, _, digest = rest.partition(":")
        if faults := list(_faults(entry)):
            wrong += [f"{_called(number, entry)} {fault}" for fault in faults]
            continue
        token = Token(name=name, right=Right(right), digest=bytes.fromhex(digest))
        if (first := found.setdefault(token.digest, number)) != number:
            wrong.append(f"{_called(number, entry)} has the hash of entry {first}. Keep one.")
        tokens.append(token)
    if wrong:
        raise ValueError("\n".join(wrong))
    return tuple(tokens)


def _faults(entry: str) -> Iterator[str]:
    parts = entry.split(":")
    if len(parts) != _PARTS:
        looks_like = "" if len(parts) > 1 else " (it looks like a token that is not hashed)"
        yield f"is not name:right:sha256hex{looks_like}. {_REMEDY}"
        return
    name, right, digest = parts
    if not _NAME.fullmatch(name):
        yield f"has no good name. A name has {NAME_RULE}."
    if right not in _ORDER:
        yield f"has no good right. It is one of {', '.join(_ORDER)}."
    if _OTHER_HASH.fullmatch(digest):
        yield f"has a hash that is no SHA-256, which is 64 hexadecimal digits. {_REMEDY}"
    elif not _SHA256.fullmatch(digest):
        yield f"seems to have a token that is not hashed. {_REMEDY}"
    elif bytes.fromhex(digest) == _OF_NOTHING:
        yield f"has the hash of an empty text. {_REMEDY}"


_REMEDY = "Make a new one: evalqueue token NAME --right submit prints a token and its entry."


def _called(number: int, entry: str) -> str:
    name, *rest = entry.split(":")
    is_name = len(rest) == _PARTS - 1 and len(name) < _AS_LONG_AS_TOKENS and _NAME.fullmatch(name)
    return f"Entry {number} ({name})" if is_name else f"Entry {number}"
