//! Journeys: what a user writes in `journeys/*.toml`, parsed once and compiled for running.
//!
//! The passes: [`parse`] lowers one file's TOML to a [`model::Journey`] or fragment, compiling every template,
//! regular expression, JSONPath and selector on the way; [`link`] splices fragments in, lays out each
//! variant's plan and resolves every name. Both are pure and report all mistakes at once. Nothing that a user
//! wrote is parsed again at run time.

pub mod assertion;
pub mod capture;
mod compile;
pub mod functions;
pub mod link;
pub mod model;
pub mod parse;
mod parse_expect;
mod parse_step;
mod prefix;
pub mod template;

pub use model::{Journey, Plan, Severity};
