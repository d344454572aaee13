"""Upstreams: what each is and how it fares, and all that can be changed of them."""

from lib import DESKTOP, PHONE, VIEWS, Tab, admin, api, eventually, expect

HOST = api("/upstreams/steady")["settings"]["host"]


def press(tab: Tab, name: str):
    tab.page.get_by_role("button", name=name, exact=True).click()


def told(tab: Tab, text: str):
    expect(tab.page.get_by_role("status").filter(has_text=text)).to_be_visible()


def row(tab: Tab, name: str):
    return tab.page.locator(f"#upstream-{name}")


def switch(tab: Tab):
    """Disabled and enabled, from the list and from the dashboard."""
    for path in ("/upstreams", "/"):
        tab.go(path)
        press(tab, "Disable steady")
        expect(tab.page.get_by_role("button", name="Enable steady")).to_be_visible()
        assert not api("/upstreams/steady")["enabled"]
        press(tab, "Enable steady")
        expect(tab.page.get_by_role("button", name="Disable steady")).to_be_visible()
        assert api("/upstreams/steady")["enabled"]
        tab.is_at(path)


def add_edit_delete(tab: Tab, name: str, picture: str):
    page = tab.page
    tab.go("/upstreams")
    page.get_by_role("link", name="Add an upstream").click()
    tab.check(f"{picture}-new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Host", exact=True).fill(HOST)
    page.get_by_label("Priority").select_option("low")
    page.get_by_label("Connections", exact=True).fill("many")
    page.get_by_label("Password", exact=True).fill("not-to-be-seen")
    tab.may_be_refused(400)
    tab.may_be_refused(422)
    press(tab, "Add")
    expect(page.get_by_role("alert")).to_contain_text("Connections")
    expect(page.get_by_label("Host", exact=True)).to_have_value(HOST)
    expect(page.get_by_label("Password", exact=True)).to_have_value("")
    assert "not-to-be-seen" not in page.content()
    tab.check(f"{picture}-new-wrong")
    page.get_by_label("Connections", exact=True).fill("4")
    page.get_by_label("TLS", exact=True).select_option("none")
    press(tab, "Add")
    tab.is_at(f"/upstreams/{name}")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    tab.check(f"{picture}-one")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Connections", exact=True).fill("5")
    press(tab, "Save")
    told(tab, f"{name} is changed.")
    assert api(f"/upstreams/{name}")["settings"]["connection_limit"] == 5
    press(tab, "Delete")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Delete")
    tab.check(f"{picture}-delete")
    press(tab, "Delete")
    tab.is_at("/upstreams")
    expect(row(tab, name)).to_have_count(0)


def change_and_reset(tab: Tab):
    """What the file says is in force again."""
    page = tab.page
    tab.go("/upstreams/steady/edit")
    page.get_by_label("Messages per connection").fill("7")
    press(tab, "Save")
    told(tab, "steady is changed.")
    tab.check("upstreams-changed")
    press(tab, "Reset messages_per_connection")
    eventually("the change to be taken back", lambda: api("/upstreams/steady")["changed"] == [])


def test(tab: Tab, picture: str):
    """Step by step."""
    tab.go("/upstreams")
    press(tab, "Test steady")
    steps = tab.page.get_by_role("main").get_by_role("listitem")
    expect(steps.filter(has_text="It works, in")).to_be_visible()
    tab.check(f"{picture}-tested")
    tab.page.get_by_role("link", name="To steady").click()
    tab.page.get_by_label("Also send a test message to").fill("ann@example.com")
    tab.page.get_by_label("From").fill("orders@shop.example")
    press(tab, "Test")
    expect(tab.page.get_by_text("With a test message to ann@example.com.")).to_be_visible()
    expect(steps.filter(has_text="It works, in")).to_be_visible()


with admin() as admin:
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/upstreams")
            expect(row(tab, "steady")).to_contain_text(HOST)
            expect(row(tab, "retired")).to_contain_text("disabled")
            tab.check("upstreams")
            tab.go("/upstreams/retired")
            # What the environment gives has a lock; a password is as long as any other.
            expect(tab.page.get_by_role("row").filter(has_text="connection_limit")).to_contain_text("POSTROOM_UPSTREAM__RETIRED__CONNECTION_LIMIT")
            assert "not-to-be-seen" not in tab.page.content()
            tab.check("upstreams-retired")
            tab.go("/upstreams/retired/edit")
            expect(tab.page.get_by_label("Connections", exact=True)).to_be_disabled()
            expect(tab.page.get_by_label("Password", exact=True)).to_have_value("")
            expect(tab.page.get_by_label("Password", exact=True)).to_have_attribute("placeholder", "••••••••")
            tab.check("upstreams-edit")
    with admin.tab(DESKTOP) as tab:
        switch(tab)
        add_edit_delete(tab, "another", "upstreams")
        change_and_reset(tab)
        test(tab, "upstreams")
    with admin.tab(PHONE) as tab:
        add_edit_delete(tab, "another", "upstreams")
        test(tab, "upstreams")
    with admin.tab(javascript=False) as tab:
        switch(tab)
        add_edit_delete(tab, "another", "upstreams-without-scripts")
        test(tab, "upstreams-without-scripts")
