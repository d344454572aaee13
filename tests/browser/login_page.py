"""Logging in and out, by the form."""

from lib import VIEWS, Tab, admin, expect


def in_and_out(tab: Tab, picture: str):
    page = tab.page
    tab.go("/")
    tab.is_at("/login")
    expect(page).to_have_title("Log in · Postroom")
    expect(page.get_by_label("Password")).to_be_focused()
    tab.check(picture)

    tab.may_be_refused(401)
    tab.log_in("open sesame")
    expect(page.get_by_role("alert")).to_have_text("This is not the password.")
    expect(page.get_by_label("Password")).to_have_value("")
    tab.check(f"{picture}-wrong")

    tab.log_in()
    tab.is_at("/")
    log_out = page.get_by_role("button", name="Log out")
    expect(log_out).to_be_visible()
    tab.check(f"{picture}-done")

    log_out.click()
    tab.is_at("/login")
    tab.go("/")
    tab.is_at("/login")


with admin() as admin:
    for view in VIEWS:
        with admin.tab(view, logged_in=False) as tab:
            in_and_out(tab, "login")
    with admin.tab(javascript=False, logged_in=False) as tab:
        in_and_out(tab, "login-without-scripts")
    # With the keyboard alone.
    with admin.tab(logged_in=False) as tab:
        tab.go("/login")
        tab.page.keyboard.type(admin.password)
        tab.page.keyboard.press("Enter")
        tab.is_at("/")
    # A link that nobody has made.
    with admin.tab(logged_in=False) as tab:
        tab.go("/login?token=guessed", status=401)
        expect(tab.page.get_by_role("alert")).to_contain_text("This link is wrong or was used before.")
        tab.check("login-by-a-wrong-link")
