"""What the dashboard shows of a new installation, and of one that is at work."""

from lib import VIEWS, admin, expect, message_is, send


def fill():
    message_is(send("orders@shop.example", "ann@example.com", mail="order"), "sent")
    message_is(send("news@shop.example", "ann@example.com", "unknown@example.net", mail="newsletter"), "failed")
    message_is(send("accounts@shop.example", "full@example.com", mail="reminder"), "deferred")
    message_is(send("orders@staging.example", "ann@example.com", mail="order"), "sent")


def card(page, name: str):
    return page.get_by_role("article", name=name)


def figure(page, state: str):
    return page.locator("#queue-figures").get_by_role("listitem").filter(has_text=state)


with admin() as admin:
    with admin.tab() as tab:
        tab.go("/")
        expect(tab.page.get_by_text("Send the first message")).to_be_visible()
        tab.check("dashboard-empty")
        # It follows what happens.
        expect(figure(tab.page, "deferred")).to_contain_text("0")
        fill()
        expect(figure(tab.page, "deferred")).to_contain_text("1")
        expect(figure(tab.page, "failed")).to_contain_text("1")
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/")
            expect(tab.page.get_by_role("region", name="What happens to mail")).to_contain_text("qa@shop.example")
            expect(card(tab.page, "steady")).to_contain_text("ok")
            expect(card(tab.page, "retired")).to_contain_text("disabled")
            tab.check("dashboard")
    with admin.tab(javascript=False) as tab:
        tab.go("/")
        expect(figure(tab.page, "failed")).to_contain_text("1")
        tab.check("dashboard-without-scripts")
