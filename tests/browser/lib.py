"""Leads Chromium through the pages of the web admin, and asks of each what holds for all of them.

A script of this folder gets from its test (mod.rs) where the running proxy is, opens tabs at the widths and in the schemes of
VIEWS, and waits for states of a page alone (`expect`), never for time. What it does wrong ends it with a traceback and a picture of the tab
in target/screenshots.
"""

import faulthandler
import json
import os
import re
import smtplib
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "target/screenshots"
AXE = ROOT / "target/foreign/browser/axe.min.js"
CHROMIUM = "/usr/bin/chromium"
# Long, because a busy machine is no failure. Shorter while a script is written.
PATIENCE_MS = int(os.environ.get("PATIENCE_MS", 60_000))
# What axe holds pages to: WCAG 2.0 and 2.1, levels A and AA, and what its authors call best practice.
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
# A page with all that it fetches.
MAX_BYTES = 100 << 10

expect.set_options(timeout=PATIENCE_MS)
# What Playwright has no limit for: says where it hangs.
faulthandler.dump_traceback_later(1200, exit=True)


@dataclass(frozen=True)
class View:
    """How a reader looks at the pages."""

    width: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"

    @property
    def size(self) -> dict:
        return SIZES[self.width]


SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
VIEWS = [View(width, scheme) for width in SIZES for scheme in ("light", "dark")]
PHONE, DESKTOP = View("phone", "light"), View("desktop", "light")


class Tab:
    """One reader with cookies of their own. Notes what a page must not do; `close` fails where it did."""

    def __init__(self, admin: "Admin", context: BrowserContext, view: View, javascript: bool):
        self.admin, self.view, self.javascript = admin, view, javascript
        self.page: Page = context.new_page()
        self._faults: list[str] = []
        self._refusals: list[int] = []
        self._expected: list[str] = []
        self._origins = [admin.url]
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._faults.append(f"a script failed: {error.error}"))

    def _on_request(self, request):
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and f"{url.scheme}://{url.netloc}" not in self._origins:
            self._faults.append(f"fetched from elsewhere: {request.url}")

    def _on_console(self, message):
        if message.type not in ("error", "warning"):
            return
        refusal = re.match(r"Failed to load resource: the server responded with a status of (\d+)", message.text)
        if refusal and int(refusal[1]) in self._refusals:
            return
        if any(re.search(expected, message.text) for expected in self._expected):
            return
        self._faults.append(f"console, {message.type}: {message.text} ({message.location.get('url')})")

    def may_be_refused(self, status: int):
        """From now on a response of that status, which the console calls an error, is none."""
        self._refusals.append(status)

    def may_fetch_from(self, origin: str):
        self._origins.append(origin)

    def may_be_said(self, pattern: str):
        """In the console: what the browser does not let a mail do."""
        self._expected.append(pattern)

    def go(self, path: str, status: int = 200):
        """Opens a page, whose response has that status."""
        if status >= 400:
            self.may_be_refused(status)
        response = self.page.goto(self.admin.url + path)
        assert response is not None and response.status == status, f"{path}: {response and response.status}, not {status}"

    def is_at(self, path: str):
        """Waits until that page is shown, whatever notice it has."""
        expect(self.page).to_have_url(re.compile(re.escape(self.admin.url + path) + r"(\?notice=[^&]*)?$"))

    def log_in(self, password: str | None = None):
        """By the form, on the page that is shown."""
        self.page.get_by_label("Password").fill(self.admin.password if password is None else password)
        self.page.get_by_role("button", name="Log in").click()

    def check(self, name: str):
        """Holds the page, as it is shown now, to what holds for all pages. Its picture is NAME-WIDTH-SCHEME.png."""
        self.picture(f"{name}-{self.view}")
        self._no_horizontal_scroll()
        self._is_small()
        self._axe()
        self._no_faults()

    def picture(self, name: str, full_page: bool = True):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full_page)

    def _no_horizontal_scroll(self):
        content, window = self.page.evaluate(
            "() => { const root = document.scrollingElement; return [root.scrollWidth, root.clientWidth] }"
        )
        assert content <= window, f"{self.page.url} is {content} px wide in a window of {window} px: {self._widest()}"

    def _widest(self) -> list[str]:
        return self.page.evaluate(
            """() => [...document.body.querySelectorAll("*")]
                .filter(element => element.getBoundingClientRect().right > document.scrollingElement.clientWidth)
                .slice(0, 5).map(element => element.outerHTML.slice(0, 120))"""
        )

    def _is_small(self):
        sizes = self.page.evaluate(
            """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                .map(entry => [entry.transferSize, entry.name])"""
        )
        total = sum(size for size, _ in sizes)
        assert sizes and 0 < total <= MAX_BYTES, f"{self.page.url}: {total} bytes: {sizes}"

    def _axe(self):
        # Not as a <script>, which the page's own policy forbids. What a mail shows in a frame is not ours to mend.
        with self._with_scripts() as page:
            page.evaluate(AXE.read_text() + "\n;undefined")
            found = page.evaluate(
                "tags => axe.run({ runOnly: { type: 'tag', values: tags }, iframes: false, resultTypes: ['violations'] })",
                AXE_TAGS,
            )
        lines = []
        for violation in found["violations"]:
            lines.append(f"{violation['id']} ({violation['impact']}): {violation['help']}; {violation['helpUrl']}")
            for node in violation["nodes"]:
                lines.append(f"    {' '.join(map(str, node['target']))}: {node['html'][:200]}")
                lines.extend(f"        {line}" for line in (node["failureSummary"] or "").splitlines()[1:])
        assert not lines, f"axe, of {self.page.url} ({self.view}):\n" + "\n".join(lines)
        assert found["passes"], "axe has looked at nothing"

    @contextmanager
    def _with_scripts(self):
        """The page itself; where scripts are off, a copy of what is shown, because axe is a script. Those of the page are left out."""
        if self.javascript:
            yield self.page
            return
        shown = re.sub(r"<script\b.*?</script>", "", self.page.content(), flags=re.DOTALL)
        shown = re.sub(r"(</?)noscript\b", r"\1div", shown)
        context = self.admin.new_context(self.view, javascript=True)
        context.add_cookies(self.page.context.cookies())
        copy = context.new_page()
        copy.route(self.page.url, lambda route: route.fulfill(content_type="text/html; charset=utf-8", body=shown))
        copy.goto(self.page.url)
        yield copy
        context.close()

    def _no_faults(self):
        assert not self._faults, f"{self.page.url} ({self.view}):\n" + "\n".join(self._faults)


class Admin:
    """The running web admin, and a browser to look at it with."""

    def __init__(self, browser: Browser, url: str, password: str = ""):
        self.url, self.password = url.rstrip("/"), password
        self._browser = browser
        # Of a session, once somebody has logged in.
        self._cookies: list | None = None

    @contextmanager
    def tab(self, view: View = DESKTOP, javascript: bool = True, logged_in: bool = True):
        """A tab in which a page is looked at, logged in by the form if that has not been done before."""
        context = self.new_context(view, javascript)
        tab = Tab(self, context, view, javascript)
        try:
            if logged_in:
                self._log_in(tab)
            yield tab
            tab._no_faults()
        except BaseException:
            name = f"failed-{Path(sys.argv[0]).stem}-{view}"
            print(f"at {tab.page.url}; {name}.png shows it", file=sys.stderr)
            tab.picture(name)
            raise
        finally:
            context.close()

    def new_context(self, view: View, javascript: bool) -> BrowserContext:
        context = self._browser.new_context(
            viewport=view.size,
            color_scheme=view.scheme,
            java_script_enabled=javascript,
            reduced_motion="reduce",
            device_scale_factor=1,
            locale="en-GB",
            # Another zone than the server's, which is UTC.
            timezone_id="America/New_York",
        )
        context.set_default_timeout(PATIENCE_MS)
        return context

    def log_in_by_link(self, tab: Tab, path: str):
        """By a link that works once: whoever opens a tab afterwards is logged in, too."""
        tab.go(path)
        self._is_logged_in(tab)

    def _log_in(self, tab: Tab):
        if self._cookies is None:
            tab.go("/login")
            tab.log_in()
            self._is_logged_in(tab)
        else:
            tab.page.context.add_cookies(self._cookies)

    def _is_logged_in(self, tab: Tab):
        tab.is_at("/")
        self._cookies = tab.page.context.cookies()


@contextmanager
def chromium():
    """Debian's. Its sandbox does not work for root."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE_MS)
        yield browser
        browser.close()


@contextmanager
def admin():
    """The web admin that the test has started."""
    with chromium() as browser:
        yield Admin(browser, os.environ["ADMIN_URL"], os.environ["ADMIN_PASSWORD"])


def send(
    sender: str, *recipients: str, mail: str | None = None, subject: str = "Hello", text: str = "How are you?", content: str | None = None
) -> str:
    """Has the proxy take a message; `mail` is one of the demo's. Returns its queue id."""
    if content:
        pass
    elif mail:
        content = (ROOT / f"src/cli/demo/mail/{mail}.eml").read_text()
        filled = {"from": sender, "to": ", ".join(recipients), "number": "4711", "id": "1", "date": "Sun, 22 Nov 2026 02:31:32 +0000"}
        content = re.sub(r"{{(\w+)}}", lambda name: filled[name[1]], content)
    else:
        content = f"From: {sender}\nTo: {', '.join(recipients)}\nSubject: {subject}\n\n{text}\n"
    host, port = os.environ["SMTP_ADDRESS"].split(":")
    with smtplib.SMTP(host, int(port), timeout=PATIENCE_MS / 1000) as client:
        client.ehlo()
        for code, reply in [client.mail(sender), *(client.rcpt(recipient) for recipient in recipients)]:
            assert code == 250, reply
        code, reply = client.data(content.replace("\n", "\r\n").encode())
        assert code == 250, reply
    return reply.decode().rsplit(" ", 1)[1]


def api(path: str, body=None, method: str | None = None):
    """What a route answers with JSON, asked beside the browser."""
    request = urllib.request.Request(os.environ["ADMIN_URL"] + "/api/v1" + path, method=method)
    request.add_header("Authorization", f"Bearer {os.environ['ADMIN_TOKEN']}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=PATIENCE_MS / 1000) as answer:
        return json.loads(answer.read() or "null")


def eventually(what: str, ready):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not (answer := ready()):
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)
    return answer


def message_is(queue_id: str, state: str):
    """Waits until the message has that state."""
    eventually(f"{queue_id} to be {state}", lambda: api(f"/messages/{queue_id}")["state"] == state)
