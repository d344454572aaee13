"""One message: what became of it, and what an operator does about it."""

import re

from lib import PHONE, VIEWS, Tab, admin, api, eventually, expect, message_is, send


def press(tab: Tab, name: str):
    tab.page.get_by_role("button", name=name, exact=True).click()


def told(tab: Tab, text: str):
    expect(tab.page.get_by_role("status").filter(has_text=text)).to_be_visible()


def acts(tab: Tab, picture: str):
    """Retried, held, released and deleted."""
    waiting = send("accounts@shop.example", "full@example.com", mail="reminder")
    message_is(waiting, "deferred")
    page = tab.page
    tab.go(f"/messages/{waiting}")
    before = len(api(f"/messages/{waiting}/attempts"))
    press(tab, "Retry now")
    told(tab, "It is tried again now")
    eventually("another attempt", lambda: len(api(f"/messages/{waiting}/attempts")) > before)
    message_is(waiting, "deferred")
    tab.go(f"/messages/{waiting}")
    press(tab, "Hold")
    told(tab, "It is held")
    assert api(f"/messages/{waiting}")["state"] == "held"
    expect(page.get_by_text("Held.")).to_be_visible()
    tab.check(f"{picture}-held")
    press(tab, "Release")
    told(tab, "It is released")
    message_is(waiting, "deferred")
    tab.go(f"/messages/{waiting}")
    page.get_by_role("link", name="Delete…").click()
    expect(page.get_by_role("heading", name="Delete this message?")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("1 recipient will not get it")
    tab.check(f"{picture}-delete")
    press(tab, "Delete it")
    tab.is_at("/queue")
    told(tab, f"Message {waiting} is deleted.")
    tab.go(f"/messages/{waiting}", status=404)
    tab.check(f"{picture}-missing")


def sent_again(tab: Tab):
    sent = send("orders@staging.example", "ann@example.com", mail="order")
    message_is(sent, "sent")
    tab.go(f"/messages/{sent}")
    expect(tab.page.get_by_role("region", name="Recipients")).to_contain_text("qa@shop.example")
    tab.check("message-redirected")
    tab.page.get_by_role("link", name="Send again…").click()
    expect(tab.page.get_by_role("main")).to_contain_text("qa@shop.example")
    tab.check("message-send-again")
    press(tab, "Send it again")
    told(tab, f"Message {sent} is sent again, as this message.")
    expect(tab.page).not_to_have_url(re.compile(sent))


def times_and_addresses(tab: Tab, news: str):
    """Times are in the reader's zone, with UTC on hover; addresses can be copied."""
    page = tab.page
    tab.go(f"/messages/{news}")
    received = page.locator("dt:has-text('Received') + dd time")
    expect(received).to_have_attribute("title", re.compile("UTC"))
    utc = received.get_attribute("title")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(received).not_to_have_text(utc)
    page.locator("dt:has-text('From') + dd").get_by_role("button", name="Copy").click()
    page.wait_for_function("async () => await navigator.clipboard.readText() === 'news@shop.example'")
    with tab.admin.tab(javascript=False) as other:
        other.go(f"/messages/{news}")
        expect(other.page.locator("dt:has-text('Received') + dd time")).to_have_text(utc)
        expect(other.page.get_by_role("button", name="Copy")).to_have_count(0)


with admin() as admin:
    news = send("news@shop.example", "ann@example.com", "unknown@example.net", "full@example.org", mail="newsletter")
    message_is(news, "deferred")
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go(f"/messages/{news}")
            recipients = tab.page.get_by_role("region", name="Recipients").get_by_role("row")
            expect(recipients.filter(has_text="ann@example.com")).to_contain_text("delivered")
            expect(recipients.filter(has_text="unknown@example.net")).to_contain_text("550 5.1.1 No such mailbox")
            expect(recipients.filter(has_text="full@example.org")).to_contain_text("deferred")
            attempts = tab.page.get_by_role("region", name="Attempts")
            expect(attempts.get_by_role("heading", name="steady").first).to_be_visible()
            tab.check("message")
            attempts.get_by_text("What was said").first.click()
            expect(attempts.get_by_text("RCPT TO:<full@example.org>").first).to_be_visible()
            tab.check("message-dialogue")
    with admin.tab() as tab:
        times_and_addresses(tab, news)
        acts(tab, "message")
        sent_again(tab)
    with admin.tab(PHONE) as tab:
        acts(tab, "message")
    with admin.tab(javascript=False) as tab:
        acts(tab, "message-without-scripts")
