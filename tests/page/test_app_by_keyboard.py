"""An app is made, edited, checked and saved without a mouse."""

import re

from browsing import PageErrors, Site
from playwright.sync_api import Page, expect

FOCUSED = """() => {
    const it = document.activeElement;
    const label = it.labels?.[0]?.querySelector("span")?.textContent;
    return (it.getAttribute("aria-label") ?? label ?? it.textContent).replace(/\\s+/g, " ").trim();
}"""
STEPS = 150  # more than the editor has fields


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until what has the focus has this name."""
    for _ in range(STEPS):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate(FOCUSED) == name:
            return
    raise AssertionError(f"{name!r} can't be reached by keyboard")


def type_into(page: Page, name: str, text: str) -> None:
    tab_to(page, name)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(text)


def test_an_app_is_made_edited_checked_and_saved_without_a_mouse(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("422")  # the draft is checked while it is written
    page.goto(f"{full_site.url}/apps")
    expect(page.get_by_role("link", name="New app")).to_be_visible()
    tab_to(page, "New app")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Valid.")).to_be_visible()
    write_in_the_form(page)
    correct_the_text(page)
    tab_to(page, "Save")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/apps/by-keyboard$"))
    with full_site.http() as http:
        stored = http.get("/api/apps/by-keyboard").json()
    (manners,) = stored["document"]["evaluators"]
    assert (manners["name"], manners["scope"]) == ("manners", "turn")
    assert "Roaming" not in {each["name"] for each in stored["document"]["intents"]}
    edit_and_discard(page)


def write_in_the_form(page: Page) -> None:
    # Its id, an intent more, which is then filled in.
    tab_to(page, "Form")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Form", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    type_into(page, "Id", "by-keyboard")
    tab_to(page, "Add an intent")
    page.keyboard.press("Enter")
    page.keyboard.type("Roaming")  # the new part has the focus
    page.keyboard.press("Tab")
    page.keyboard.type("Calls from abroad.")
    added = page.get_by_role("group", name="Roaming")
    expect(added.get_by_label("When a message belongs here")).to_have_value("Calls from abroad.")
    # An evaluator, with a mistake that is seen and corrected.
    tab_to(page, "Evaluators of its own 0")
    page.keyboard.press("Enter")
    tab_to(page, "Add an evaluator")
    page.keyboard.press("Enter")
    page.keyboard.type("manners")
    tab_to(page, "Judges each")
    page.keyboard.type("turn")
    type_into(page, "Criterion", "Is it friendly? {{nothing}}")
    own = page.get_by_role("group", name="manners")
    expect(own.get_by_role("alert")).to_contain_text("{{nothing}} is not a variable")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Is it friendly? {{answer}}")
    expect(page.get_by_text("Valid.")).to_be_visible()
    # A part that is removed leaves the focus beside it.
    tab_to(page, "Remove Roaming", back=True)
    page.keyboard.press("Enter")
    expect(added).to_have_count(0)
    assert page.evaluate("document.activeElement !== document.body")


def correct_the_text(page: Page) -> None:
    # A mistake is gone to by its line, and Tab leaves the text.
    tab_to(page, "Text", back=True)
    page.keyboard.press("Enter")
    tab_to(page, "The document as TOML")
    page.keyboard.press("ControlOrMeta+Home")
    page.keyboard.type("nonsense = 1\n")
    line = page.get_by_role("button", name=re.compile(r"^Line \d+$")).first
    expect(line).to_be_visible()
    tab_to(page, (line.text_content() or "").strip())
    page.keyboard.press("Enter")
    expect(page.locator("#app-text")).to_be_focused()
    page.keyboard.press("ControlOrMeta+Home")
    page.keyboard.press("Shift+End")
    page.keyboard.press("Delete")
    expect(page.get_by_text("Valid.")).to_be_visible()


def edit_and_discard(page: Page) -> None:
    tab_to(page, "Edit")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Valid.")).to_be_visible()
    type_into(page, "Name", "Another name")
    page.once("dialog", lambda dialog: dialog.accept())
    tab_to(page, "Discard")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/apps/by-keyboard$"))
    expect(page.get_by_text("Another name")).to_have_count(0)
