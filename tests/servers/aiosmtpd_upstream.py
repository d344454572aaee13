"""aiosmtpd as an upstream. Prints `listening PORT`, then a line of JSON for each message that it took.

Usage: aiosmtpd_upstream.py [--certificate PEM --key PEM [--require-starttls]] [--no-smtputf8] [--size BYTES]
                            [--ntlm DOMAIN:USER:PASSWORD]

With --ntlm it takes mail behind AUTH NTLM alone, which pyspnego checks (PYTHONPATH says where that is), and says on standard
error whom it knows.
"""

import argparse
import asyncio
import base64
import json
import os
import ssl
import sys
import tempfile

from aiosmtpd.smtp import MISSING, SMTP, AuthResult


class Handler:
    async def handle_DATA(self, server, session, envelope):
        # The null reverse-path is the one that it leaves in its brackets.
        reverse_path = envelope.mail_from.strip("<>")
        message = {
            "mail": " ".join([f"<{reverse_path}>", *envelope.mail_options]),
            "rcpt": [f"<{recipient}>" for recipient in envelope.rcpt_tos],
            "content": envelope.original_content.hex(),
        }
        print(json.dumps(message), flush=True)
        return "250 2.0.0 taken"


class NtlmHandler(Handler):
    async def auth_NTLM(self, server, args):
        import spnego

        context = spnego.server(protocol="ntlm")
        token = b""
        # The first message may come along with AUTH, or behind an empty challenge.
        if len(args) > 1:
            token = base64.b64decode(args[1])
        else:
            token = await server.challenge_auth("")
        try:
            while True:
                if token is MISSING:
                    return AuthResult(success=False)
                answer = context.step(token)
                if context.complete:
                    print("NTLM:", context.client_principal, file=sys.stderr, flush=True)
                    return AuthResult(success=True, auth_data=context.client_principal)
                token = await server.challenge_auth(answer)
        except spnego.exceptions.SpnegoError as error:
            print("NTLM refused:", error, file=sys.stderr, flush=True)
            return AuthResult(success=False, handled=False)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--require-starttls", action="store_true")
    parser.add_argument("--no-smtputf8", action="store_true")
    parser.add_argument("--size", type=int, default=33554432)
    parser.add_argument("--ntlm")
    arguments = parser.parse_args()
    handler, auth = Handler, {}
    if arguments.ntlm:
        users = tempfile.NamedTemporaryFile("w", suffix=".ntlm")
        users.write(arguments.ntlm + "\n")
        users.flush()
        os.environ["NTLM_USER_FILE"] = users.name
        handler = NtlmHandler
        auth = {"auth_required": True, "auth_require_tls": False, "auth_exclude_mechanism": ["LOGIN", "PLAIN"]}
    context = None
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.key)

    def session():
        return SMTP(
            handler(),
            hostname="aiosmtpd.test",
            data_size_limit=arguments.size,
            enable_SMTPUTF8=not arguments.no_smtputf8,
            tls_context=context,
            require_starttls=arguments.require_starttls,
            **auth,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
