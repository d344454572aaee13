//! What the demo sends: a dozen messages of each kind at its start, a few ordinary ones in turn from then on.

/// Customers of the shop, one after the other.
const CUSTOMERS: [&str; 5] =
    ["ann@example.com", "ben@example.net", "carla@example.org", "dmitri@example.com", "eve@example.net"];

/// One message, but for its number and date.
#[derive(Clone, Copy, Debug)]
pub(super) struct DemoMail {
    /// Its reverse-path says which site it is of.
    pub(super) from: &'static str,
    /// Empty: the customer whose turn it is.
    pub(super) to: &'static [&'static str],
    text: &'static str,
    /// An operator holds it as soon as it is in the queue.
    pub(super) held: bool,
}

const ORDERS: &str = "orders@shop.example";
const NEWS: &str = "news@shop.example";
const ACCOUNTS: &str = "accounts@shop.example";
const STAGING: &str = "orders@staging.shop.example";

const ORDER: &str = include_str!("mail/order.eml");
const NEWSLETTER: &str = include_str!("mail/newsletter.eml");
const PASSWORD: &str = include_str!("mail/password.eml");
const CRON: &str = include_str!("mail/cron.eml");
const LETTER: &str = include_str!("mail/letter.eml");
const SHIPPED: &str = include_str!("mail/shipped.eml");
const REMINDER: &str = include_str!("mail/reminder.eml");
const ALERT: &str = include_str!("mail/alert.eml");

const fn mail(from: &'static str, to: &'static [&'static str], text: &'static str) -> DemoMail {
    DemoMail { from, to, text, held: false }
}

/// Sent once, when the demo starts with a new folder: some are refused for good (`unknown`), some for now (`full`).
pub(super) const AT_THE_START: &[DemoMail] = &[
    mail(ORDERS, &["ann@example.com"], ORDER),
    mail("no-reply@shop.example", &["ben@example.net"], PASSWORD),
    mail(
        NEWS,
        &["ann@example.com", "ben@example.net", "carla@example.org", "unknown@example.net"],
        NEWSLETTER,
    ),
    mail("root@web1.example", &["admin@example.com"], CRON),
    mail("soeren@shop.example", &["zoe@example.com", "taro@example.org", "joerg@example.net"], LETTER),
    mail(ORDERS, &["unknown@example.org"], SHIPPED),
    mail(ACCOUNTS, &["full@example.com"], REMINDER),
    DemoMail { held: true, ..mail(ACCOUNTS, &["full@example.net"], REMINDER) },
    mail(STAGING, &["ann@example.com"], ORDER),
    mail(
        "news@staging.shop.example",
        &["carla@example.org", "dmitri@example.com", "eve@example.net"],
        NEWSLETTER,
    ),
    mail("alerts@monitor.example", &["ops@example.com", "night-shift@example.com"], ALERT),
    mail(ORDERS, &["carla@example.org"], SHIPPED),
];

/// Sent in turn while the demo runs. Somebody takes each of them: nothing of it piles up.
pub(super) const NOW_AND_THEN: &[DemoMail] = &[
    mail(ORDERS, &[], ORDER),
    mail(ORDERS, &[], SHIPPED),
    mail("no-reply@shop.example", &[], PASSWORD),
    mail(STAGING, &[], ORDER),
    mail(NEWS, &[], NEWSLETTER),
];

impl DemoMail {
    /// Who it is for, when it is the `number`th.
    pub(super) fn recipients(&self, number: usize) -> Vec<&'static str> {
        match self.to {
            [] => vec![CUSTOMERS[number % CUSTOMERS.len()]],
            to => to.to_vec(),
        }
    }

    /// Header and body, with CRLF.
    pub(super) fn content(&self, number: usize, date: &str) -> String {
        let number_shown = (4711 + number).to_string();
        let filled = [
            ("{{date}}", date),
            ("{{from}}", self.from),
            ("{{to}}", &self.recipients(number).join(", ")),
            ("{{number}}", &number_shown),
            ("{{id}}", &format!("{:032x}", fastrand::u128(..))),
        ];
        let text = self.text.replace("\r\n", "\n").replace('\n', "\r\n");
        filled.iter().fold(text, |text, (name, value)| text.replace(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders};

    #[test]
    fn each_message_is_whole() {
        for (number, mail) in AT_THE_START.iter().chain(NOW_AND_THEN).enumerate() {
            let content = mail.content(number, "Sun, 22 Nov 2026 02:31:32 +0000");
            assert!(!content.contains("{{"), "{content}");
            assert!(content.lines().all(|line| line.len() <= 998));
            let message = MessageParser::default().parse(&content).unwrap();
            assert!(
                message.date().is_some() && message.from().is_some() && message.to().is_some(),
                "{content}"
            );
            assert!(!message.subject().unwrap().is_empty());
            assert!(message.parts.iter().all(|part| !part.is_encoding_problem), "{content}");
        }
    }

    #[test]
    fn the_order_has_a_page_a_picture_and_an_invoice() {
        let content = AT_THE_START[0].content(0, "Sun, 22 Nov 2026 02:31:32 +0000");
        let message = MessageParser::default().parse(&content).unwrap();
        let html = message.body_html(0).unwrap();
        let picture = message.parts.iter().find(|part| part.content_id().is_some()).unwrap();
        assert!(html.contains(&format!("cid:{}", picture.content_id().unwrap())));
        assert!(picture.contents().starts_with(b"\x89PNG"));
        let invoice = message.attachments().find(|part| part.attachment_name() == Some("invoice-4711.pdf"));
        assert!(invoice.unwrap().contents().starts_with(b"%PDF"));
    }
}
