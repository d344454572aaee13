// Sends one message of each kind with nodemailer, over one pooled connection. Usage: node send.js HOST PORT
'use strict';
const nodemailer = require('nodemailer');

const [host, port] = process.argv.slice(2);
const transport = nodemailer.createTransport({ host, port: Number(port), pool: true, maxConnections: 1 });
const usual = {
    from: 'Ann <ann@client.test>',
    to: 'Bob <bob@upstream.test>',
    text: 'Hello Bob,\n\nthe order is on its way.\n',
};
const raw = (subject, body) =>
    `From: ann@client.test\r\nTo: bob@upstream.test\r\nSubject: ${subject}\r\nMIME-Version: 1.0\r\n` +
    `Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${body}`;
const envelope = { from: 'ann@client.test', to: ['bob@upstream.test'] };
const messages = [
    { ...usual, subject: 'plain' },
    { ...usual, subject: 'Grüße und ✓', textEncoding: 'base64' },
    { envelope, raw: raw('raw subject Grüße ✓', 'ASCII\r\n') },
    { envelope: { ...envelope, use8BitMime: true }, raw: raw('eight bits', 'Grüße aus Köln\n用户\n') },
    {
        ...usual,
        subject: 'attachment',
        html: '<p>Grüße</p>',
        attachments: [{ filename: 'Übersicht.bin', content: Buffer.from([...Array(256).keys()]) }],
    },
    {
        ...usual,
        subject: 'several',
        to: ['bob@upstream.test', 'eve@upstream.test'],
        cc: '"Carol, C." <carol@upstream.test>',
        bcc: 'dave@upstream.test',
    },
    { ...usual, subject: 'dots', text: '.\n..\n.a line that begins with a dot\nend\n.\n' },
    { ...usual, subject: 'null', envelope: { from: '', to: ['bob@upstream.test'] } },
];

(async () => {
    for (const message of messages) {
        const { rejected } = await transport.sendMail(message);
        if (rejected.length > 0) throw new Error(`refused: ${rejected}`);
    }
    transport.close();
})().catch((error) => {
    console.error(error);
    process.exit(1);
});
