// Logs in within TLS with nodemailer and sends one message, once with each mechanism.
// Usage: node login.js HOST PORT starttls|implicit USER PASSWORD CERTIFICATE
'use strict';
const fs = require('fs');
const nodemailer = require('nodemailer');

const [host, port, mode, user, pass, certificate] = process.argv.slice(2);

(async () => {
    for (const authMethod of ['PLAIN', 'LOGIN']) {
        const transport = nodemailer.createTransport({
            host,
            port: Number(port),
            secure: mode === 'implicit',
            requireTLS: mode === 'starttls',
            auth: { user, pass },
            authMethod,
            tls: { ca: fs.readFileSync(certificate), servername: 'localhost' },
        });
        await transport.verify();
        await transport.sendMail({
            from: 'ann@client.test',
            to: 'bob@upstream.test',
            subject: 'from nodemailer',
            text: 'Hello',
        });
    }
})().catch((error) => {
    console.error(error);
    process.exit(1);
});
