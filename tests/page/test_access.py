"""Access to the page's contents with and without tokens."""

from browsing import PageErrors, Site
from playwright.sync_api import BrowserContext, Page, expect

from evalqueue.tokens import Right, make


def test_a_token_signs_in_and_owners_see_their_own(
    site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("401|403")
    (secret, anna), (other_secret, bert) = make("anna", Right.SUBMIT), make("bert", Right.SUBMIT)
    site.api(EVALQUEUE_API_TOKENS=f"{anna.entry},{bert.entry}")
    for given, token in ((secret, anna), (other_secret, bert)):
        with site.http(headers={"Authorization": f"Bearer {given}"}) as http:
            params = {"total_items": 1, "name": f"of {token.name}", "llm_provider": "simulated"}
            body = {"job_type": "evaluate-batch", "params": params}
            assert http.post("/api/jobs", json=body).status_code == 201

    page.goto(site.url)
    page.get_by_label("Token", exact=True).fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token", exact=True).fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("of anna")).to_be_visible()
    expect(page.get_by_text("of bert")).to_have_count(0)
    expect(page.get_by_text("anna (submit)")).to_be_visible()

    page.reload()
    expect(page.get_by_text("of anna")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token", exact=True)).to_be_visible()
    assert secret not in page.content()


def test_a_sign_out_reaches_the_other_tabs(
    site: Site, context: BrowserContext, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("401")
    secret, anna = make("anna", Right.SUBMIT)
    site.api(EVALQUEUE_API_TOKENS=anna.entry)
    page.goto(site.url)
    page.get_by_label("Token", exact=True).fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("anna (submit)")).to_be_visible()
    other = context.new_page()
    other.goto(f"{site.url}/runs")
    expect(other.get_by_text("anna (submit)")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token", exact=True)).to_be_visible()
    expect(other.get_by_label("Token", exact=True)).to_be_visible()
    page.get_by_label("Token", exact=True).fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(other.get_by_text("anna (submit)")).to_be_visible()
    expect(other.get_by_label("Token", exact=True)).to_have_count(0)


def test_single_sign_on_comes_first_where_the_server_has_it(
    site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("401")
    _, anna = make("anna", Right.SUBMIT)
    site.api(
        EVALQUEUE_API_TOKENS=anna.entry, EVALQUEUE_OIDC_ISSUER="http://localhost:1",
        EVALQUEUE_OIDC_CLIENT_ID="evalqueue", EVALQUEUE_OIDC_CLIENT_SECRET="s3cret",
        EVALQUEUE_OIDC_RIGHTS="submit:email=*@example.com", EVALQUEUE_PUBLIC_URL="http://localhost",
    )  # fmt: skip
    page.goto(f"{site.url}/runs?search=x")
    link = page.get_by_role("link", name="Use single sign-on")
    expect(link).to_be_focused()
    expect(link).to_have_attribute("href", "/sign-in?next=%2Fruns%3Fsearch%3Dx")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
