"""The first minute of `postroom demo`: the link logs in, once, and every page that the navigation names is there, with mail under way."""

import os
import re

from lib import VIEWS, Admin, Tab, chromium, expect


def pages(tab: Tab) -> list[str]:
    links = tab.page.get_by_role("navigation", name="Pages").get_by_role("link").all()
    return [link.get_attribute("href") for link in links]


def look_at_all(tab: Tab, picture: str):
    tab.go("/")
    for path in pages(tab):
        tab.go(path)
        expect(tab.page.get_by_role("heading", level=1)).to_have_count(1)
        expect(tab.page.get_by_role("navigation", name="Pages").locator("[aria-current=page]")).to_have_count(1)
        tab.check(f"{picture}-{path.strip('/') or 'dashboard'}")


with chromium() as browser:
    url, link = re.fullmatch(r"(http://[^/]+)(/login\?token=.+)", os.environ["DEMO_LINK"]).groups()
    admin = Admin(browser, url)
    with admin.tab(logged_in=False) as tab:
        admin.log_in_by_link(tab, link)
        expect(tab.page.get_by_role("button", name="Log out")).to_be_visible()
        expect(tab.page.get_by_role("region", name="What happens to mail")).to_contain_text("qa@shop.example")
        for state in ("deferred", "held", "failed"):
            figure = tab.page.locator("#queue-figures").get_by_role("listitem").filter(has_text=state)
            expect(figure).not_to_have_text(re.compile(r"^\s*0"))
    with admin.tab(logged_in=False) as tab:
        tab.go(link, status=401)
        expect(tab.page.get_by_role("alert")).to_contain_text("was used before")
    for view in VIEWS:
        with admin.tab(view) as tab:
            look_at_all(tab, "demo")
    with admin.tab(javascript=False) as tab:
        look_at_all(tab, "demo-without-scripts")
