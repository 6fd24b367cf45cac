//! What starts when. [`agenda`] decides, purely; [`driver`] sleeps, starts runs and reports back.

pub mod agenda;
pub mod driver;
