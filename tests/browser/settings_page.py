"""Settings: what happens to mail, of all and of a site; a change of that is asked about first."""

from lib import PHONE, VIEWS, Tab, admin, api, expect, message_is, send


def press(tab: Tab, name: str):
    tab.page.get_by_role("button", name=name, exact=True).click()


def redirect(tab: Tab, picture: str):
    """On, by somebody who is asked what becomes of the mail that waits; and off again."""
    page = tab.page
    modes = page.get_by_role("region", name="What happens to mail")
    tab.go("/settings")
    page.get_by_label("Another report address").fill("nobody")
    tab.may_be_refused(400)
    tab.may_be_refused(422)
    press(tab, "Save")
    expect(page.get_by_role("alert")).to_contain_text("the address has no @domain")
    expect(page.get_by_label("Report address 1", exact=True)).to_have_value("nobody")
    tab.check(f"{picture}-wrong")
    tab.go("/settings")
    page.get_by_role("combobox", name="Redirect mail", exact=True).select_option("on")
    page.get_by_label("Another report address").fill("qa@example.com")
    press(tab, "Save")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Change what happens to mail?")
    assert not api("/settings")["redirect"]["enabled"]
    tab.check(f"{picture}-sure")
    press(tab, "Change it")
    expect(modes).to_contain_text("qa@example.com")
    assert api("/settings")["redirect"]["enabled"]
    tab.check(f"{picture}-redirect")
    # The report address is kept, and off.
    page.get_by_label("Whether report address 1 gets mail").select_option("off")
    press(tab, "Save")
    press(tab, "Change it")
    expect(page.get_by_role("status").filter(has_text="The settings are changed.")).to_be_visible()
    assert api("/settings")["redirect"]["report_emails"] == [{"email": "qa@example.com", "enabled": False}]
    page.get_by_role("combobox", name="Redirect mail", exact=True).select_option("off")
    page.get_by_role("checkbox", name="Remove qa@example.com").check()
    press(tab, "Save")
    press(tab, "Change it")
    expect(modes).to_contain_text("LIVE")
    assert api("/settings")["redirect"]["report_emails"] == []


def of_a_site(tab: Tab):
    page = tab.page
    tab.go("/settings")
    page.get_by_role("navigation", name="Settings of").get_by_role("link", name="shop").click()
    tab.is_at("/settings/shop")
    page.get_by_label("Send mail", exact=True).select_option("off")
    press(tab, "Save")
    press(tab, "Change it")
    expect(page.get_by_role("region", name="What happens to mail")).to_contain_text("shop: SENDING OFF")
    tab.check("settings-of-a-site")
    waiting = send("orders@shop.example", "ann@example.com", mail="order")
    page.get_by_label("Send mail", exact=True).select_option("inherit")
    press(tab, "Save")
    press(tab, "Change it")
    message_is(waiting, "sent")


with admin() as admin:
    message_is(send("accounts@shop.example", "full@example.com", mail="reminder"), "deferred")
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/settings")
            # What the environment gives has a lock.
            expect(tab.page.get_by_text("POSTROOM_LOG_EMAILS__ENABLED").first).to_be_visible()
            tab.check("settings")
            tab.go("/settings/staging")
            expect(tab.page.get_by_label("Report address 1", exact=True)).to_have_value("qa@shop.example")
            tab.check("settings-staging")
    with admin.tab() as tab:
        redirect(tab, "settings")
        of_a_site(tab)
    with admin.tab(PHONE) as tab:
        redirect(tab, "settings")
    with admin.tab(javascript=False) as tab:
        redirect(tab, "settings-without-scripts")
        of_a_site(tab)
