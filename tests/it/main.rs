//! Integration tests: the real binary, real sockets on loopback, one test binary so that it links once.
//!
//! Nothing sleeps to synchronise: tests wait for a line, a response or an exit, with a bound on how long.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on may stop; it reads its own environment"
)]

mod support;

mod access;
mod alerts;
mod cli;
mod crash;
mod daemon;
mod demo;
mod deploy;
mod editor;
mod golden;
mod grafana;
mod import;
mod journeys;
mod language;
mod logs;
mod operations;
mod prometheus;
mod receivers;
mod secrets;
mod service;
mod shipped;
mod store;
mod tidy;
mod tls;
mod transport;
