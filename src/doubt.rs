//! Self-doubt: when what looks like the targets' fault is more likely this machine's. Pure; `now` is an argument.
//!
//! Three different hosts that fail on the way to them, one after the other and with nothing that answers in between,
//! are a coincidence that is looked into: if no control probe succeeds either, the runs say nothing of the targets.
//! Timers that came late while a run waited for an answer say the same of its timeouts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::report::Reason;

/// So many hosts must have failed.
const HOSTS: usize = 3;
/// Within this time.
const WITHIN: Duration = Duration::from_secs(120);
/// A timer that comes this late is one that an answer could have been missed for.
pub const LATE: Duration = Duration::from_secs(1);
/// Late timers that are remembered.
const MOST: usize = 32;

/// What the last runs say of this machine.
#[derive(Debug, Default)]
pub struct Doubt {
    /// Hosts that could not be reached since anything last answered.
    unreached: BTreeMap<String, Timestamp>,
    late: VecDeque<(Timestamp, Duration)>,
}

/// Whether a reason is about the way to the target rather than its answer.
pub fn is_transport(reason: Reason) -> bool {
    use Reason::{
        ConnectRefused, ConnectReset, ConnectTimeout, ConnectUnreachable, Dns, ReadTimeout, RunTimeout, StepTimeout,
        TlsHandshake,
    };
    matches!(
        reason,
        ConnectRefused
            | ConnectReset
            | ConnectTimeout
            | ConnectUnreachable
            | Dns
            | ReadTimeout
            | RunTimeout
            | StepTimeout
            | TlsHandshake
    )
}

/// Whether a reason is about time.
pub fn is_about_time(reason: Reason) -> bool {
    use Reason::{AssertionLatency, BodyTimeout, ConnectTimeout, ReadTimeout, RunTimeout, StepTimeout};
    matches!(reason, AssertionLatency | BodyTimeout | ConnectTimeout | ReadTimeout | RunTimeout | StepTimeout)
}

impl Doubt {
    /// A host answered: the network is there.
    pub fn answered(&mut self) {
        self.unreached.clear();
    }

    pub fn unreached(&mut self, host: &str, now: Timestamp) {
        self.unreached.insert(host.to_owned(), now);
        self.unreached.retain(|_, at| *at <= now && now.since(*at) <= WITHIN);
    }

    /// Whether a control probe is called for.
    pub fn is_suspect(&self) -> bool {
        self.unreached.len() >= HOSTS
    }

    /// A timer of this machine came late.
    pub fn came_late(&mut self, by: Duration, now: Timestamp) {
        self.late.push_back((now, by));
        if self.late.len() > MOST {
            self.late.pop_front();
        }
    }

    /// Whether timers came late between two moments, and by how much.
    pub fn late_between(&self, from: Timestamp, to: Timestamp) -> Option<Duration> {
        // It came at `at` and should have come `by` earlier: in between nothing ran.
        self.late.iter().filter(|(at, by)| *at >= from && *at - *by <= to).map(|(_, by)| *by).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn three_hosts_with_nothing_in_between_are_suspect() {
        let mut doubt = Doubt::default();
        for (secs, host, suspect) in
            [(0, "a", false), (1, "a", false), (2, "b", false), (3, "a", false), (4, "c", true), (5, "d", true)]
        {
            doubt.unreached(host, at(secs));
            assert_eq!(doubt.is_suspect(), suspect, "{secs} {host}");
        }
        doubt.answered();
        assert!(!doubt.is_suspect());
    }

    #[test]
    fn failures_that_lie_far_apart_are_none_of_ours() {
        let mut doubt = Doubt::default();
        for (secs, host) in [(0, "a"), (100, "b"), (200, "c"), (300, "d")] {
            doubt.unreached(host, at(secs));
            assert!(!doubt.is_suspect(), "{host}");
        }
        // A clock that was set back forgets rather than accuses.
        doubt.unreached("e", at(10));
        assert!(!doubt.is_suspect());
    }

    #[test]
    fn a_late_timer_concerns_the_runs_that_it_fell_into() {
        let mut doubt = Doubt::default();
        doubt.came_late(Duration::from_secs(3), at(100));
        for (from, to, late) in [(90, 96, false), (90, 98, true), (99, 105, true), (101, 110, false)] {
            assert_eq!(doubt.late_between(at(from), at(to)).is_some(), late, "{from} {to}");
        }
    }
}
