"""The queue: finding messages, and what is done to them, one by one, selected, or all."""

from lib import DESKTOP, PHONE, VIEWS, Tab, admin, api, eventually, expect, message_is, send


def state_of(queue_id: str) -> str:
    return api(f"/messages/{queue_id}")["state"]


def attempts_of(queue_id: str) -> int:
    return len(api(f"/messages/{queue_id}/attempts"))


def refused(number: int) -> str:
    queue_id = send("orders@shop.example", f"unknown@customer{number}.example", subject=f"Shipped, number {number}")
    message_is(queue_id, "failed")
    return queue_id


def waiting(recipient: str, **mail) -> str:
    queue_id = send("accounts@shop.example", recipient, **mail)
    message_is(queue_id, "deferred")
    return queue_id


def row(tab: Tab, queue_id: str):
    return tab.page.locator(f"tr[id='{queue_id}']")


def tick(tab: Tab, *queue_ids: str):
    for queue_id in queue_ids:
        row(tab, queue_id).get_by_role("checkbox").check()


def press(tab: Tab, name: str):
    tab.page.get_by_role("button", name=name, exact=True).click()


def told(tab: Tab, text: str):
    expect(tab.page.get_by_role("status").filter(has_text=text)).to_be_visible()


def selected_ones(tab: Tab, ids: list[str], picture: str):
    """Held, released, sent again and deleted, by ticking them."""
    tab.go("/queue")
    press(tab, "Hold")
    told(tab, "No message is selected")
    tick(tab, *ids)
    press(tab, "Hold")
    told(tab, "Hold: 2 messages held.")
    assert [state_of(one) for one in ids] == ["held", "held"]
    expect(row(tab, ids[0])).to_contain_text("held")
    tab.check(f"{picture}-held")
    tick(tab, *ids)
    press(tab, "Release")
    told(tab, "Release: 2 messages released.")
    for one in ids:
        message_is(one, "deferred")
    before = attempts_of(ids[0])
    tick(tab, ids[0])
    press(tab, "Resend selected")
    told(tab, "Resend: 1 message made due now.")
    eventually("another attempt", lambda: attempts_of(ids[0]) > before)
    tick(tab, *ids)
    press(tab, "Delete selected")
    expect(tab.page.get_by_role("heading", name="Delete 2 messages?")).to_be_visible()
    tab.check(f"{picture}-delete")
    tab.page.get_by_role("link", name="Cancel").click()
    expect(row(tab, ids[0])).to_be_visible()
    tick(tab, *ids)
    press(tab, "Delete selected")
    press(tab, "Delete")
    told(tab, "Delete: 2 messages deleted.")
    expect(row(tab, ids[0])).to_have_count(0)


def failed_ones(tab: Tab):
    """Kentico's "Resend all failed" and "Delete all failed"."""
    ids = [refused(number) for number in range(3)]
    tab.go("/queue?state=failed")
    press(tab, "Resend all failed (3)")
    expect(tab.page.get_by_role("heading", name="Resend 3 messages?")).to_be_visible()
    tab.check("queue-resend-all")
    press(tab, "Resend")
    told(tab, "Resend: 3 messages made due now.")
    for one in ids:
        eventually("another attempt", lambda: attempts_of(one) > 1)
        message_is(one, "failed")
    tab.go("/queue")
    press(tab, "Delete all failed")
    expect(tab.page.get_by_role("heading", name="Delete 3 messages?")).to_be_visible()
    press(tab, "Delete")
    told(tab, "Delete: 3 messages deleted.")


def found_ones(tab: Tab, kept: str):
    """A filter, all that it means, and what is wrong with one."""
    ids = [waiting(f"full@filter{number}.example") for number in range(2)]
    tab.go("/queue")
    search = tab.page.get_by_role("searchbox", name="Filter")
    search.fill("to:filter older:1000d")
    search.press("Enter")
    expect(tab.page.get_by_text("No message matches")).to_be_visible()
    tab.check("queue-nothing-found")
    search.fill("to:filter")
    press(tab, "Filter")
    for one in ids:
        expect(row(tab, one)).to_be_visible()
    expect(row(tab, kept)).to_have_count(0)
    tab.page.locator("#all-count").click()
    press(tab, "Hold all")
    expect(tab.page.get_by_role("heading", name="Hold 2 messages?")).to_be_visible()
    expect(tab.page.get_by_role("main")).to_contain_text("to:filter")
    tab.check("queue-hold-all")
    press(tab, "Hold")
    told(tab, "Hold: 2 messages held.")
    assert state_of(kept) == "deferred"
    tab.may_be_refused(400)
    search.fill("colour:red")
    search.press("Enter")
    expect(tab.page.get_by_role("alert")).to_contain_text("colour")
    tab.check("queue-wrong-filter")
    tab.page.get_by_text("Examples").click()
    tab.check("queue-examples")


def stop_and_start(tab: Tab):
    modes = tab.page.get_by_role("region", name="What happens to mail")
    tab.go("/queue")
    press(tab, "Stop sending")
    expect(tab.page.get_by_role("heading", name="Stop sending?")).to_be_visible()
    tab.check("queue-stop-sending")
    press(tab, "Stop sending")
    expect(modes).to_contain_text("SENDING OFF")
    assert not api("/settings")["sending"]["enabled"]
    waiting_one = send("orders@shop.example", "ann@example.com")
    press(tab, "Start sending")
    tab.check("queue-start-sending")
    press(tab, "Start sending")
    expect(modes).not_to_contain_text("SENDING OFF")
    message_is(waiting_one, "sent")


def keys(tab: Tab, newest: str):
    """Found, selected and opened without a mouse."""
    tab.go("/queue")
    keyboard = tab.page.keyboard
    keyboard.press("/")
    expect(tab.page.get_by_role("searchbox", name="Filter")).to_be_focused()
    tab.go("/queue")
    keyboard.press("j")
    keyboard.press("x")
    expect(row(tab, newest).get_by_role("checkbox")).to_be_checked()
    keyboard.press("?")
    expect(tab.page.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.check("keys")
    keyboard.press("Escape")
    keyboard.press("g")
    keyboard.press("d")
    tab.is_at("/")


def kept_place(tab: Tab):
    """What comes in is told of; the list stays as it is until somebody wants to see it."""
    tab.go("/queue")
    new = waiting("full@new.example")
    tab.page.locator("#newer").get_by_role("link").click()
    expect(row(tab, new)).to_be_visible()


with admin() as admin:
    with admin.tab() as tab:
        tab.go("/queue")
        expect(tab.page.get_by_text("The queue is empty.")).to_be_visible()
        tab.check("queue-empty")
    send("news@shop.example", "ann@example.com", "unknown@example.net", "full@example.org", mail="newsletter")
    send("alerts@monitor.example", "full@example.com", "full@night-shift.example", "full@a-rather-long-name.example", mail="alert")
    order = waiting("full@example.com", mail="order")
    failed = refused(4711)
    kept = waiting("full@example.net", subject="Zażółć gęślą jaźń, and a subject that goes on for longer than anybody would want to read it " * 2)
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/queue")
            expect(row(tab, order)).to_contain_text("452 4.2.2")
            expect(row(tab, failed)).to_contain_text("unknown@customer4711.example")
            tab.check("queue")
            tab.page.get_by_role("list", name="States").get_by_role("link", name="failed").click()
            expect(row(tab, order)).to_have_count(0)
            expect(row(tab, failed)).to_be_visible()
    api(f"/messages/{failed}", method="DELETE")
    with admin.tab() as tab:
        selected_ones(tab, [waiting("full@one.example"), waiting("full@two.example")], "queue")
        failed_ones(tab)
        found_ones(tab, kept)
        stop_and_start(tab)
        keys(tab, waiting("full@newest.example"))
        kept_place(tab)
    with admin.tab(PHONE) as tab:
        selected_ones(tab, [waiting("full@one.example"), waiting("full@two.example")], "queue")
    with admin.tab(javascript=False) as tab:
        selected_ones(tab, [waiting("full@one.example"), waiting("full@two.example")], "queue-without-scripts")
        stop_and_start(tab)
    # Somebody is sent the address of what is to be looked at.
    with admin.tab(DESKTOP, logged_in=False) as tab:
        tab.go("/queue?state=deferred&q=to%3Aexample.net")
        tab.log_in()
        expect(row(tab, kept)).to_be_visible()
        expect(row(tab, order)).to_have_count(0)
