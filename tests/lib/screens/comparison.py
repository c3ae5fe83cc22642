"""Compares pictures of the page with references.

Another version of Chromium smooths edges otherwise, which changes single pixels by little: between
versions 150 and 156, at most ten pixels of a picture changed by more than 24 of 255, and no area.
Text or lines that move by two pixels change hundreds by more than 48. Another colour changes areas.
"""

import io

from PIL import Image, ImageChops, ImageFilter

MOVED_BY, MOST_MOVED = 48, 40  # of 255; pixels
COLOURED_BY, MOST_COLOURED = 6, 16  # of 255; pixels whose eight neighbours have changed, too
MOST_LONGER = 1  # pixels


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file)).convert("RGB")


def difference(expected: Image.Image, actual: Image.Image) -> str | None:
    """What differs between two pictures; None: nothing that is seen."""
    longer = actual.height - expected.height
    if actual.width != expected.width or abs(longer) > MOST_LONGER:
        return f"is {_size(actual)} pixels large, not {_size(expected)}"
    changes = changed(expected, actual)
    moved = _count(changes, MOVED_BY)
    coloured = _count(changes.filter(ImageFilter.MinFilter(3)), COLOURED_BY)
    if moved <= MOST_MOVED and coloured <= MOST_COLOURED:
        return None
    box = changes.point(_white_above(COLOURED_BY)).getbbox()
    return f"differs in the box {box}: {moved} pixels strongly, {coloured} in areas"


def changed(expected: Image.Image, actual: Image.Image) -> Image.Image:
    """The greatest difference of the three colours, where both pictures have pixels."""
    box = (0, 0, min(expected.width, actual.width), min(expected.height, actual.height))
    red, green, blue = ImageChops.difference(expected.crop(box), actual.crop(box)).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def stored(picture: Image.Image) -> bytes:
    """The picture without loss, in a third of the bytes of a PNG."""
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    return file.getvalue()


def _size(picture: Image.Image) -> str:
    return f"{picture.width} × {picture.height}"


def _white_above(limit: int) -> list[int]:
    return [255 if value > limit else 0 for value in range(256)]


def _count(changes: Image.Image, limit: int) -> int:
    return sum(changes.histogram()[limit + 1 :])
