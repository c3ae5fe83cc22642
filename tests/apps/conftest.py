"""A small app of a telecom support bot, as a document and as text."""

from typing import Any

import pytest

from evalqueue.evaluators.apps import App, documents
from evalqueue.evaluators.apps.documents import Notation

TELECOM = """
app_id = "telecom"
name = "Telecom support"
about = "Support of a telephone company."

[[intents]]
name = "Billing"
description = "Invoices and payments."
examples = ["why is my bill so high?"]

[[intents]]
name = "Network"
description = "Calls and data do not work."

[[query_types]]
name = "action"
description = "Something is to be done."

[[thread_types]]
name = "request"
description = "The customer wants something."
has_efficiency = true

[[rules]]
rule_id = "no_data_of_others"
section = "Privacy"
text = "Nothing is said about another customer."
scopes = ["efficiency"]
"""


@pytest.fixture
def telecom() -> App:
    return documents.read(TELECOM, Notation.TOML, where="telecom.toml")


@pytest.fixture
def document() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(TELECOM)
