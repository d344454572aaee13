//! Everything together: from a client through the built binary to an upstream.

mod reference;

mod addresses;
mod archive;
mod attempts;
mod certificates;
mod changes;
mod front_door;
mod front_door_keys;
mod header;
mod leaks;
mod memory;
mod modes;
mod oauth2;
mod reload;
mod sent;
mod smuggling;
mod systemd;
mod tls;
mod upstream_tls;
