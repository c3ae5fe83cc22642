"""Generates the committed files that programs make, or checks that they are up to date.

    ./run generate                      generate the files
    python tools/generate.py --check    compare the committed files (part of ./run check)

- third-party modules of the page, as they come from npm: `src/evalqueue/http/page/vendor`
- the client's types, from the app's own OpenAPI document: `clients/typescript/src/openapi.ts`
- the client for the page, compiled: `src/evalqueue/http/page/client`
- the schema as a whole, dumped from a fresh database: `src/evalqueue/sql/schema.sql`
- the client's licence, which its package must contain: `clients/typescript/LICENSE`

`--check` also type-checks files that are not compiled: the page's modules, and
`clients/typescript/checks`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schema_dump
from starlette.testclient import TestClient

from evalqueue import Client, daemon
from evalqueue.http.app import create_app

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "node_modules"
BIN = PACKAGES / ".bin"
PAGE = ROOT / "src/evalqueue/http/page"
VENDOR = PAGE / "vendor"
CLIENT = ROOT / "clients/typescript"
TYPES = CLIENT / "src/openapi.ts"
COMPILED = PAGE / "client"
SCHEMA = ROOT / "src/evalqueue/sql/schema.sql"

# Modules that the page uses, and what they import. Modules that insert text as HTML (unsafe-html
# and similar ones) are left out, and style-map, which sets an inline style that the content
# security policy forbids (`page/lib/styles.js` replaces it).
_LIT = (
    "lit-html", "directive", "directive-helpers", "async-directive", "static",
    *(
        f"directives/{name}"
        for name in (
            "cache", "choose", "class-map", "guard", "if-defined", "join", "keyed", "live", "map",
            "private-async-helpers", "range", "ref", "repeat", "template-content",
            "until", "when",
        )
    ),
)  # fmt: skip
_VIRTUAL = ("index", "utils", "lazy-measurements", "scroll-classifier", "ios-gesture")
VENDORED: Mapping[str, Mapping[str, str]] = {
    "lit-html": {f"lit-html/{name}.js": f"{name}.js" for name in _LIT}
    | {"lit-html/LICENSE": "LICENSE"},
    "@tanstack/virtual-core": {
        f"virtual-core/{name}.js": f"dist/esm/{name}.js" for name in _VIRTUAL
    }
    | {"virtual-core/LICENSE": "LICENSE"},
}
"""The files of each package: target path → path in the package."""


def main(arguments: list[str]) -> int:
    """Returns an exit code."""
    if not BIN.exists():
        print("node_modules is missing: ./run generate and ./run check install it.")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        made = _make(Path(folder))
        if arguments == ["--check"]:
            _run("tsc", "-p", str(CLIENT / "tsconfig.check.json"))
            _check_page(Path(folder))
            return _compare(made)
        for target, fresh in made.items():
            _put(fresh, target)
    return 0


def _make(folder: Path) -> dict[Path, Path]:
    """Generate everything into a folder; returns committed path → generated path."""
    vendor, types, compiled = folder / "vendor", folder / "openapi.ts", folder / "client"
    dumped = folder / "schema.sql"
    _vendor(vendor)
    _types(folder, types)
    dumped.write_text(schema_dump.fresh(), "utf-8")
    _run("tsc", "-p", str(CLIENT / "tsconfig.page.json"), "--outDir", str(compiled))
    return {
        VENDOR: vendor,
        TYPES: types,
        COMPILED: compiled,
        SCHEMA: dumped,
        CLIENT / "LICENSE": ROOT / "LICENSE",
    }


def _vendor(folder: Path) -> None:
    versions: list[str] = []
    for package, files in VENDORED.items():
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PACKAGES / package / source, folder / name)
        about = json.loads((PACKAGES / package / "package.json").read_text("utf-8"))
        versions.append(f"{package} {about['version']} {about['license']}\n")
    (folder / "VERSIONS").write_text("".join(versions), "utf-8")


def _types(folder: Path, types: Path) -> None:
    document = folder / "openapi.json"
    document.write_text(json.dumps(_document()), "utf-8")
    _run("openapi-typescript", str(document), "--output", str(types))


def _document() -> dict[str, Any]:
    """The API's OpenAPI document with default settings, whatever the environment variables are."""
    for name in [name for name in os.environ if name.startswith("EVALQUEUE_")]:
        del os.environ[name]
    app = create_app(Client(job_types=daemon.job_types()))
    return TestClient(app, base_url="http://localhost").get("/openapi.json").json()


def _check_page(folder: Path) -> None:
    """Type-check the page's modules, together with the types of the packages they import."""
    checked = folder / "page"
    shutil.copytree(PAGE, checked, ignore=shutil.ignore_patterns(COMPILED.name, VENDOR.name))
    shutil.copytree(CLIENT / "src", checked / "client")
    shutil.copytree(PACKAGES / "lit-html", checked / "vendor/lit-html")
    shutil.copytree(PACKAGES / "@tanstack/virtual-core/dist/esm", checked / "vendor/virtual-core")
    (checked / "vendor/lit-html/package.json").unlink()
    (checked / "package.json").write_text('{"type": "module"}', "utf-8")
    shutil.copyfile(ROOT / "tools/tsconfig.page.json", checked / "tsconfig.json")
    _run("tsc", "-p", str(checked))


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run([BIN / program, *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{program} says:\n{done.stdout}{done.stderr}")


def _put(fresh: Path, target: Path) -> None:
    if fresh.is_file():
        shutil.copyfile(fresh, target)
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(fresh, target)


def _compare(made: Mapping[Path, Path]) -> int:
    stale = [
        path.relative_to(ROOT).as_posix()
        for target, fresh in made.items()
        for path in _differing(target, fresh)
    ]
    if stale:
        print("Not what ./run generate makes:", *stale, sep="\n  ")
    return 1 if stale else 0


def _differing(target: Path, fresh: Path) -> list[Path]:
    if fresh.is_file():
        return [] if _same(target, fresh) else [target]
    names = _files(fresh) | _files(target)
    return [target / name for name in sorted(names) if not _same(target / name, fresh / name)]


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
