//! What happens to a message and what is sent, as pure functions of settings and the stored message: [`plan`] decides,
//! [`changes`] and [`added`] say what leaves otherwise than it came, [`sent`] keeps that to be shown, [`notices`] tell people of it. [`test_mail`] is a
//! message of our own.

pub mod added;
pub mod bounce;
pub mod changes;
pub mod notices;
pub mod plan;
pub mod sent;
pub mod test_mail;
