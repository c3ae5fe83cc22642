"""A site on a database of the test's own."""

from collections.abc import Generator
from pathlib import Path

import pytest
from browsing import Site, environment


@pytest.fixture
def site(dsn: str, tmp_path: Path) -> Generator[Site]:
    """A site without processes."""
    site = Site(dsn, tmp_path, environment(tmp_path, dsn))
    yield site
    site.stop()
