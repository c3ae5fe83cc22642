"""Takes pictures of the page: `./run screenshots`.

For the documentation, or with `--accept` the references that tests/page compares with.
"""

import argparse
import shutil
import sys

from browsing import PageErrors, Site, environment
from homes import temporary_home
from screens import references
from screens.camera import FIX_TEXTS, LAST, pictures, show, tab_of
from screens.states import pictures_of_states
from screens.studio import Studio, studio

from evalqueue.postgres.embedded.server import Embedded

FOLDER = references.ROOT / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 860}


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run screenshots", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="replace the references that differ")
    take = accept_pictures if parser.parse_args().accept else take_screenshots
    home = temporary_home("evalqueue-screens-")
    server = Embedded(home / "postgres")
    site = Site(server.url, home, environment(home, server.url))
    try:
        site.run("migrate")
        site.start_all()
        with studio(site, home) as ready:
            take(ready)
    finally:
        site.stop()
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def take_screenshots(studio: Studio) -> None:
    """For the documentation."""
    for scheme in ("light", "dark"):
        with tab_of(studio.browser, PageErrors(), viewport=SIZE, color_scheme=scheme) as tab:
            for name, url in studio.urls.items():
                if name == "running":  # one of a run is enough
                    continue
                show(tab, url, LAST.get(name, ""))
                tab.evaluate(FIX_TEXTS)
                tab.screenshot(path=FOLDER / f"{name}-{scheme}.png")
                sys.stdout.write(f"{name}, {scheme}\n")


def accept_pictures(studio: Studio) -> None:
    """References of each page and state."""
    all_names = set[str]()
    taken = [*studio.without_data, *pictures_of_states(studio.tab, studio.urls)]
    for page in references.PAGES:
        taken += pictures(studio.tab, page, studio.urls[page])
    for name, picture in taken:
        all_names.add(name)
        if references.accept(name, picture):
            sys.stdout.write(f"{name}\n")
    references.remove_others(all_names)


if __name__ == "__main__":
    main()
