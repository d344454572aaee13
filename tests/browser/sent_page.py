"""What was sent: found, and sent again."""

from lib import PHONE, VIEWS, Tab, admin, api, eventually, expect, message_is, send


def row(tab: Tab, queue_id: str):
    return tab.page.locator(f"tr[id='{queue_id}']")


def number_sent() -> int:
    return len(api("/sent")["messages"])


def sent_again(tab: Tab, *ids: str, picture: str):
    tab.go("/sent")
    resend = tab.page.get_by_role("button", name="Resend selected")
    before = number_sent()
    for queue_id in ids:
        row(tab, queue_id).get_by_role("checkbox").check()
    resend.click()
    expect(tab.page.get_by_role("heading", level=1)).to_contain_text("Resend")
    tab.check(f"{picture}-resend")
    tab.page.get_by_role("button", name="Resend", exact=True).click()
    expect(tab.page.get_by_role("status").first).to_be_visible()
    eventually("the new messages to be sent", lambda: number_sent() == before + len(ids))


with admin() as admin:
    with admin.tab() as tab:
        tab.go("/sent")
        expect(tab.page.get_by_text("Nothing is kept of sent mail yet.")).to_be_visible()
        tab.check("sent-empty")
    order = send("orders@shop.example", "ann@example.com", mail="order")
    news = send("news@shop.example", "ann@example.com", "ben@example.net", "carla@example.org", mail="newsletter")
    redirected = send("orders@staging.example", "dmitri@example.com", mail="shipped")
    letter = send("soeren@shop.example", "zoe@example.com", "taro@example.org", mail="letter")
    for queue_id in (order, news, redirected, letter):
        message_is(queue_id, "sent")
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/sent")
            for queue_id in (order, news, redirected, letter):
                expect(row(tab, queue_id)).to_be_visible()
            expect(row(tab, redirected)).to_contain_text("redirect")
            tab.check("sent")
    with admin.tab() as tab:
        tab.go("/sent")
        search = tab.page.get_by_role("searchbox", name="Filter")
        search.fill("to:ben")
        search.press("Enter")
        expect(row(tab, order)).to_have_count(0)
        expect(row(tab, news)).to_be_visible()
        tab.may_be_refused(400)
        search.fill("colour:red")
        search.press("Enter")
        expect(tab.page.get_by_role("alert")).to_contain_text("colour")
        tab.check("sent-wrong-filter")
        sent_again(tab, order, redirected, picture="sent")
    with admin.tab(PHONE) as tab:
        sent_again(tab, redirected, picture="sent")
    with admin.tab(javascript=False) as tab:
        sent_again(tab, order, picture="sent-without-scripts")
