//! Runs journeys as a visitor would: new connections a run, cookies and connections kept within it.
//!
//! ```text
//!  journey.rs   the run: vars, step loop, deadlines, blocked steps, cleanup   ─► RunReport
//!  step.rs      one step: pause, credentials, attempts until one counts       ─► StepReport
//!  prepare.rs   templates ─► what is sent     walk.rs  one attempt with its redirects
//!  judge.rs     status, error pages (soft.rs, pure), captures, assertions     ─► StepOutcome
//!  transport.rs one request: send, bounded body, phases                       ─► Exchange | Broken
//!  classify.rs  an error chain ─► reason and kind, or our own fault (pure)
//! ```
//!
//! A failing target is data: nothing here returns `Err` for one. The transport's interface is plain values, so
//! that another HTTP client can take reqwest's place in one module.

mod classify;
mod contents;
mod cookies;
mod curl;
mod inspect;
mod journey;
mod judge;
mod learn;
mod oauth;
mod pages;
mod prepare;
mod reproduce;
mod resolver;
mod self_check;
mod soft;
mod step;
mod timing;
mod tls;
mod transcript;
mod transport;
mod walk;

pub use curl::shell_word;
#[cfg(test)]
pub use journey::blank_exchange;
pub use journey::{Order, Runner, RunnerSettings, Stops};
pub use self_check::SelfCheck;
pub use transcript::Transcript;
