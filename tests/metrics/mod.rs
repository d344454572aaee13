//! `GET /metrics` and the health checks of the running binary, and docs/monitoring.md.

mod health;
mod prometheus;
mod series;
mod shipped;
mod stage;
mod text;
