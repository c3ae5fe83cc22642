"""Personal data in texts: addresses, phone numbers and card numbers, by their patterns.

The patterns are our own. The libraries for this (Presidio, scrubadub) bring language models of
hundreds of megabytes; phonenumbers finds national numbers only where their country is known, and
leaves the others as they are. These patterns rather find too much: any run of 7 to 15 digits that
is written like a phone number, whatever it means.
"""

import re
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

_PHONE_DIGITS = range(7, 16)  # E.164 has 15 at most
_CARD_DIGITS = range(13, 20)  # ISO/IEC 7812-1

_EMAIL = re.compile(r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]++@[\w-]++(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<![\w.])[0-9](?:[ -]?[0-9]){12,18}(?!\w)")
_PHONE = re.compile(  # possessive: digits divided otherwise give no other number
    r"(?<![\w.:/@#-])(?:\+|00)?\(?[0-9]{1,5}+\)?+(?:[\s./()-]{0,2}+[0-9]{1,6}+){1,6}"
    r"(?![\w@]|[:.][0-9])"
)
_DATE = re.compile(
    r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}([T\s].*)?|[0-9]{1,2}([-/.])[0-9]{1,2}\2[0-9]{4}.*"
)


class PersonalData(StrEnum):
    """A kind of personal data."""

    EMAILS = "emails"
    PHONES = "phones"
    CARDS = "cards"


Check = Callable[[str], bool]


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return len(digits) in _CARD_DIGITS and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(text: str) -> bool:
    digits = sum(each.isdigit() for each in text)
    return digits in _PHONE_DIGITS and _DATE.fullmatch(text.strip()) is None


PATTERNS = {PersonalData.EMAILS: _EMAIL, PersonalData.CARDS: _CARD, PersonalData.PHONES: _PHONE}
"""What is written like it. In this order: a card's number is written like a phone number, too."""
IS_MEANT: dict[PersonalData, Check] = {
    PersonalData.EMAILS: lambda _: True,
    PersonalData.CARDS: _is_card,
    PersonalData.PHONES: _is_phone,
}
"""Whether what is written like it is one."""
MASKS = {kind: f"[{kind.value.removesuffix('s')}]" for kind in PATTERNS}
"""What stands for it, once it is masked."""
_STRETCH = 2_000  # characters: a pattern's time grows faster than its text
_BEYOND = 400  # characters: the longest e-mail address has 254


def without_any(text: str) -> str:
    """A short text with its personal data masked."""
    for kind, pattern in PATTERNS.items():
        text = pattern.sub(
            lambda match, kind=kind: MASKS[kind] if IS_MEANT[kind](match[0]) else match[0], text
        )
    return text


def found(text: str, kinds: Collection[PersonalData]) -> Iterator[str]:
    """The personal data of some kinds in a text of any length."""
    for start in range(0, len(text), _STRETCH):
        first = max(0, start - _BEYOND)
        stretch = text[first : start + _STRETCH + _BEYOND]
        for kind, pattern in PATTERNS.items():
            for match in pattern.finditer(stretch) if kind in kinds else ():
                if start <= first + match.start() < start + _STRETCH and IS_MEANT[kind](match[0]):
                    yield match[0].strip()
