"""Payloads: messages that may not be sent, since they could change or destroy data.

An adversarial test sends messages to a real system. A message is refused if it contains a statement
or a command that would do harm when executed. The exception: the app allows it, and every name in
it begins with MORIARTY_TEST_, so that nothing that exists can be affected.

The check looks for grammar, not for words: "delete the rice" is a sentence. Obfuscation (letters
that look alike, invisible letters, comments, spacing, URL encoding) is removed first. The check
does not parse every dialect. It prevents accidents; it is no security boundary for a database.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

TEST_PREFIX = "MORIARTY_TEST_"

_SHOWN = 60  # characters of what was found


def refusal(text: str, *, allows_destructive: bool) -> str | None:
    """Why a message may not be sent. None: it may be sent."""
    for read in _readings(text):
        for found in _found(read):
            if not allows_destructive:
                return (
                    f"it holds {found.kind} ({found.shown!r}), and this app allows none: "
                    "say it without statements or commands that change or destroy something."
                )
            if not found.is_harmless:
                return (
                    f"it holds {found.kind} ({found.shown!r}) that names something else than "
                    f"{TEST_PREFIX} identifiers: all that it names must begin with {TEST_PREFIX}."
                )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    kind: str
    shown: str
    targets: tuple[str, ...]

    @property
    def is_harmless(self) -> bool:
        """Whether every target has a test name. Without any target, the effect is unknown."""
        prefix = TEST_PREFIX.lower()
        return bool(self.targets) and all(
            name.startswith(prefix) and ".." not in name for name in self.targets
        )


# How a text can be read.


# Cyrillic and Greek letters, and a few others, that look like Latin ones in small letters; NFKC
# does the rest.
_LOOKALIKES = str.maketrans(
    "абвгԁеёзһіїјкӏмнорԛѕтцухԝу" + "αβεηικνορτυχω" + "ıɡɩʟᴀᴄᴅᴇᴍɴᴏᴘᴛᴜ",
    "abbrdeezhiijklmhopqstuyxwy" + "abenikvoptuxw" + "igilacdemnoptu",
)
_COMMENT = re.compile(r"/\*(?!!).*?(?:\*/|\Z)", re.DOTALL)
_EXECUTED_COMMENT = re.compile(r"/\*!\d*(.*?)(?:\*/|\Z)", re.DOTALL)
_LINE_COMMENT = re.compile(r"(?:--|#)[^\n]*")
_JOINED_STRINGS = re.compile(r"'\s*(?:\|\||\+)\s*'|\"\s*(?:\|\||\+)\s*\"")
_SPACED_LETTERS = re.compile(r"\b(?:[a-z][ .\-*]){2,}[a-z]\b")


def _readings(text: str) -> Iterator[str]:
    """The text in plain lower-case letters, once for each way to read its comments."""
    for once in dict.fromkeys((text, html.unescape(unquote(text)))):
        plain = _plain(once)
        executed = _EXECUTED_COMMENT.sub(r" \1 ", plain)
        # DROP/**/TABLE is two words, DR/**/OP is one, and what follows -- may be run after all.
        yield from dict.fromkeys(
            (
                plain,
                _COMMENT.sub(" ", executed),
                _COMMENT.sub("", executed),
                _LINE_COMMENT.sub(" ", _COMMENT.sub(" ", executed)),
                _SPACED_LETTERS.sub(lambda found: re.sub(r"[ .\-*]", "", found[0]), plain),
                _JOINED_STRINGS.sub("", plain),
            )
        )


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).casefold().translate(_LOOKALIKES)
    letters = unicodedata.normalize("NFD", letters)
    kept = (c for c in letters if unicodedata.category(c) not in {"Cf", "Mn", "Me"})
    return "".join("\n" if c in "\r\v\f\x85\u2028\u2029" else c for c in kept).replace("\0", "")


# What is looked for.


_NAME = r"""(?:[`"\[']?[\w$]+[`"\]']?(?:\s*\.\s*[`"\[']?[\w$]+[`"\]']?)*)"""
_NAMES = rf"(?P<targets>{_NAME}(?:\s*,\s*{_NAME})*)"
# A word that no table is called: what follows it is a sentence.
_NOT_A_WORD = r"(?!(?:the|a|an|my|our|your|this|that|these|those|it|its|all|any|some|me|his|her)\b)"
_OPERATOR = r"(?:[=<>]|\blike\b|\bin\s*\(|\bis\s+(?:not\s+)?null\b|\bbetween\b|\bexists\b)"
_CONDITION = rf"\s+where\b(?:[^;\n]{{0,200}}?{_OPERATOR}|\s+(?:not\s+)?(?:\d|true\b))"
_OBJECT = r"(?:table|database|schema|tablespace|keyspace|materialized\s+view)"
_PLAIN_WORD_OBJECT = (
    r"(?:view|index|user|role|column|function|procedure|trigger|sequence|extension|collection)"
)
_RIGHT = (
    r"(?:all(?:\s+privileges)?|select|insert|update|delete|truncate|create|drop|alter|usage|"
    r"execute|references|super(?:user)?|admin|dba|connect)"
)
_END = r"(?=\s*(?:;|$|[`'\")](?!\w)|--|\n))"

_SQL = (
    rf"\bdrop\s*{_OBJECT}\s+(?:if\s+exists\s+)?(?:only\s+)?{_NOT_A_WORD}{_NAMES}",
    rf"\bdrop\s+{_PLAIN_WORD_OBJECT}\s+(?:if\s+exists\s+)?{_NOT_A_WORD}{_NAMES}"
    rf"(?:\s+(?:cascade|on|from)\b|{_END})",
    rf"\btruncate\s*table\s+(?:only\s+)?{_NOT_A_WORD}{_NAMES}",
    rf"\btruncate\s+{_NOT_A_WORD}{_NAMES}(?:\s+(?:cascade|restart)\b|{_END})",
    rf"\bdelete\s*from\s+(?:only\s+)?{_NOT_A_WORD}{_NAMES}"
    rf"(?:\s+(?:as\s+)?\w+)?(?:{_CONDITION}|\s+(?:using|returning)\b|\s+limit\s+\d)",
    rf"(?:^|[;`'\"(:=]|\*/)[^\S\n]*delete\s*from\s+(?:only\s+)?{_NOT_A_WORD}{_NAMES}{_END}",
    rf"\bdelete\s+{_NAMES}\s+from\s+{_NAME}\s+(?:(?:inner|left|cross)\s+)?join\b",
    rf"\bupdate\s+(?:only\s+)?{_NAMES}(?:\s+(?:as\s+)?\w+)?\s+set\s+{_NAME}\s*=",
    rf"\binsert\s+(?:ignore\s+)?into\s+{_NAMES}"
    r"\s*(?:\(|values\b|select\b|default\s+values\b|set\s+\w+\s*=)",
    rf"\breplace\s+into\s+{_NAMES}\s*(?:\(|values\b|select\b)",
    rf"\bmerge\s+into\s+{_NAMES}\s.{{0,80}}?\busing\b",
    rf"\balter\s+(?:{_OBJECT}|user|role|system|column|sequence)\s+(?:if\s+exists\s+)?"
    rf"{_NOT_A_WORD}{_NAMES}",
    rf"\bcreate\s+(?:temp(?:orary)?\s+)?(?:table|view)\s+(?:if\s+not\s+exists\s+)?{_NAMES}"
    r"\s*(?:\(|as\s+select\b|like\s+\w+\s*;)",
    rf"\bcreate\s+(?:user|role|login)\s+{_NAMES}\s+(?:with|identified|password|superuser)\b",
    rf"\bcreate\s+(?:or\s+replace\s+\w+|trigger|database|schema)\s+{_NOT_A_WORD}{_NAMES}"
    rf"(?:\s*\(|\s+(?:as|before|after|on)\b|{_END})",
    rf"\bgrant\s+{_RIGHT}(?:\s*,\s*{_RIGHT})*\s+on\s+(?:table\s+)?{_NAMES}",
    rf"\brevoke\s+{_RIGHT}(?:\s*,\s*{_RIGHT})*\s+on\s+(?:table\s+)?{_NAMES}",
    rf"\brename\s+table\s+{_NAMES}\s+to\b",
    r"\bselect\b[^;]{1,500}?\binto\s+(?:out|dump)file\b",
    rf"\bcopy\s+{_NAMES}\s+(?:from|to)\s+(?:program|stdin|')",
    r"\bload\s+data\s+(?:local\s+)?infile\b",
    r"\b(?:xp_cmdshell|sp_executesql|sp_configure|pg_terminate_backend|lo_import|lo_export)\b",
    r"\bexecute\s+immediate\b",
    r";\s*shutdown\b",
)
_OTHER_STORES = (
    r"\.\s*(?:drop(?:database|indexes)?|(?:delete|remove|update|insert|replace)(?:one|many))\s*\(",
    r"\bdb\s*\.\s*\w+\s*\.\s*(?:remove|insert|update|drop)\s*\(",
    r"\b(?:flushall|flushdb)\b",
)
_ARGUMENTS = r"(?P<targets>[^\s;|&`'\")]+(?:[ \t]+[^\s;|&`'\")]+)*)"
_FLAGS = r"(?:\s+-{1,2}[\w\-=]+)"
_SHELL = (
    rf"\brm{_FLAGS}+\s+{_ARGUMENTS}",
    r"\brm\s+(?=[./~*\\$])" + _ARGUMENTS,
    rf"\brmdir\s+/s(?:\s+/q)?\s+{_ARGUMENTS}",
    rf"\bdel\s+/[a-z](?:\s+/[a-z])*\s+{_ARGUMENTS}",
    rf"\b(?:chmod|chown){_FLAGS}+\s+{_ARGUMENTS}",
    rf"\bshred{_FLAGS}+\s+{_ARGUMENTS}",
    rf"\btruncate\s+-s\s*\S+\s+{_ARGUMENTS}",
    rf"\bremove-item\b(?:\s+-\w+)*\s+{_ARGUMENTS}",
    r"\bmkfs(?:\.\w+)?\s+\S|\bdd\s+if=|>\s*/dev/(?:sd|nvme|hd)|\bformat\s+[a-z]:",
    r":\s*\(\s*\)\s*\{\s*:\s*\|",
    r"\b(?:curl|wget)\s[^\n|]{1,300}\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b",
    r"\bsudo\s+(?:reboot|shutdown|halt|poweroff|kill|rm)\b|\bshutdown\s+[-/][a-z]\b|\bkill\s+-9\s",
    r"\b(?:os\s*\.\s*(?:system|remove|unlink|rmdir)|shutil\s*\.\s*rmtree|subprocess\s*\.\s*\w+)\s*\(",
)


def _compiled(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns)


_KINDS = (
    ("SQL", _compiled(_SQL)),
    ("a database command", _compiled(_OTHER_STORES)),
    ("a shell command", _compiled(_SHELL)),
)


def _found(text: str) -> Iterator[_Finding]:
    for kind, patterns in _KINDS:
        for pattern in patterns:
            for match in pattern.finditer(text):
                targets: str = match.groupdict().get("targets") or ""
                yield _Finding(
                    kind=kind,
                    shown=" ".join(match[0].split())[:_SHOWN],
                    targets=tuple(_bare(name) for name in re.split(r"[\s,]+", targets) if name),
                )


def _bare(name: str) -> str:
    """A name without its quotes. A schema prefix stays, so such a name is no test name."""
    return re.sub(r"[`\"'\[\]]", "", name)
