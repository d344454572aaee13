"""A test message, from the page."""

from lib import PHONE, VIEWS, Tab, admin, expect


def sent(tab: Tab, picture: str):
    page = tab.page
    tab.go("/send")
    page.get_by_label("To", exact=True).fill("nobody at all")
    page.get_by_label("From", exact=True).fill("orders@shop.example")
    tab.may_be_refused(400)
    tab.may_be_refused(422)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_label("To", exact=True)).to_have_value("nobody at all")
    expect(page.get_by_label("To", exact=True)).to_have_attribute("aria-invalid", "true")
    tab.check(f"{picture}-wrong")
    page.get_by_label("To", exact=True).fill("ann@example.com")
    page.get_by_label("Subject", exact=True).fill("Does it work?")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="The test message to ann@example.com is in the queue.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Does it work?")


with admin() as admin:
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/send")
            tab.check("send")
    for tab in (admin.tab(), admin.tab(PHONE)):
        with tab as tab:
            sent(tab, "send")
    with admin.tab(javascript=False) as tab:
        sent(tab, "send-without-scripts")
