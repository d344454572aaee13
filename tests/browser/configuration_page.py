"""What is in force, with the source of each value; changes are taken back, the file is loaded again."""

from lib import VIEWS, Tab, admin, api, expect


def found_and_taken_back(tab: Tab, picture: str):
    page = tab.page
    api("/settings", {"queue": {"archive_days": 3}}, method="PATCH")
    tab.go("/configuration")
    page.get_by_role("searchbox").fill("archive")
    page.get_by_role("button", name="Filter").click()
    key = page.get_by_role("row").filter(has_text="archive_days")
    expect(key).to_contain_text("changed")
    expect(page.get_by_role("row").filter(has_text="hostname")).to_have_count(0)
    tab.check(f"{picture}-changed")
    key.get_by_role("button", name="Take it back").click()
    expect(page.get_by_role("status").first).to_be_visible()
    assert api("/settings")["queue"]["archive_days"] == 7
    tab.go("/configuration")
    page.get_by_role("button", name="Load it again").click()
    expect(page.get_by_role("status").first).to_be_visible()
    tab.check(f"{picture}-loaded")


with admin() as admin:
    for view in VIEWS:
        with admin.tab(view) as tab:
            tab.go("/configuration")
            assert "not-to-be-seen" not in tab.page.content() and admin.password not in tab.page.content()
            tab.check("configuration")
            tab.go("/configuration?q=POSTROOM_")
            expect(tab.page.get_by_role("row").filter(has_text="POSTROOM_LOG_EMAILS__ENABLED")).to_be_visible()
    with admin.tab() as tab:
        found_and_taken_back(tab, "configuration")
    with admin.tab(javascript=False) as tab:
        found_and_taken_back(tab, "configuration-without-scripts")
