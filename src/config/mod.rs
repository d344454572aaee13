//! The configuration: *written* (merged values walked against the default tree) and *meant* (settings, built once,
//! all errors at once). See PRODUCT section 3.

pub mod settings;

pub use settings::Settings;
