//! `GET /metrics` and the health checks of the running binary, and docs/monitoring.md.

mod health;
mod series;
mod stage;
mod text;
