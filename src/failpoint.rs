//! Named places at which a test can have the process killed, as `kill -9` would, or stand still. Debug builds only: a
//! release binary has none.

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static KILL: OnceLock<(String, AtomicU64)> = OnceLock::new();
    static HANG: OnceLock<String> = OnceLock::new();

    /// `JOURNEYD_CRASH_AT=NAME=COUNT`: dies the COUNT-th time it comes by NAME. `JOURNEYD_HANG_AT=NAME`: stays there.
    pub fn arm(env: &BTreeMap<String, String>) {
        if let Some((name, count)) = env.get("JOURNEYD_CRASH_AT").and_then(|text| text.split_once('='))
            && let Ok(count) = count.parse()
        {
            let _ = KILL.set((name.to_owned(), AtomicU64::new(count)));
        }
        if let Some(name) = env.get("JOURNEYD_HANG_AT") {
            let _ = HANG.set(name.clone());
        }
    }

    pub fn pass(name: &str) {
        if let Some((armed, left)) = KILL.get()
            && armed == name
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        while HANG.get().is_some_and(|armed| armed == name) {
            std::thread::park();
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::{arm, pass};

/// Comes by a named place.
#[cfg(not(debug_assertions))]
pub fn pass(_: &str) {}
