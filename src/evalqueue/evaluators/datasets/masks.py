"""Personal data is replaced while a file is imported, before anything is stored.

The patterns are our own. The libraries for this (Presidio, scrubadub) bring language models of
hundreds of megabytes; phonenumbers finds national numbers only where their country is known, and
leaves the others as they are. These patterns rather mask too much: any run of 7 to 15 digits that
is written like a phone number, whatever it means.
"""

import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import StrEnum
from hashlib import blake2b

from evalqueue.evaluators.formats import FormatError, Message, shown

_PHONE_DIGITS = range(7, 16)  # E.164 has 15 at most
_CARD_DIGITS = range(13, 20)  # ISO/IEC 7812-1

_EMAIL = re.compile(r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]++@[\w-]++(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<![\w.])[0-9](?:[ -]?[0-9]){12,18}(?!\w)")
_PHONE = re.compile(
    r"(?<![\w.:/@#-])(?:\+|00)?\(?[0-9]{1,5}\)?(?:[\s./()-]{0,2}[0-9]{1,6}){1,6}(?![\w@]|[:.][0-9])"
)
_DATE = re.compile(
    r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}([T\s].*)?|[0-9]{1,2}([-/.])[0-9]{1,2}\2[0-9]{4}.*"
)


class Mask(StrEnum):
    """A kind of personal data."""

    EMAILS = "emails"
    PHONES = "phones"
    CARDS = "cards"


def masks_of(names: str) -> frozenset[Mask]:
    """The kinds in a list such as "emails,phones".

    Raises:
        FormatError: there is no such kind.
    """
    found = {name.strip().lower() for name in names.split(",") if name.strip()}
    for name in sorted(found - set(Mask)):
        raise FormatError(f"There is no mask {shown(name)}. Known: {', '.join(Mask)}.")
    return frozenset(map(Mask, found))


class Masking:
    """Replaces personal data in messages."""

    def __init__(self, masks: Collection[Mask]) -> None:
        self._replacements = [
            (_PATTERNS[mask], f"[{mask.value.removesuffix('s')}]", _CHECKS[mask])
            for mask in (Mask.EMAILS, Mask.CARDS, Mask.PHONES)
            if mask in masks
        ]
        self._key = secrets.token_bytes(16)  # so that no list of guesses names the users
        self.count = 0
        """How many values were replaced."""

    def masked(self, message: Message) -> Message:
        """The message without such data. Ids that have some become other ids, equal ones equal."""
        return message._replace(
            thread_id=self._pseudonym(message.thread_id),
            user_id=self._pseudonym(message.user_id),
            user_text=self._text(message.user_text),
            bot_text=self._text(message.bot_text),
            routed_intent=self._optional(message.routed_intent),
            routed_query_type=self._optional(message.routed_query_type),
            error=self._optional(message.error),
            session_id=self._optional_id(message.session_id),
            response_id=self._optional_id(message.response_id),
            system=self._optional(message.system),
            context=self._optional(message.context),
            tool_calls=tuple(
                replace(
                    each,
                    arguments=self._text(each.arguments),
                    result=self._optional(each.result),
                )
                for each in message.tool_calls
            ),
        )

    def _text(self, text: str) -> str:
        for pattern, put, is_meant in self._replacements:

            def masked(match: re.Match[str], put: str = put, is_meant: _Check = is_meant) -> str:
                if not is_meant(match[0]):
                    return match[0]
                self.count += 1
                return put

            text = pattern.sub(masked, text)
        return text

    def _optional(self, text: str | None) -> str | None:
        return None if text is None else self._text(text)

    def _pseudonym(self, written: str) -> str:
        if self._text(written) == written:
            return written
        return "masked-" + blake2b(written.encode(), key=self._key, digest_size=8).hexdigest()

    def _optional_id(self, written: str | None) -> str | None:
        return None if written is None else self._pseudonym(written)


_Check = Callable[[str], bool]


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return len(digits) in _CARD_DIGITS and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(text: str) -> bool:
    digits = sum(each.isdigit() for each in text)
    return digits in _PHONE_DIGITS and _DATE.fullmatch(text.strip()) is None


_PATTERNS = {Mask.EMAILS: _EMAIL, Mask.CARDS: _CARD, Mask.PHONES: _PHONE}
_CHECKS: dict[Mask, _Check] = {
    Mask.EMAILS: lambda _: True, Mask.CARDS: _is_card, Mask.PHONES: _is_phone,
}  # fmt: skip
