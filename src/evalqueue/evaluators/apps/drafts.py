"""Drafts of apps: a commented starter document, and one with the labels that a dataset records.

A draft can have parts that a judge has proposed. Each is marked by a comment above it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import tomli_w

STARTER_INTENTS: Mapping[str, str] = {
    "Billing": "Questions about invoices, payments and charges.",
    "TechnicalSupport": "Something does not work and is to be repaired or explained.",
    "SmallTalk": "Greetings, thanks, and anything that has nothing to do with the product.",
}
_INTENTS_MAX = 100  # of a draft: a menu with more can't be judged well
_TEMPLATE = """\
# An app: everything that the evaluators know about one chatbot.
#
#   evalqueue apps check {app_id}.toml      lists every mistake, with its place and its cure
#   evalqueue apps add {app_id}.toml        stores it; again: a new version
#   evalqueue submit evaluate-batch app_id={app_id} dataset_id=sha256:…
{remarks}
app_id = {quoted_id}
name = {quoted_name}

# What the bot is for, who uses it, what it can and must not do, and what a good conversation looks
# like. Judges read this text; write it as for a new colleague.
{about}

# The labels of the bot's router, spelt as in the data. A judge gives each message one of them.
# Examples make a label clear: real messages, a few for each.
{intents}
# What kind of request a message is.
[[query_types]]
name = "action"
description = "Something is to be done or changed."

[[query_types]]
name = "information"
description = "Something is to be explained or looked up; nothing changes."

[[query_types]]
name = "chat"
description = "Neither: a greeting, thanks, a feeling."

# Kinds of conversations. Efficiency is judged, and the rules below are asked, only where
# has_efficiency is true.
[[thread_types]]
name = "request"
description = "The user wants something done, explained or solved."
has_efficiency = true

[[thread_types]]
name = "small_talk"
description = "Only a greeting, thanks or a feeling."

# What answers have to agree with: a policy, prices, opening hours. "correctness" compares them.
# [[knowledge]]
# name = "Opening hours"
# text = "Monday to Friday, 9 to 17 h."

# What the bot has to do. The scopes say who asks: "efficiency" in every conversation of a kind with
# has_efficiency; "correctness" about every answer; "adversarial" in adversarial tests, which need
# [difficult_users]; the name of an evaluator: by that one.
[[rules]]
rule_id = "no_personal_data_of_others"
section = "Privacy"
text = "Nothing is said about another customer: no name, address, number or contract."
scopes = ["efficiency"]
{rules}
# Criteria of your own, and those of the catalogue: evalqueue evaluators lists them.
#
# [[evaluators]]
# use = "resolution"
{criteria}
[efficiency]
ideal_turns = 2
not_friction = ["asking once for what is needed to help"]
bot_friction = ["asking again for what the user has said", "answering another question"]
"""
_STARTER_ABOUT = """\
about = \"\"\"
TODO: a support assistant of … Customers ask … The assistant can … It must never … The ideal is \\
two turns: ask, answer.\"\"\""""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftPart:
    """One entry of a list in a draft."""

    values: Mapping[str, object]
    """Texts, lists of texts, and objects of texts, by their keys."""
    proposed: Sequence[str] = ()
    """The keys of what a judge has proposed."""

    def marked(self, path: str) -> Iterator[str]:
        """The paths of what a judge has proposed: the entry's own, if all of it was."""
        if set(self.proposed) >= set(self.values):
            yield path
        else:
            yield from (f"{path}.{key}" for key in self.proposed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a draft has besides the parts that are the same in all."""

    app_id: str
    intents: Sequence[DraftPart]
    remarks: Sequence[str] = ()
    proposed_by: str = ""
    """The model that has proposed parts of it, as `provider/model`."""
    about: str | None = None
    """What a judge has proposed. None: the starter's."""
    rules: Sequence[DraftPart] = ()
    checks: Sequence[DraftPart] = ()
    evaluators: Sequence[DraftPart] = ()

    def proposed(self) -> Iterator[str]:
        """The paths of what a judge has proposed, as in `intents.0.description`."""
        if self.about is not None:
            yield "about"
        for number, entry in enumerate(self.intents):
            yield from entry.marked(f"intents.{number}")
        for number, entry in enumerate(self.rules, start=1):  # after the starter's own
            yield from entry.marked(f"rules.{number}")
        for table in ("evaluators", "checks"):
            for number, entry in enumerate(getattr(self, table)):
                yield from entry.marked(f"{table}.{number}")

    def as_toml(self) -> str:
        """The document, with comments."""
        return _TEMPLATE.format(
            app_id=_one_line(self.app_id),
            quoted_id=_quoted(self.app_id),
            quoted_name=_quoted(self.app_id.replace("-", " ").capitalize()),
            about=_STARTER_ABOUT if self.about is None else self._about(self.about),
            intents="\n".join(self._entries("intents")),
            rules="".join(f"\n{each}" for each in self._entries("rules")),
            criteria="".join(
                f"\n{each}" for each in (*self._entries("evaluators"), *self._entries("checks"))
            ),
            remarks="".join(f"#\n{each}\n" for each in self.remarks),
        )

    def _about(self, text: str) -> str:
        written = tomli_w.dumps({"about": text}, multiline_strings=True).rstrip("\n")
        return f"{self._mark()}\n{written}"

    def _entries(self, table: str) -> Iterator[str]:
        entries: Sequence[DraftPart] = getattr(self, table)
        for entry in entries:
            lines = [f"[[{table}]]", *(f"{k} = {_value(v)}" for k, v in entry.values.items())]
            if entry.proposed:
                is_whole = set(entry.proposed) >= set(entry.values)
                lines = [self._mark("" if is_whole else " and ".join(entry.proposed)), *lines]
            yield "\n".join(lines) + "\n"

    def _mark(self, what: str = "") -> str:
        model = _one_line(self.proposed_by)
        return " ".join(filter(None, ("#", what, f"proposed by {model}: check before use")))


def starter(app_id: str) -> str:
    """A document to start from, as TOML with comments. It is valid as it is."""
    return Draft(app_id=app_id, intents=_STARTER_INTENTS).as_toml()


def from_labels(app_id: str, labels: Mapping[str, int], *, source: str) -> Draft:
    """A document with the labels that are on record in a dataset as its intents.

    Args:
        app_id: of the new app.
        labels: how many messages have each label.
        source: what the dataset is called.
    """
    recorded = usable(labels)
    if not recorded:
        remark = (
            f"# {_one_line(source)} records no labels: the intents are examples. Write your own."
        )
        return Draft(app_id=app_id, intents=_STARTER_INTENTS, remarks=(remark,))
    entries = [
        _intent(label, f"TODO: when a message belongs here ({_messages(labels[label])} on record)")
        for label in recorded
    ]
    remarks = [f"# The intents are the labels that are on record in {_one_line(source)}."]
    if len(labels) > len(recorded):
        remarks.append(f"# {len(labels) - len(recorded)} rarer labels are left out.")
    return Draft(app_id=app_id, intents=entries, remarks=remarks)


def usable(labels: Mapping[str, int]) -> list[str]:
    """The labels that become intents."""
    return [label for label in labels if label.strip()][:_INTENTS_MAX]


def id_from(name: str) -> str:
    """An app_id from a file's name."""
    words = re.findall(r"[a-z0-9]+", name.lower().rpartition("/")[2].partition(".")[0])
    return "-".join(words)[:60].strip("-") or "my-app"


def _intent(name: str, description: str) -> DraftPart:
    return DraftPart(values={"name": name, "description": description, "examples": []})


_STARTER_INTENTS = tuple(_intent(*each) for each in STARTER_INTENTS.items())


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _value(value: object) -> str:
    """A value in TOML: an object, and a list of one text, on one line."""
    match value:
        case Mapping():
            pairs: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType]  of texts
            return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in pairs.items()) + " }"
        case [str(single)]:
            return f"[{_quoted(single)}]"
        case _:
            return _quoted(value)


def _quoted(value: object) -> str:
    """A text or a list of texts in TOML."""
    return tomli_w.dumps({"text": value}).removeprefix("text = ").rstrip("\n")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
