"""Names of the HTTP layer's classes."""

import ast
from collections import Counter
from pathlib import Path

import evalqueue

PACKAGE = Path(evalqueue.__file__).parent


def public_classes(folder: Path) -> list[str]:
    return [
        node.name
        for path in folder.rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


def test_no_class_of_the_http_layer_has_the_name_of_another_class() -> None:
    everywhere = Counter(public_classes(PACKAGE))
    assert [name for name in public_classes(PACKAGE / "http") if everywhere[name] > 1] == []
