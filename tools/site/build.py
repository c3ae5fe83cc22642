"""Builds the documentation site from `docs`, the public API and the OpenAPI document.

    ./run docs                          build it into build/site
    python tools/site/build.py --check  build it elsewhere: every warning is an error

Links are checked: a page, heading or file that does not exist fails the build.
"""

import argparse
import inspect
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sphinx.cmd.build import main as sphinx_build
from starlette.testclient import TestClient

import evalqueue
from evalqueue import Client, daemon
from evalqueue.http.app import create_app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "bench/results"
OUTPUT = ROOT / "build/site"
FILES = "files"
"""Where files of the project are to which pages link."""

PROJECT_PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "clients/typescript/README.md": "typescript.md",
    "bench/README.md": "benchmarks.md",
    **{f"bench/results/{each.name}": f"figures/{each.name}" for each in RESULTS.glob("*.md")},
}
"""Pages outside of `docs`, and their place on the site."""

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Start": ("readme", "howto/install", "howto/use-the-page"),
    "How-to guides": ("howto/*",),
    "Operate": ("operations", "configuration", "commands", "capacity", "benchmarks", "figures/*"),
    "Reference": ("http-api", "operations-of-the-api", "python", "sql", "typescript", "glossary"),
    "Explanation": ("architecture", "lifecycle", "other-programs", "adr/*"),
    "Project": ("changelog", "contributing", "security"),
}  # fmt: skip

_LINK = re.compile(r"(\]\(|src=\"|srcset=\"|href=\")([^)\"#:\s]+)(#[^)\"\s]*)?(?=[)\"])")
_DIAGRAM = re.compile(r"```mermaid\nstateDiagram-v2\n(.*?)```", re.DOTALL)
_ARROW = re.compile(r"(\w+) --> (\w+) : (.+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evalqueue-site-") as folder:
        sources = Path(folder, "sources")
        output = Path(folder, "site") if given.check else OUTPUT
        shutil.rmtree(output, ignore_errors=True)
        write_sources(sources)
        strict = ["--fail-on-warning", "--keep-going", "--quiet"]
        options = ["--conf-dir", str(Path(__file__).parent), "--doctree-dir", f"{folder}/trees"]
        if exit_code := sphinx_build([*strict, *options, "-b", "html", str(sources), str(output)]):
            sys.exit(exit_code)
        for folder_of_images in (
            "images",
            "screenshots",
        ):  # of <picture>, which Sphinx leaves alone
            shutil.copytree(DOCS / folder_of_images, output / folder_of_images)
    if not given.check:
        sys.stdout.write(f"{output / 'index.html'}\n")


def write_sources(sources: Path) -> None:
    """The site's pages, each where its links expect it."""
    shutil.copytree(DOCS, sources)
    for page in sources.rglob("*.md"):
        page.write_text(moved(page.read_text("utf-8"), DOCS / page.relative_to(sources), sources))
    (sources / "figures").mkdir()
    for name, place in PROJECT_PAGES.items():
        text = (ROOT / name).read_text("utf-8")
        (sources / place).write_text(moved(text, ROOT / name, sources))
    (sources / "python.md").write_text(python_page())
    (sources / "operations-of-the-api.md").write_text(operations_page())
    with (sources / "index.md").open("a") as index:
        index.writelines(toctrees(sources))


def moved(text: str, original: Path, sources: Path) -> str:
    """A page with links that are right where it is on the site."""
    here = place_of(original).parent

    def corrected(match: re.Match[str]) -> str:
        before, target, fragment = match[1], match[2], match[3] or ""
        path = (original.parent / target).resolve()
        if not path.exists():
            raise SystemExit(f"{original.relative_to(ROOT)} links to {target}, which is not there")
        if path.is_dir():
            return match[0]
        place = place_of(path)
        if place.parts[0] == FILES:
            (sources / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, sources / place)
        return f"{before}{os.path.relpath(place, here)}{fragment}"

    return _DIAGRAM.sub(table_of_diagram, _LINK.sub(corrected, text))


def table_of_diagram(match: re.Match[str]) -> str:
    """The arrows of a state diagram: Sphinx draws none without a program from elsewhere."""
    arrows = "".join(f"| {' | '.join(arrow)} |\n" for arrow in _ARROW.findall(match[1]))
    return f"| from | to | when |\n|---|---|---|\n{arrows}"


def place_of(path: Path) -> Path:
    """Where a file of the project is on the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS)
    name = path.relative_to(ROOT)
    return Path(PROJECT_PAGES.get(str(name), Path(FILES, name)))


def toctrees(sources: Path) -> Iterator[str]:
    """The navigation: every page once."""
    listed: set[str] = {"index"}
    order = re.findall(r"\]\(([^)#]+)\.md", (sources / "index.md").read_text("utf-8"))
    place = {name: number for number, name in reversed(list(enumerate(order)))}
    for caption, patterns in SECTIONS.items():
        found = [
            str(page.relative_to(sources).with_suffix(""))
            for pattern in patterns
            for page in sorted(sources.glob(f"{pattern}.md"))
        ]
        pages = [name for name in dict.fromkeys(found) if name not in listed]
        if caption == "How-to guides":
            pages.sort(key=lambda name: place.get(name, len(place)))
        listed.update(pages)
        yield f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        yield "".join(f"{name}\n" for name in pages)
        yield "```\n"


def python_page() -> str:
    """The public names, from their docstrings."""
    lines = ["# Python", "", "What `evalqueue` exports.", ""]
    for name in evalqueue.__all__:
        exported = getattr(evalqueue, name)
        kind = "autofunction" if inspect.isfunction(exported) else "autoclass"
        options = [] if kind == "autofunction" else [":members:"]
        lines += [f"## {name}", "", "```{eval-rst}", f".. {kind}:: evalqueue.{name}"]
        lines += [*(f"   {option}" for option in options), "```", ""]
    return "\n".join(lines)


def operations_page() -> str:
    """The HTTP API's operations, from its OpenAPI document."""
    app = create_app(Client(job_types=daemon.job_types()))
    client = TestClient(app, base_url="http://localhost")
    document: dict[str, Any] = client.get("/openapi.json").json()
    lines = [
        "# Operations", "",
        "From `/openapi.json`, which also has every parameter and answer.", "",
        "| operation | |", "|---|---|",
    ]  # fmt: skip
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines.append(f"| `{method.upper()} {path}` | {operation['summary']} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
