"""The page and the API under a path, behind nginx."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from browsing import PageErrors, Site, context_of
from playwright.sync_api import Browser, Page, expect
from proxying import Proxied, behind_nginx

from evalqueue.http.routes.page import FOLDER as PAGE

ROOT_PATH = "/tools/evalqueue"


@pytest.fixture(params=[False, True], ids=["kept", "stripped"])
def proxied(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Proxied]:
    """nginx passes the path on, or takes it away."""
    site.start_vendor("--latency-ms=100", "--latency-sigma=0")
    site.worker()
    with behind_nginx(site, tmp_path, root_path=ROOT_PATH, strips=request.param) as proxied:
        yield proxied


def sign_in(page: Page, proxied: Proxied) -> None:
    page.get_by_label("Token", exact=True).fill(proxied.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("anna (submit)")).to_be_visible()


def submit(proxied: Proxied) -> dict[str, str]:
    with proxied.http() as http:
        answer = http.post(
            "/api/jobs",
            json={"job_type": "evaluate-batch", "params": {"total_items": 8, "name": "below"}},
            headers={"Authorization": f"Bearer {proxied.token}"},
        )
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_person_uses_the_page_under_a_path(
    site: Site, proxied: Proxied, browser: Browser, page_errors: PageErrors
) -> None:
    page_errors.allow("401")
    asked: list[str] = []
    with context_of(browser, page_errors, ignore_https_errors=True) as context:
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(f"{proxied.url}/")
        sign_in(page, proxied)
        (cookie,) = context.cookies()
        assert (cookie.get("path"), cookie.get("secure")) == (f"{ROOT_PATH}/", True)

        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        with site.vendor_suspended():
            job = submit(proxied)
            row = page.locator(f"tr[data-job='{job['id']}']")
            expect(row.locator(".badge")).to_have_text("running")
        expect(row.locator(".badge")).to_have_text("completed")
        row.get_by_role("link", name="below").click()
        expect(page).to_have_url(f"{proxied.url}/jobs/{job['id']}")
        page.get_by_role("link", name="Results").click()
        expect(page).to_have_url(f"{proxied.url}/runs/{job['run_id']}")
        rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
        expect(rows).to_have_count(8)
        page.reload()
        expect(rows).to_have_count(8)
        rows.first.get_by_role("link").click()
        expect(page.locator("main")).to_contain_text("judge")
        page.go_back()
        expect(rows).to_have_count(8)
        page.get_by_role("link", name="Runs", exact=True).first.click()
        expect(page).to_have_url(f"{proxied.url}/runs")
        page.keyboard.press("n")
        expect(page).to_have_url(f"{proxied.url}/new")
        page.locator("a.brand").click()
        expect(page).to_have_url(f"{proxied.url}/")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token", exact=True)).to_be_visible()
        assert context.cookies() == []
    assert page_errors.unexpected == []
    outside = {url for url in asked if not url.startswith(f"{proxied.url}/")}
    assert outside == set()


def test_programs_find_everything_under_the_path(site: Site, proxied: Proxied) -> None:
    authorized = {"Authorization": f"Bearer {proxied.token}"}
    with proxied.http() as http:
        assert http.get("/api/jobs").status_code == 401
        assert http.get("/api/jobs", headers=authorized).status_code == 200
        assert http.get("/metrics").status_code == 401
        document = http.get("/openapi.json").json()
        assert document["servers"] == [{"url": ROOT_PATH}]
        by_tls = document["components"]["securitySchemes"]["session_by_tls"]
        assert by_tls["name"] == "__Secure-evalqueue_session"
        redirected = http.get("/runs/")
        assert redirected.status_code == 307
        assert redirected.headers["location"] == f"{proxied.url}/runs"
    assert any(f"API on {site.url}{ROOT_PATH}" in line for line in site.processes[-1].lines)


def test_a_probe_beside_the_proxy_needs_no_path(site: Site) -> None:
    site.api(EVALQUEUE_ROOT_PATH=f"{ROOT_PATH}/")
    with site.http() as http:
        for path in ("/healthz", f"{ROOT_PATH}/healthz", f"{ROOT_PATH}", "/"):
            assert http.get(path).status_code == 200, path
        assert http.get(f"{ROOT_PATH}x/healthz").status_code == 404


@pytest.mark.parametrize("root_path", ["evalqueue", "/a b", "/../x", "/api", "/runs/evalqueue"])
def test_a_path_that_can_t_be_told_from_the_page_s_is_refused(site: Site, root_path: str) -> None:
    with pytest.raises(AssertionError, match="Write a path such as|The root path can't be"):
        site.start(r"API on (http://\S+)", "serve", "--port=0", f"--root-path={root_path}")


def test_every_link_is_made_with_the_path() -> None:
    """A link that begins with a slash leads out of it."""
    own = [each for each in PAGE.rglob("*.js") if not {"vendor", "client"} & set(each.parts)]
    links = {
        (module.name, link)
        for module in own
        for link in re.findall(r"(?:href|src)=(\"[^\"]*\"|\$\{\w+)", module.read_text("utf-8"))
    }
    others = {each for each in links if each[1] != "${address"}
    assert others == {("charts.js", "${hrefOf")}  # a query of the same page
