"""The benchmarks, which no test runs, import only what exists."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SCRIPTS = sorted(BENCH.glob("*.py"))


def defined(module: Path) -> set[str]:
    """The names that a module binds at its top level."""
    tree = ast.parse(module.read_text("utf-8"))
    names = {name.id for node in ast.walk(tree) for name in ast.walk(node)
             if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}  # fmt: skip
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_imports_what_exists(script: Path) -> None:
    siblings = {each.stem: each for each in SCRIPTS}
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module in siblings:
            assert {name.name for name in node.names} <= defined(siblings[node.module])
        elif node.module.partition(".")[0] == "evalqueue":
            assert importlib.util.find_spec(node.module) is not None, node.module
            module = importlib.import_module(node.module)
            for name in node.names:
                submodule = f"{node.module}.{name.name}"
                assert hasattr(module, name.name) or importlib.util.find_spec(submodule), submodule
        else:
            root = node.module.partition(".")[0]
            assert importlib.util.find_spec(root) is not None, f"{script.name}: no module {root}"
