//! What happens to a message and what is sent, as pure functions of settings and the stored message: [`plan`] decides,
//! [`changes`] and [`added`] say what leaves otherwise than it came, [`notices`] tell people of it.

pub mod added;
pub mod bounce;
pub mod changes;
pub mod notices;
pub mod plan;
