//! Marks that one request leaves on its way, and the phases that follow from them.
//!
//! One [`Marks`] serves one run. Its steps follow each other, so every mark belongs to the request under way.
//! The resolver, the connector layer and rustls' session store set the marks; see `transport`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::report::Phases;

/// The marks of the request under way, as time since its start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trail {
    pub resolve_started: Option<Duration>,
    pub resolved: Option<Duration>,
    pub connect_started: Option<Duration>,
    /// TCP is up: rustls begins its handshake.
    pub tls_started: Option<Duration>,
    pub connected: Option<Duration>,
    /// The head of the response is here.
    pub answered: Option<Duration>,
    /// The resolver answered a question of its own while the name was looked up.
    pub resolver_answers: Option<Duration>,
}

/// Where a request was when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Resolving {
        /// The resolver is known to live: it is the target's name servers that are silent.
        resolver_answers: bool,
    },
    Connecting,
    Handshake,
    Waiting,
    Transferring,
}

impl Trail {
    pub fn stage(&self) -> Stage {
        if self.answered.is_some() {
            Stage::Transferring
        } else if self.connected.is_some() {
            Stage::Waiting
        } else if self.tls_started.is_some() {
            Stage::Handshake
        } else if self.resolve_started.is_some() && self.resolved.is_none() {
            Stage::Resolving { resolver_answers: self.resolver_answers.is_some() }
        } else if self.connect_started.is_some() {
            Stage::Connecting
        } else {
            Stage::Waiting
        }
    }

    /// Splits `total` at the marks. With `reused`, connecting marks belong to a connection that was opened on
    /// the side and not used.
    pub fn phases(&self, total: Duration, reused: bool) -> Phases {
        let mut phases = Phases::default();
        let mut sent_at = Duration::ZERO;
        if !reused {
            if let (Some(from), Some(to)) = (self.resolve_started, self.resolved.or(Some(total))) {
                phases.resolve = to.saturating_sub(from);
            }
            if let Some(started) = self.connect_started {
                let from = self.resolved.unwrap_or(started).max(started);
                let resolving = self.resolve_started.is_some() && self.resolved.is_none();
                let up = self.tls_started.or(self.connected).unwrap_or(total);
                if !resolving {
                    phases.connect = up.saturating_sub(from);
                }
                sent_at = self.connected.unwrap_or(total);
            }
            if let Some(from) = self.tls_started {
                phases.tls = self.connected.unwrap_or(total).saturating_sub(from);
            }
        }
        let answered = self.answered.unwrap_or(total);
        phases.processing = answered.saturating_sub(sent_at);
        phases.transfer = total.saturating_sub(answered);
        phases
    }
}

/// A mark to set.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    ResolveStarted,
    Resolved,
    ConnectStarted,
    TlsStarted,
    Connected,
    Answered,
    ResolverAnswers,
}

/// Shared by everything that takes part in a run's requests.
#[derive(Debug, Clone)]
pub struct Marks(Arc<Mutex<(Stopwatch, Trail)>>);

impl Marks {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new((Stopwatch::start(), Trail::default()))))
    }

    /// A new request begins.
    pub fn restart(&self) {
        *self.lock() = (Stopwatch::start(), Trail::default());
    }

    pub fn set(&self, mark: Mark) {
        let mut guard = self.lock();
        let now = guard.0.elapsed();
        let trail = &mut guard.1;
        let slot = match mark {
            Mark::ResolveStarted => &mut trail.resolve_started,
            Mark::Resolved => &mut trail.resolved,
            Mark::ConnectStarted => &mut trail.connect_started,
            Mark::TlsStarted => &mut trail.tls_started,
            Mark::Connected => &mut trail.connected,
            Mark::Answered => &mut trail.answered,
            Mark::ResolverAnswers => &mut trail.resolver_answers,
        };
        // Happy eyeballs may start twice; the first start and the first success count.
        slot.get_or_insert(now);
    }

    pub fn trail(&self) -> Trail {
        self.lock().1
    }

    pub fn elapsed(&self) -> Duration {
        self.lock().0.elapsed()
    }

    // A std mutex: held for a few instructions and never across an await.
    fn lock(&self) -> std::sync::MutexGuard<'_, (Stopwatch, Trail)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn phases(values: [u64; 5]) -> Phases {
        let [resolve, connect, tls, processing, transfer] = values.map(ms);
        Phases { resolve, connect, tls, processing, transfer }
    }

    #[test]
    fn marks_split_the_time_without_gap_or_overlap() {
        let full = Trail {
            connect_started: Some(ms(0)),
            resolve_started: Some(ms(0)),
            resolved: Some(ms(40)),
            tls_started: Some(ms(45)),
            connected: Some(ms(115)),
            answered: Some(ms(145)),
            resolver_answers: None,
        };
        let plain = Trail { resolve_started: None, resolved: None, tls_started: None, ..full };
        let aside = Trail { answered: Some(ms(20)), ..full };
        for (trail, total, reused, want) in [
            (full, 150, false, phases([40, 5, 70, 30, 5])),
            (plain, 150, false, phases([0, 115, 0, 30, 5])),
            (aside, 22, true, phases([0, 0, 0, 20, 2])),
            (Trail::default(), 9, true, phases([0, 0, 0, 9, 0])),
            // Cut off while resolving, connecting, in the handshake.
            (
                Trail { connect_started: Some(ms(0)), resolve_started: Some(ms(0)), ..Trail::default() },
                50,
                false,
                phases([50, 0, 0, 0, 0]),
            ),
            (Trail { connect_started: Some(ms(1)), ..Trail::default() }, 50, false, phases([0, 49, 0, 0, 0])),
            (
                Trail { connect_started: Some(ms(0)), tls_started: Some(ms(10)), ..Trail::default() },
                50,
                false,
                phases([0, 10, 40, 0, 0]),
            ),
        ] {
            let got = trail.phases(ms(total), reused);
            assert_eq!(got, want, "{trail:?}");
        }
    }

    #[test]
    fn the_stage_is_the_last_one_begun() {
        let mut trail = Trail::default();
        assert_eq!(trail.stage(), Stage::Waiting);
        trail.connect_started = Some(ms(0));
        assert_eq!(trail.stage(), Stage::Connecting);
        trail.resolve_started = Some(ms(0));
        assert_eq!(trail.stage(), Stage::Resolving { resolver_answers: false });
        trail.resolver_answers = Some(ms(1));
        assert_eq!(trail.stage(), Stage::Resolving { resolver_answers: true });
        trail.resolved = Some(ms(1));
        assert_eq!(trail.stage(), Stage::Connecting);
        trail.tls_started = Some(ms(2));
        assert_eq!(trail.stage(), Stage::Handshake);
        trail.connected = Some(ms(3));
        assert_eq!(trail.stage(), Stage::Waiting);
        trail.answered = Some(ms(4));
        assert_eq!(trail.stage(), Stage::Transferring);
    }
}
