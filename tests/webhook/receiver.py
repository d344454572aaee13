"""A receiver of webhooks on Python's http.server: says on standard output, a line of JSON for each request, what came and
whether its signature is that of hmac; answers as the lines on standard input say.

receiver.py SECRET [CERTIFICATE KEY]

A line on standard input is a list of answers, one for each request; the last repeats. A status, `429:SECONDS` (with
Retry-After), `302`, and `hang` (until the next line comes, which answers it), `endless`, `cut`, `cut-body`, `nonsense`, `1.1` (200, and
the connection stays).
"""

import hashlib
import hmac
import http.server
import json
import ssl
import sys
import threading

SECRET = sys.argv[1]
changed = threading.Condition()
answers = ["200"]
era = 0


def next_answer():
    with changed:
        return (answers.pop(0) if len(answers) > 1 else answers[0]), era


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        given = self.headers.get("X-Postroom-Signature")
        wanted = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        answer, since = next_answer()
        say(
            {
                "path": self.path,
                "header": {name.lower(): value for name, value in self.headers.items()},
                "body": json.loads(body),
                "text": body.decode(),
                "verified": given is not None and hmac.compare_digest(given, wanted),
                "answer": answer,
            }
        )
        while answer == "hang":
            with changed:
                changed.wait_for(lambda: era != since)
            answer, since = next_answer()
        self.answer(answer)

    def answer(self, answer):
        status, _, seconds = answer.partition(":")
        self.close_connection = answer != "1.1"
        if answer == "nonsense":
            self.wfile.write(b"220 mail.example.com ESMTP\r\n")
        elif answer == "cut":
            self.wfile.write(b"HTTP/1.1 20")
        elif answer == "cut-body":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nten bytes.")
        elif answer == "endless":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                pass
        else:
            self.send_response(200 if answer == "1.1" else int(status))
            if seconds:
                self.send_header("Retry-After", seconds)
            if status.startswith("3"):
                self.send_header("Location", "/elsewhere")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


said = threading.Lock()


def say(value):
    with said:
        print(json.dumps(value), flush=True)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Receiver)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    # The handshake in the thread of the connection.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
say(server.server_address[1])
for line in sys.stdin:
    with changed:
        answers[:] = line.split()
        era += 1
        changed.notify_all()
    say({"answers": line.split()})
