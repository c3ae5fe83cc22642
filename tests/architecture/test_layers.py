"""The layout: packages that can be held in mind, each with a contract that import-linter checks."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/evalqueue"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]
LAYERS = [contract for contract in CONTRACTS if contract["type"] == "layers"]


def modules(folder: Path) -> list[Path]:
    """The modules directly in a folder."""
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def parts(folder: Path) -> list[Path]:
    """The modules and packages directly in a package."""
    return [
        *modules(folder),
        *(path for path in folder.iterdir() if (path / "__init__.py").exists()),
    ]


PACKAGES = [path for path in [PACKAGE, *PACKAGE.rglob("*")] if path.is_dir() and modules(path)]


def name_of(folder: Path) -> str:
    return ".".join(("evalqueue", *folder.relative_to(PACKAGE).parts))


@pytest.mark.parametrize("contract", LAYERS, ids=lambda contract: contract["id"])
def test_a_contract_has_at_most_ten_layers_and_names_every_module(contract: dict[str, object]):
    layers = contract["layers"]
    assert isinstance(layers, list)
    assert len(layers) <= 10
    assert contract["exhaustive"] is True


def test_every_package_of_several_modules_has_one_contract():
    """A package whose modules are independent names them by a wildcard: a new one needs no line."""
    ordered = [container for contract in LAYERS for container in contract["containers"]]
    independent = [
        name.removesuffix(".*")
        for contract in CONTRACTS
        if contract["type"] == "independence"
        for name in contract["modules"]
    ]
    covered = Counter(ordered + independent)
    assert set(covered.values()) == {1}
    assert set(covered) <= set(map(name_of, PACKAGES))
    assert {name_of(folder) for folder in PACKAGES if len(parts(folder)) > 1} <= set(covered)


@pytest.mark.parametrize("folder", PACKAGES, ids=name_of)
def test_a_package_is_small(folder: Path):
    assert len(modules(folder)) <= (20 if folder == PACKAGE else 13)


@pytest.mark.parametrize("folder", PACKAGES, ids=name_of)
def test_no_module_is_named_by_the_prefix_of_a_family(folder: Path):
    names = {path.stem for path in modules(folder)}
    families = names | {path.name for path in folder.iterdir() if path.is_dir()}
    prefixed = {name for name in names if name.split("_")[0] in families - {name}}
    assert prefixed == set()


def test_only_composition_roots_may_import_the_simulated_outside_world():
    contract = next(each for each in CONTRACTS if each["id"] == "outside-world")
    evaluators = PACKAGE / "evaluators"
    found = {
        name_of(path.with_suffix(""))
        for folder in (PACKAGE, evaluators)
        for path in folder.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }
    allowed = {"cli", "testing", "evaluators", "evaluators.simulated", "__main__"}
    assert set(contract["source_modules"]) == found - {f"evalqueue.{name}" for name in allowed}
