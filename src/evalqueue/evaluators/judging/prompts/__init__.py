"""The texts that judges are asked with: files with a version, never inlined in code.

A file has a line `version: NAME/NUMBER`, a part under `# system` and a part under `# prompt`.
`$name` marks what is filled in. Filling is one pass over our own text, so that a `$name` inside a
conversation stays what it is. A changed text needs a new version; its digest is part of every
score in any case.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files
from string import Template

_LAYOUT = re.compile(
    r"\Aversion: (?P<version>[a-z_]+/\d+)\n+# system\n(?P<system>.*)\n# prompt\n(?P<prompt>.*)\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A text with everything filled in, ready to be sent."""

    system: str
    prompt: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One versioned text."""

    version: str
    digest: str
    """Of the whole file."""
    system: str
    prompt: str

    def render(self, **values: str) -> Rendered:
        """Fill in the text; every name must be given, and none that it doesn't use."""
        return Rendered(**self._fill(values))

    def _fill(self, values: Mapping[str, str]) -> dict[str, str]:
        if different := self._names.symmetric_difference(values):
            names = ", ".join(sorted(different))
            raise ValueError(f"prompt {self.version}: missing or unknown: {names}")
        return {part: each.substitute(values) for part, each in self._templates.items()}

    @cached_property
    def _templates(self) -> Mapping[str, Template]:
        return {"system": Template(self.system), "prompt": Template(self.prompt)}

    @cached_property
    def _names(self) -> frozenset[str]:
        templates = self._templates.values()
        return frozenset(name for each in templates for name in each.get_identifiers())


@cache
def load(name: str) -> Prompt:
    """The text in the file `NAME.md` beside this one."""
    return parse((files(__name__) / f"{name}.md").read_text(encoding="utf-8"), where=f"{name}.md")


def parse(text: str, *, where: str) -> Prompt:
    """A prompt from its text; `where` names it in errors."""
    layout = _LAYOUT.match(text)
    if layout is None:
        raise ValueError(f"{where} needs a line 'version: NAME/1', '# system' and '# prompt'.")
    return Prompt(
        version=layout["version"],
        digest=sha256(text.encode()).hexdigest(),
        system=layout["system"].strip(),
        prompt=layout["prompt"].strip(),
    )
