"""aiosmtpd as an upstream. Prints `listening PORT`, then a line of JSON for each message that it took.

Usage: aiosmtpd_upstream.py [--certificate PEM --key PEM [--require-starttls]] [--no-smtputf8] [--size BYTES]
"""

import argparse
import asyncio
import json
import ssl

from aiosmtpd.smtp import SMTP


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


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--require-starttls", action="store_true")
    parser.add_argument("--no-smtputf8", action="store_true")
    parser.add_argument("--size", type=int, default=33554432)
    arguments = parser.parse_args()
    context = None
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.key)

    def session():
        return SMTP(
            Handler(),
            hostname="aiosmtpd.test",
            data_size_limit=arguments.size,
            enable_SMTPUTF8=not arguments.no_smtputf8,
            tls_context=context,
            require_starttls=arguments.require_starttls,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
