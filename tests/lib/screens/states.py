"""Pictures of the main pages while they load, after an error, without data, and cut off."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from PIL import Image
from playwright.sync_api import Page, Route, expect
from screens.camera import hold, picture, show

MAIN = ("jobs", "runs", "run", "thread", "datasets")
LISTS = ("jobs", "runs", "datasets")
DATA = re.compile(r"/api/(?!session)")
STREAMS = re.compile(r"/events(\?|$)")


def _refuse(route: Route) -> None:
    route.abort("connectionrefused")


@dataclass(frozen=True, slots=True)
class State:
    """Which requests get another answer, and what the page then shows."""

    requests: re.Pattern[str]
    answer: Callable[[Route], None]
    shown: str
    pages: tuple[str, ...]


STATES = {
    "loading": State(DATA, hold, ".loading", MAIN),
    "error": State(DATA, _refuse, ".banner", MAIN),
    "stale": State(STREAMS, _refuse, ".live:has-text('Polling')", ("jobs",)),
}


def pictures_of_states(tab: Page, urls: Mapping[str, str]) -> Iterator[tuple[str, Image.Image]]:
    for name, state in STATES.items():
        for page in state.pages:
            tab.unroute_all(behavior="ignoreErrors")
            tab.route(state.requests, state.answer)
            tab.goto(urls[page])
            expect(tab.locator(state.shown).first).to_be_visible()
            yield f"{page}-{name}", picture(tab, "laptop", "light")
    tab.unroute_all(behavior="ignoreErrors")
    show(tab, urls["running"])
    yield "run-partial", picture(tab, "laptop", "light")


def pictures_without_data(tab: Page, url: str) -> Iterator[tuple[str, Image.Image]]:
    """`url` is of a server whose database is empty."""
    for page in LISTS:
        show(tab, f"{url}/{'' if page == 'jobs' else page}")
        yield f"{page}-empty", picture(tab, "laptop", "light")
