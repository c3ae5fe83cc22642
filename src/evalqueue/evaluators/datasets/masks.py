"""Personal data is replaced while a file is imported, before anything is stored."""

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from evalqueue.evaluators import personal_data
from evalqueue.evaluators.datasets.names import NameList, checked_names
from evalqueue.evaluators.formats import FormatError, Message, shown
from evalqueue.evaluators.personal_data import Check, PersonalData

NAMES = "names"
"""What the masking of a list of names is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """What is masked."""

    kinds: frozenset[PersonalData] = frozenset()
    names: tuple[str, ...] = ()
    """Of people, for instance: each is replaced wherever it is a whole word."""

    def __bool__(self) -> bool:
        return bool(self.kinds or self.names)

    @classmethod
    def of(cls, kinds: Iterable[PersonalData] | None, names: Iterable[str] | None) -> "Masks":
        """These kinds, and these names.

        Raises:
            ValueError: one is no name, or there are too many.
        """
        return cls(kinds=frozenset(kinds or ()), names=checked_names(names or ()))

    @property
    def labels(self) -> Sequence[str]:
        """Their names, for people."""
        return sorted(self.kinds) + ([NAMES] if self.names else [])


NO_MASKS = Masks()


def kinds_of(written: str) -> frozenset[PersonalData]:
    """The kinds in a list such as "emails,phones".

    Raises:
        FormatError: there is no such kind.
    """
    found = {name.strip().lower() for name in written.split(",") if name.strip()}
    for name in sorted(found - set(PersonalData)):
        raise FormatError(f"There is no mask {shown(name)}. Known: {', '.join(PersonalData)}.")
    return frozenset(map(PersonalData, found))


class Masking:
    """Replaces personal data in messages."""

    def __init__(self, masks: Masks) -> None:
        self._replacements = [
            (
                personal_data.PATTERNS[mask],
                personal_data.MASKS[mask],
                personal_data.IS_MEANT[mask],
            )
            for mask in personal_data.PATTERNS
            if mask in masks.kinds
        ]
        self._names = NameList(masks.names) if masks.names else None
        self._key = secrets.token_bytes(16)  # so that no list of guesses names the users
        self.count = 0
        """How many values were replaced."""

    def masked(self, message: Message) -> Message:
        """The message without such data. Ids that have some become other ids, equal ones equal."""
        expected = message.expected_tool_calls
        return message._replace(
            thread_id=self._pseudonym(message.thread_id),
            user_id=self._pseudonym(message.user_id),
            other_users=tuple(map(self._pseudonym, message.other_users)),
            user_text=self._text(message.user_text),
            bot_text=self._text(message.bot_text),
            routed_intent=self._optional(message.routed_intent),
            routed_query_type=self._optional(message.routed_query_type),
            error=self._optional(message.error),
            session_id=self._optional_id(message.session_id),
            response_id=self._optional_id(message.response_id),
            system=self._optional(message.system),
            context=self._optional(message.context),
            expected=self._optional(message.expected),
            alternative=self._optional(message.alternative),
            tool_calls=tuple(
                replace(
                    each,
                    arguments=self._text(each.arguments),
                    result=self._optional(each.result),
                )
                for each in message.tool_calls
            ),
            tools=self._optional(message.tools),
            expected_tool_calls=expected
            and tuple(replace(each, arguments=self._optional(each.arguments)) for each in expected),
        )

    def _text(self, text: str) -> str:
        for pattern, put, is_meant in self._replacements:

            def masked(match: re.Match[str], put: str = put, is_meant: Check = is_meant) -> str:
                if not is_meant(match[0]):
                    return match[0]
                self.count += 1
                return put

            text = pattern.sub(masked, text)
        if self._names is not None:
            text, count = self._names.replaced(text, "[name]")
            self.count += count
        return text

    def _optional(self, text: str | None) -> str | None:
        return None if text is None else self._text(text)

    def _pseudonym(self, written: str) -> str:
        if self._text(written) == written:
            return written
        return "masked-" + blake2b(written.encode(), key=self._key, digest_size=8).hexdigest()

    def _optional_id(self, written: str | None) -> str | None:
        return None if written is None else self._pseudonym(written)
