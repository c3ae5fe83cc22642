"""The reference pictures of the page, and what is written when a picture differs from one."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageChops
from screens import comparison

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "page" / "pictures"
FOUND = ROOT / "build" / "pictures"
"""Where tests write the pictures that differ."""

PAGES = (
    "jobs", "job", "chosen", "new-test", "runs", "run", "thread", "comparison",
    "annotation-queues", "annotation", "adversarial-test", "case", "datasets", "dataset", "apps",
    "app", "workers",
)  # fmt: skip
"""The pages that are compared. The others are forms of the same parts."""

DIFFERS = """{name} {how}.
See {folder}: {name}-actual.png, {name}-expected.png and {name}-difference.png.
If the new picture is right, accept it: ./run screenshots --accept"""


def check(pictures: Iterable[tuple[str, Image.Image]], folder: Path = FOUND) -> None:
    """Compare pictures with the references of their names, and fail with all that differ."""
    found = [problem for each in pictures if (problem := _problem(*each, folder))]
    assert not found, "\n\n".join(found)


def accept(name: str, picture: Image.Image) -> bool:
    """Make a picture the reference, unless it is like the reference; True: it was made."""
    path = FOLDER / f"{name}.webp"
    if path.exists() and comparison.difference(_read(path), picture) is None:
        return False
    path.write_bytes(comparison.stored(picture))
    return True


def remove_others(names: set[str]) -> None:
    """Remove the references of pictures that are no longer taken."""
    for path in FOLDER.glob("*.webp"):
        if path.stem not in names:
            path.unlink()


def _problem(name: str, actual: Image.Image, folder: Path) -> str | None:
    path = FOLDER / f"{name}.webp"
    if not path.exists():
        return f"{name} has no reference picture: ./run screenshots --accept"
    expected = _read(path)
    how = comparison.difference(expected, actual)
    if how is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    actual.save(folder / f"{name}-actual.png")
    expected.save(folder / f"{name}-expected.png")
    changes = comparison.changed(expected, actual)
    ImageChops.invert(changes).save(folder / f"{name}-difference.png")
    return DIFFERS.format(name=name, how=how, folder=folder)


def _read(path: Path) -> Image.Image:
    return comparison.opened(path.read_bytes())
