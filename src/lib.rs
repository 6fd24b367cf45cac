//! journeyd walks the paths that a site's users walk, on a schedule, and says what broke.
//!
//! ```text
//!  config ─► schedule ─► runner ─►  RunReport  ─► pipeline ─┬► alert · slo · incident · notify   (judge, pure)
//!  journey ─────────────┘            (the waist)             ├► store: everything, one transaction
//!                                                            └► metrics ─► web    notify::outbox ─► chat
//! ```
//!
//! The modules below stand in the order of that flow. Arrows only point downward, and a test holds it
//! (`tests/it/tidy.rs`):
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | L0 words | clock, entropy, failpoint, ids, quantity, secret, diag, document, timetable | std |
//! | L1 nouns | journey, report | L0 |
//! | L2 deciders, pure | schedule::agenda, alert, slo, incident, mute, doubt, notify, import, export | L0–L1 |
//! | L3 edges | schedule::driver, notify::outbox, runner, store, metrics, web, demo | L0–L2 |
//! | L4 | config: builds everyone's settings; nobody below imports it | L0–L3 |
//! | L5 wiring | pipeline (its judge is pure), app, telemetry, cli, bench, fuzz | all |
//!
//! Invariants, by what is absent:
//! - No decision reads a clock: `now` is an argument. Only `clock` reads time, only `entropy` randomness, only
//!   `config::files` the environment.
//! - The runner never returns an error for a failing target: failure is data, in the report.
//! - A report holds no captured value, no body and no secret; everything below the waist reads only reports.
//! - Nothing is shown or told before it is committed.
//! - Nothing that a user wrote is parsed after load.
//! - No queue is unbounded.

// Words.
mod clock;
mod diag;
mod document;
mod entropy;
mod failpoint;
mod ids;
mod quantity;
mod secret;
mod timetable;

// What to do, and what was found.
mod journey;
mod report;

// From a browser's recording to a journey; from objectives to Prometheus' rules.
mod export;
mod import;

// When to run; what the results mean; whom to tell.
mod alert;
mod doubt;
mod incident;
mod mute;
mod notify;
mod schedule;
mod slo;

// Doing it, keeping it, showing it.
mod demo;
mod metrics;
mod runner;
mod store;
mod web;

// From files.
mod config;

// The whole.
mod app;
#[doc(hidden)]
pub mod bench;
pub mod cli;
#[doc(hidden)]
pub mod fuzz;
mod pipeline;
mod telemetry;
