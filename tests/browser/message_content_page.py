"""What stands in a message: its HTML in a frame that may do nothing, its text, header and parts, and what was sent."""

import os
import smtplib
import struct
import threading
import zlib
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lib import PATIENCE_MS, VIEWS, admin, api, eventually, expect, message_is, send



def png(red: int, green: int, blue: int, size: int = 48) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = png(0x7A, 0x3B, 0x12)
TABS = ["/read", "/text", "/headers", "/parts", "/raw", "/sent"]


class Elsewhere(BaseHTTPRequestHandler):
    """A server of somebody else, which notes what it is asked for, and who sent the reader."""

    asked: dict[str, str | None] = {}

    def do_GET(self):
        # What the browser asks for by itself, for the page that is opened.
        if self.path != "/favicon.ico":
            Elsewhere.asked[self.path] = self.headers["Referer"]
        self.send_response(200)
        self.send_header("Content-Type", "image/png" if self.path.endswith(".png") else "text/html")
        self.end_headers()
        self.wfile.write(PNG if self.path.endswith(".png") else b"<title>elsewhere</title>")

    do_POST = do_GET

    def log_message(self, *_):
        pass


def deliver(sender: str, recipient: str, content: bytes) -> str:
    host, port = os.environ["SMTP_ADDRESS"].split(":")
    with smtplib.SMTP(host, int(port), timeout=PATIENCE_MS / 1000) as client:
        client.ehlo()
        assert client.mail(sender)[0] == 250 and client.rcpt(recipient)[0] == 250
        code, reply = client.data(content)
    assert code == 250, reply
    return reply.decode().rsplit(" ", 1)[1]


def newsletter() -> bytes:
    mail = EmailMessage()
    mail["From"] = "Café Zürich <news@shop.example>"
    mail["To"] = "ann@example.com"
    mail["Subject"] = "Grüße aus dem Café — 新しいお茶 ☕"
    mail["Bcc"] = "audit@shop.example"
    mail.set_content("Grüße!\n\nThe autumn teas are here: see https://shop.example/autumn\n\n> Leave this list: reply.\n")
    mail.add_alternative(
        "<!doctype html><html><body style='margin:0;background:#f4efe6'><table width='100%' cellpadding='16'><tr><td align='center'>"
        "<table width='560' style='max-width:100%;background:#fff;border-radius:8px' cellpadding='20'><tr><td>"
        "<img src='cid:logo@shop' width='48' height='48' alt='Logo'><h1 style='color:#7a3b12'>Grüße aus dem Café</h1>"
        "<p>The autumn teas are here: smoky Lapsang, malty Assam, 新しいお茶.</p>"
        "<p><a href='https://shop.example/autumn' style='background:#7a3b12;color:#fff;padding:8px 14px'>See them all</a></p>"
        "</td></tr></table></td></tr></table></body></html>",
        subtype="html",
    )
    mail.get_payload()[1].add_related(PNG, "image", "png", cid="<logo@shop>")
    mail.add_attachment(b"%PDF-1.4\n", maintype="application", subtype="pdf", filename="Rechnung № 4711 – Grün.pdf")
    inner = EmailMessage()
    inner["Subject"] = "A message in the message"
    inner.set_content("inner\n")
    mail.add_attachment(inner)
    return mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))


def hostile(elsewhere: str) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "<script>document.title='run'</script>"
    mail.set_content(
        f"""<head><base href="{elsewhere}/base/"><meta http-equiv="refresh" content="0;url={elsewhere}/refresh">
        <link rel="stylesheet" href="{elsewhere}/style.css"><link rel="prefetch" href="{elsewhere}/prefetch"></head>
        <body onload="document.title='run'"><script>document.title='run'; fetch('{elsewhere}/script')</script>
        <script src="{elsewhere}/script.js"></script><iframe src="{elsewhere}/frame"></iframe><object data="{elsewhere}/object"></object>
        <img src="{elsewhere}/opened.png" alt="picture" onerror="document.title='run'"><div style="background:url({elsewhere}/background.png)">x</div>
        <video poster="{elsewhere}/poster.png" src="{elsewhere}/video"></video>
        <form action="{elsewhere}/form" method="post"><input name="password"><button>Send it</button></form>
        <p><a href="{elsewhere}/link">A link</a> <a href="{elsewhere}/here" target="_self">Here</a>
        <a href="{elsewhere}/top" target="_top">Above</a> <a href="javascript:document.title='run'" target="_self">Run</a></p></body>""",
        subtype="html",
    )
    return mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))


def nothing_runs(admin, elsewhere: str):
    """Looked at without the rules of lib, because here something elsewhere is wanted."""
    queue_id = deliver("news@shop.example", "full@example.com", hostile(elsewhere))
    with admin.tab() as tab:
        cookies = tab.page.context.cookies()
    context = admin.new_context(VIEWS[2], javascript=True)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(f"{admin.url}/messages/{queue_id}/read")
    frame = page.frame_locator("iframe.mail")
    expect(frame.get_by_text("A link")).to_be_visible()
    frame.get_by_role("button", name="Send it").click()
    frame.get_by_role("link", name="Above").click()
    frame.get_by_role("link", name="Run").click()
    with context.expect_page() as opened:
        frame.get_by_role("link", name="A link").click()
    expect(opened.value).to_have_title("elsewhere")
    opened.value.close()
    # All that came from the clicks had its time: what was asked for elsewhere is the link alone, and nobody was told from where.
    assert Elsewhere.asked == {"/link": None}, Elsewhere.asked
    frame.get_by_role("link", name="Here").click()
    expect(frame.get_by_text("A link")).to_be_hidden()
    assert page.url == f"{admin.url}/messages/{queue_id}/read" and "script" in page.title(), page.title()
    assert Elsewhere.asked == {"/link": None}, Elsewhere.asked
    # With remote content: pictures, styles, and what is fetched before it is shown; nothing that runs or is a document in it.
    page.goto(f"{admin.url}/messages/{queue_id}/read")
    page.get_by_role("link", name="Load remote content").click()
    expect(frame.get_by_text("A link")).to_be_visible()
    wanted = {"/link", "/opened.png", "/background.png", "/style.css"}
    eventually("the pictures", lambda: wanted <= Elsewhere.asked.keys())
    assert Elsewhere.asked.keys() <= wanted | {"/poster.png", "/prefetch"}, Elsewhere.asked
    assert set(Elsewhere.asked.values()) == {None}, Elsewhere.asked
    context.close()


with admin() as admin:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    nothing_runs(admin, f"http://127.0.0.1:{server.server_port}")

    mail = deliver("news@shop.example", "ann@example.com", newsletter())
    message_is(mail, "sent")
    waiting = send("orders@shop.example", "full@example.com", mail="order")
    message_is(waiting, "deferred")
    redirected = send("orders@staging.example", "ann@example.com", "bob@example.net", mail="order")
    message_is(redirected, "sent")
    for view in VIEWS:
        with admin.tab(view) as tab:
            for path in TABS:
                tab.go(f"/messages/{mail}{path}")
                if path == "/read":
                    expect(tab.page.frame_locator("iframe.mail").get_by_role("heading")).to_contain_text("Grüße aus dem Café")
                    # What nobody sees is not drawn.
                    tab.page.locator("iframe.mail").scroll_into_view_if_needed()
                tab.check(f"message{path.replace('/', '-')}")
            tab.go(f"/messages/{redirected}/sent")
            tab.check("message-sent-redirected")
    with admin.tab() as tab:
        tab.go(f"/messages/{mail}/parts")
        with tab.page.expect_download() as download:
            tab.page.get_by_role("row", name="Rechnung").get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == "Rechnung № 4711 – Grün.pdf", download.value.suggested_filename
        # What happens elsewhere is seen here.
        tab.go(f"/messages/{waiting}")
        expect(tab.page.get_by_role("button", name="Hold")).to_be_visible()
        api(f"/messages/{waiting}/hold", method="POST")
        expect(tab.page.get_by_text("An operator holds it.")).to_be_visible()
    with admin.tab(javascript=False) as tab:
        tab.go(f"/messages/{mail}/headers")
        tab.page.get_by_role("searchbox").fill("subject")
        tab.page.get_by_role("button", name="Filter").click()
        expect(tab.page.get_by_text("1 of ")).to_be_visible()
        tab.check("message-headers-without-scripts")
