//! The configuration: *written* (merged values, held against the schema) and *meant* ([`Settings`], read once, all errors
//! at once). `conf/postroom.toml` explains each key.
//!
//! # The way of a value
//! `schema` knows every key and its default, from `conf/postroom.toml`; what a new key needs stands at its head. `merged`
//! has the layers, defaults < file < `admin.toml` < environment < command line, and knows where each value came from; `unknown_keys`
//! finds the keys that do not exist; `read_settings` reads each key once through `section`, which brings it to its type and
//! reports what is wrong; `cross_checks` looks at several tables together.
//!
//! # Failures
//! A wrong configuration is refused whole, with everything that is wrong: [`ConfigErrors`]. No secret's value is in it.
//!
//! # Limits
//! Nothing is looked up in the DNS but this machine's own full name, once, and only while `hostname` is empty.

mod admin_file;
pub mod admin_settings;
mod admin_toml;
#[cfg(test)]
mod any_depth;
mod below;
mod change;
mod config_file;
mod cross_checks;
mod described;
mod draft;
mod environment;
mod error;
mod folders;
pub mod handling;
mod holding;
mod host;
mod hostname;
mod https_url;
mod in_force;
mod key_path;
mod load;
mod merged;
mod origin;
mod parse;
pub mod password;
pub mod password_hashing;
mod proxy_server;
mod read_admin;
mod read_auth;
mod read_certificate;
mod read_handling;
mod read_listener;
mod read_oauth2;
mod read_password;
mod read_secret;
mod read_settings;
mod read_upstream;
mod read_user;
mod read_webhook;
mod reload;
mod schema;
mod secret;
mod secret_file;
mod section;
pub mod server_certificate;
pub mod settings;
mod sources;
mod text_layer;
mod toml_type;
mod topic;
mod unknown_keys;

pub use admin_file::DroppedChange;
pub use admin_toml::AdminToml;
pub use change::{ChangedKey, Proposal, ended_modes, propose};
pub use described::{DescribedKey, keys_of_upstreams};
pub use draft::{Change, ChangeError, NewValues, is_path_key, is_secret_key};
pub use error::{ConfigError, ConfigErrors};
pub(crate) use folders::BADMAIL;
pub use in_force::InForce;
pub(crate) use in_force::{GivenAt, InForceKey};
pub use load::{Loaded, default_upstream, load};
pub use proxy_server::{is_host_name, name_of_this_machine, proxy_server};
pub use reload::{changes, expired, unreloadable};
pub use schema::DEFAULT_FILE;
pub use secret::Secret;
pub use settings::Settings;
pub use sources::Sources;
pub use topic::Topic;
