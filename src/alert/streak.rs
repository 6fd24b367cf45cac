//! The last runs of one rule at one location, and what they come to.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::journey::rule::FailWhen;

/// States that flapping is judged by (Nagios, "Detection and Handling of State Flapping": 21 states, 20 changes).
const STATES: u32 = 21;
const MASK: u32 = (1 << STATES) - 1;
/// Percent of weighted changes at which flapping begins, and below which it ends.
const FLAPS_FROM: f64 = 30.0;
const CALM_BELOW: f64 = 15.0;

/// Good and bad runs, newest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    pub last_at: Timestamp,
    pub bad_in_a_row: u32,
    pub good_in_a_row: u32,
    /// Bad often enough, and not yet good often enough.
    pub failing: bool,
    pub flapping: bool,
    /// The newest in the lowest bit; 1 is bad. What lies before the first run counts as good.
    history: u32,
}

impl Streak {
    pub fn push(&mut self, bad: bool, when: FailWhen, recover_after: u32, at: Timestamp) {
        self.last_at = at;
        self.history = (self.history << 1 | u32::from(bad)) & MASK;
        if bad {
            self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
            self.good_in_a_row = 0;
        } else {
            self.good_in_a_row = self.good_in_a_row.saturating_add(1);
            self.bad_in_a_row = 0;
        }
        if !self.failing {
            self.failing = bad && self.enough(when);
        } else if self.good_in_a_row >= recover_after {
            self.failing = false;
        }
        let changes = self.changes();
        self.flapping = if self.flapping { changes >= CALM_BELOW } else { changes >= FLAPS_FROM };
    }

    fn enough(&self, when: FailWhen) -> bool {
        match when {
            FailWhen::InARow(n) => self.bad_in_a_row >= n,
            FailWhen::Of(m, n) => (self.history & ((1 << n.min(STATES)) - 1)).count_ones() >= m,
        }
    }

    /// Something was bad that may still lead to firing.
    pub fn is_suspect(&self, when: FailWhen) -> bool {
        self.failing
            || match when {
                FailWhen::InARow(_) => self.bad_in_a_row > 0,
                FailWhen::Of(_, n) => self.history & ((1 << n.min(STATES)) - 1) != 0,
            }
    }

    /// It fails, and the last run was good: it may be over.
    pub fn is_easing(&self) -> bool {
        self.failing && self.good_in_a_row > 0
    }

    /// Nothing bad in all that is remembered.
    pub fn is_clean(&self) -> bool {
        !self.failing && !self.flapping && self.history == 0
    }

    /// Percent of changes among the last 21 states, the newest weighing 1.25 and the oldest 0.75.
    fn changes(&self) -> f64 {
        let mut sum = 0.0;
        for newer in 0..STATES - 1 {
            if (self.history >> newer & 1) != (self.history >> (newer + 1) & 1) {
                sum += 1.25 - 0.5 * f64::from(newer) / f64::from(STATES - 2);
            }
        }
        sum * 100.0 / f64::from(STATES - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `f` bad, `.` good.
    fn after(runs: &str, when: FailWhen, recover_after: u32) -> Streak {
        let mut streak = Streak::default();
        for run in runs.chars() {
            streak.push(run == 'f', when, recover_after, Timestamp::from_secs(0));
        }
        streak
    }

    #[test]
    fn in_a_row_and_m_of_n() {
        let row = FailWhen::InARow(3);
        let of = FailWhen::Of(2, 3);
        for (runs, when, failing, suspect) in [
            ("ff", row, false, true),
            ("ff.", row, false, false),
            ("fff", row, true, true),
            ("fff.", row, true, true),
            ("fff..", row, false, false),
            ("f.f", of, true, true),
            ("f..f", of, false, true),
            ("f..", of, false, true),
            ("f...", of, false, false),
            ("f.f..", of, false, true),
        ] {
            let streak = after(runs, when, 2);
            assert_eq!((streak.failing, streak.is_suspect(when)), (failing, suspect), "{runs} {when:?}");
        }
    }

    #[test]
    fn flapping_begins_high_and_ends_low() {
        let when = FailWhen::InARow(2);
        for (runs, flapping) in [
            ("ffffffffff", false),
            ("ffff......", false),
            ("f....f....", false),
            ("f.f.f", false),
            ("f.f.f.", true),
            ("ff..ff..ff", false),
            ("ff..ff..ff..f", true),
            // Three outages in twenty minutes, then calm: it ends when the changes have grown old.
            ("f.f.f...........", true),
            ("f.f.f...................", false),
        ] {
            assert_eq!(after(runs, when, 2).flapping, flapping, "{runs}: {}", after(runs, when, 2).changes());
        }
    }
}
