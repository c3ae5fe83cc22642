"""Drafts of apps: a commented starter document, and one with the labels that a dataset records."""

import re
from collections.abc import Mapping, Sequence

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
about = \"\"\"
TODO: a support assistant of … Customers ask … The assistant can … It must never … The ideal is \\
two turns: ask, answer.\"\"\"

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

# Criteria of your own, and those of the catalogue: evalqueue evaluators lists them.
#
# [[evaluators]]
# use = "resolution"

[efficiency]
ideal_turns = 2
not_friction = ["asking once for what is needed to help"]
bot_friction = ["asking again for what the user has said", "answering another question"]
"""


def starter(app_id: str) -> str:
    """A document to start from, as TOML with comments. It is valid as it is."""
    return _document(app_id, _intents(STARTER_INTENTS), remarks=())


def from_labels(app_id: str, labels: Mapping[str, int], *, source: str) -> str:
    """A document with the labels that are on record in a dataset as its intents.

    Args:
        app_id: of the new app.
        labels: how many messages have each label.
        source: what the dataset is called.
    """
    usable = [label for label in labels if label.strip()][:_INTENTS_MAX]
    if not usable:
        remark = (
            f"# {_one_line(source)} records no labels: the intents are examples. Write your own."
        )
        return _document(app_id, _intents(STARTER_INTENTS), remarks=(remark,))
    described = {
        label: f"TODO: when a message belongs here ({_messages(labels[label])} on record)"
        for label in usable
    }
    remarks = [f"# The intents are the labels that are on record in {_one_line(source)}."]
    if len(labels) > len(usable):
        remarks.append(f"# {len(labels) - len(usable)} rarer labels are left out.")
    return _document(app_id, _intents(described), remarks=remarks)


def id_from(name: str) -> str:
    """An app_id from a file's name."""
    words = re.findall(r"[a-z0-9]+", name.lower().rpartition("/")[2].partition(".")[0])
    return "-".join(words)[:60].strip("-") or "my-app"


def _document(app_id: str, intents: str, *, remarks: Sequence[str]) -> str:
    return _TEMPLATE.format(
        app_id=app_id,
        quoted_id=_quoted(app_id),
        quoted_name=_quoted(app_id.replace("-", " ").capitalize()),
        intents=intents,
        remarks="".join(f"#\n{each}\n" for each in remarks),
    )


def _intents(described: Mapping[str, str]) -> str:
    return "\n".join(
        f"[[intents]]\nname = {_quoted(name)}\ndescription = {_quoted(text)}\nexamples = []\n"
        for name, text in described.items()
    )


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _quoted(text: str) -> str:
    """A TOML string."""
    return tomli_w.dumps({"text": text}).removeprefix("text = ").rstrip("\n")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
