"""One name for one thing: a public class name is defined once in the whole package."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/evalqueue"


def public_classes() -> dict[str, list[str]]:
    """Where each public class is defined, nested ones included: name → `file:line`."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    return places


def test_a_public_class_name_is_defined_once():
    places = public_classes()
    assert len(places) > 100  # the package was read
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
