//! Journeys: what a user writes in `journeys/*.toml`, parsed once and compiled for running.
//!
//! The passes: [`parse`] lowers one file's TOML to a [`model::Journey`] or fragment, compiling every template,
//! regular expression, JSONPath and selector on the way; [`link`] splices fragments in, lays out each
//! variant's plan and resolves every name. Both are pure and report all mistakes at once. Nothing that a user
//! wrote is parsed again at run time. Every key stands once, in [`fields`].

pub mod assertion;
pub mod capture;
mod compile;
pub mod fields;
pub mod functions;
pub mod json_template;
pub mod link;
mod merge;
pub mod model;
pub mod network;
mod never;
pub mod parse;
pub mod parse_alert;
mod parse_expect;
mod parse_network;
mod parse_request;
pub mod parse_settings;
mod parse_step;
mod prefix;
pub mod request;
pub mod rule;
pub mod template;

pub use model::{Journey, Plan, Severity};
