"""What happened: found, followed and exported."""

import csv
import io
import json

from lib import VIEWS, Tab, admin, expect, message_is, send


def rows(tab: Tab):
    return tab.page.get_by_role("table").get_by_role("row")


def filtered(tab: Tab, news: str):
    page = tab.page
    tab.go("/events")
    page.get_by_label("Type").select_option(label="errors")
    page.get_by_role("button", name="Filter").click()
    expect(rows(tab).filter(has_text="Error")).not_to_have_count(0)
    expect(rows(tab).filter(has_text="Information")).to_have_count(0)
    tab.go("/events")
    page.get_by_label("Message (queue id)").fill(news)
    page.get_by_role("button", name="Filter").click()
    expect(rows(tab).filter(has_text=news)).not_to_have_count(0)
    tab.check(f"events-of-a-message{'' if tab.javascript else '-without-scripts'}")


def exported(tab: Tab):
    tab.go("/events")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name="Export JSON").click()
    events = json.loads(download.value.path().read_text())["events"]
    assert any(event["code"] == "STARTED" for event in events)
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name="Export CSV").click()
    assert len(list(csv.DictReader(io.StringIO(download.value.path().read_text())))) > 3


def followed(tab: Tab):
    tab.go("/events")
    tab.page.get_by_role("link", name="Follow").click()
    new = send("orders@shop.example", "unknown@example.com", mail="order")
    expect(rows(tab).filter(has_text=new).first).to_be_visible()
    tab.check("events-followed")


with admin() as admin:
    news = send("news@shop.example", "ann@example.com", "unknown@example.net", "full@example.org", mail="newsletter")
    message_is(news, "deferred")
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/events")
            expect(rows(tab).filter(has_text=news).first).to_be_visible()
            tab.check("events")
    with admin.tab() as tab:
        filtered(tab, news)
        tab.may_be_refused(400)
        tab.page.get_by_label("Message (queue id)").fill("no id")
        tab.page.get_by_role("button", name="Filter").click()
        expect(tab.page.get_by_role("alert")).to_be_visible()
        tab.check("events-wrong-filter")
        exported(tab)
        followed(tab)
    with admin.tab(javascript=False) as tab:
        filtered(tab, news)
