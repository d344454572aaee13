//! Delivery: from the queue to the upstreams.
//!
//! [`engine`] claims due mail of the groups that `claim_groups` says can go, and asks [`crate::policy::plan`] what is to happen to
//! each message. `holding` holds it, `mode_attempt` does what needs no upstream; for the rest an attempt starts as soon as
//! `route` finds an upstream that [`health`] says is available. `attempt` works with a `way_out`: a [`connection`], new or from
//! the [`pool`], on which [`transact`] sends what [`outgoing`] makes of the stored content, or a `pickup_folder`, in which that
//! becomes a file. `disposition` says what each answer means, `recipient_progress` makes
//! one verdict per recipient of them, and `settlement` stores the verdicts in one commit; `retry` says when the rest is
//! tried again. [`waits_for`] says why mail that is due does not leave. [`upstream_test`] is what an operator asks for: the steps to a session, one by one.
//! [`pass_through`] does without the queue.

mod attempt;
mod attempt_guard;
mod attempt_record;
mod bounce;
mod capabilities;
mod certificate_names;
mod circuit;
mod claim_groups;
mod concurrently;
pub mod connection;
pub mod context;
pub mod dice;
mod disposition;
mod effective_limit;
pub mod engine;
pub mod envelope;
mod happy_eyeballs;
pub mod health;
mod health_report;
#[cfg(test)]
mod health_tests;
mod history;
mod holding;
mod login;
mod lost_sessions;
mod mode_attempt;
mod mode_words;
pub mod oauth2;
mod old_mail;
pub mod outgoing;
mod own_certificate;
pub mod pass_through;
pub mod peer_cache;
mod pickup_folder;
pub mod pool;
mod provider_texts;
mod rate_limit;
mod recipient_progress;
pub mod remedies;
mod retry;
mod route;
pub mod sasl;
pub mod session_error;
pub mod session_steps;
mod settlement;
pub mod slot;
mod tls;
mod tls_error;
mod too_many_connections;
pub mod transact;
mod transaction;
pub mod transaction_result;
pub mod transactions_under_way;
mod transcript;
pub mod upstream_test;
pub mod upstream_tls;
mod waiting_claim;
pub mod waits_for;
mod way_out;
mod wire;
