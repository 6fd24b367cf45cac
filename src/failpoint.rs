//! Named places at which a test can have the process killed, as `kill -9` would. Debug builds only: a release
//! binary has none.

#[cfg(debug_assertions)]
use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

#[cfg(debug_assertions)]
static ARMED: OnceLock<(String, AtomicU64)> = OnceLock::new();

/// Arms `NAME=COUNT`: the process dies the COUNT-th time it comes by NAME.
#[cfg(debug_assertions)]
pub fn arm(text: &str) {
    if let Some((name, count)) = text.split_once('=')
        && let Ok(count) = count.parse()
    {
        let _ = ARMED.set((name.to_owned(), AtomicU64::new(count)));
    }
}

/// Dies here if armed.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    if let Some((armed, left)) = ARMED.get()
        && armed == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub fn pass(_: &str) {}
