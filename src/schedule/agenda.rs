//! The agenda: which runs start now, which wait for a slot, which are missed. Pure; `now` is an argument.
//!
//! ```text
//!             due                  slot free
//!  idle ───────────────► waiting ─────────────► running ──► idle
//!   │  (still running:      │ waited too long
//!   │   Missed(overlap))    └──► Missed(capacity)
//!   └─ due times slept through: Missed(downtime), and one run now
//! ```
//!
//! A due run waits outside all measurements for at most half its interval and 30 s, oldest first, so that a
//! full house shows up as missed runs and never as latency.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::report::MissedReason;
use crate::timetable::{Timetable, phase};

/// The longest wait for a slot.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After a restart, times of a cron line that are counted as missed at most: walking them takes time.
const MOST_WALKED: u64 = 1000;
/// After a restart, what would be due later than this runs once before.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// More missed times than this are not counted: a day asleep at one-second intervals.
const MOST_COUNTED: u64 = 86_400;

/// How many runs may go on at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub concurrent_runs: usize,
    pub per_host: usize,
}

/// Something to run again and again.
#[derive(Debug, Clone)]
pub struct Item {
    pub key: JourneyKey,
    pub timetable: Timetable,
    /// Runs of one host share its limit.
    pub host: Arc<str>,
}

/// What the agenda decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Start {
        key: JourneyKey,
        scheduled_at: Timestamp,
    },
    /// `count` due times up to `scheduled_at`: more than one only after a pause.
    Missed {
        key: JourneyKey,
        scheduled_at: Timestamp,
        reason: MissedReason,
        count: u64,
    },
}

#[derive(Debug)]
struct Entry {
    item: Item,
    id: String,
    next: Option<Timestamp>,
    waiting_since: Option<Timestamp>,
    running: bool,
}

/// The state of the schedule.
#[derive(Debug)]
pub struct Agenda {
    limits: Limits,
    entries: BTreeMap<JourneyKey, Entry>,
    due: BTreeSet<(Timestamp, JourneyKey)>,
    waiting: BTreeSet<(Timestamp, JourneyKey)>,
    running: usize,
    per_host: BTreeMap<Arc<str>, usize>,
    /// Runs of journeys that a reload removed, with their hosts: they still hold a slot.
    orphans: BTreeMap<JourneyKey, Arc<str>>,
}

impl Agenda {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            running: 0,
            per_host: BTreeMap::new(),
            orphans: BTreeMap::new(),
        }
    }

    /// Replaces what is scheduled. What stays keeps its place in time, since that follows from its id; what
    /// runs goes on and keeps its slot.
    pub fn replace(&mut self, items: Vec<Item>, limits: Limits, now: Timestamp) {
        self.limits = limits;
        let mut old = std::mem::take(&mut self.entries);
        self.due.clear();
        self.waiting.clear();
        for item in items {
            let id = item.key.to_string();
            let mut next = item.timetable.next_after(&id, now);
            let mut waiting_since = None;
            let mut running = self.adopt(&item);
            if let Some(entry) = old.remove(&item.key) {
                if entry.running && entry.item.host != item.host {
                    // The slot of the run under way moves along with its journey.
                    self.release_host(&entry.item.host);
                    *self.per_host.entry(Arc::clone(&item.host)).or_default() += 1;
                }
                running |= entry.running;
                // Waiting or due already: a reload loses no run.
                waiting_since = entry.waiting_since;
                if entry.item.timetable == item.timetable {
                    next = entry.next;
                }
            }
            self.due.extend(next.map(|next| (next, item.key.clone())));
            self.waiting.extend(waiting_since.map(|since| (since, item.key.clone())));
            self.entries.insert(item.key.clone(), Entry { item, id, next, waiting_since, running });
        }
        for (key, entry) in old {
            if entry.running {
                self.orphans.insert(key, entry.item.host);
            }
        }
    }

    /// A journey that came back while its run from before is still going on.
    fn adopt(&mut self, item: &Item) -> bool {
        let Some(host) = self.orphans.remove(&item.key) else { return false };
        if host != item.host {
            self.release_host(&host);
            *self.per_host.entry(Arc::clone(&item.host)).or_default() += 1;
        }
        true
    }

    /// The process starts again; `last` says when each run before was due. What fell due meanwhile was missed. A
    /// journey that would not be due again soon runs once, spread over a minute: a daily check must not be lost
    /// because of a restart, and a thousand of them must not come at once.
    pub fn resume(&mut self, last: &BTreeMap<JourneyKey, Timestamp>, now: Timestamp) -> Vec<Decision> {
        let mut out = Vec::new();
        for (key, entry) in &mut self.entries {
            let Some(mut at) = last.get(key).copied().filter(|at| *at < now) else { continue };
            let next_after = |at| entry.item.timetable.next_after(&entry.id, at).filter(|due| *due <= now);
            let Some(first) = next_after(at) else { continue };
            let mut count = 1;
            if let Timetable::Every(interval) = &entry.item.timetable {
                let slept = now.since(first).as_micros() / interval.as_micros().max(1);
                count += u64::try_from(slept).unwrap_or(0);
            } else {
                // Cron lines are walked, and a thousand missed times say enough.
                at = first;
                while let Some(due) = next_after(at).filter(|_| count < MOST_WALKED) {
                    count += 1;
                    at = due;
                }
            }
            let soon = now + CATCH_UP_WITHIN;
            if entry.next.is_none_or(|next| next > soon) {
                let catch_up = now + phase(&entry.id, CATCH_UP_WITHIN);
                if let Some(next) = entry.next.replace(catch_up) {
                    self.due.remove(&(next, key.clone()));
                }
                self.due.insert((catch_up, key.clone()));
                count -= 1;
            }
            if count > 0 {
                let reason = MissedReason::Downtime;
                out.push(Decision::Missed { key: key.clone(), scheduled_at: first, reason, count });
            }
        }
        out
    }

    /// The wall clock was stepped: due times are computed anew from here.
    pub fn replan(&mut self, now: Timestamp) {
        self.due.clear();
        for (key, entry) in &mut self.entries {
            entry.next = entry.item.timetable.next_after(&entry.id, now);
            if let Some(next) = entry.next {
                self.due.insert((next, key.clone()));
            }
        }
    }

    /// Everything to do at `now`.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Decision> {
        let mut out = Vec::new();
        while let Some((at, key)) = self.due.first().cloned().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key.clone()));
            self.fall_due(&key, at, now, &mut out);
        }
        self.give_up_waiting(now, &mut out);
        self.fill_slots(&mut out);
        out
    }

    fn fall_due(&mut self, key: &JourneyKey, at: Timestamp, now: Timestamp, out: &mut Vec<Decision>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        // After a pause of the whole process only the last due time is run, the others are told.
        let mut last = at;
        let mut slept_through = 0;
        let mut next = entry.item.timetable.next_after(&entry.id, at);
        while let Some(time) = next.filter(|t| *t <= now) {
            slept_through += 1;
            last = time;
            let from = if slept_through < MOST_COUNTED { time } else { now };
            next = entry.item.timetable.next_after(&entry.id, from);
        }
        if slept_through > 0 {
            let reason = MissedReason::Downtime;
            out.push(Decision::Missed { key: key.clone(), scheduled_at: at, reason, count: slept_through });
        }
        entry.next = next;
        if let Some(next) = next {
            self.due.insert((next, key.clone()));
        }
        if entry.running {
            out.push(Decision::Missed {
                key: key.clone(),
                scheduled_at: last,
                reason: MissedReason::Overlap,
                count: 1,
            });
        } else if let Some(since) = entry.waiting_since {
            // Still waiting for a slot since its last due time: that one is lost, this one takes its place in
            // the queue.
            self.waiting.remove(&(since, key.clone()));
            out.push(Decision::Missed {
                key: key.clone(),
                scheduled_at: since,
                reason: MissedReason::Capacity,
                count: 1,
            });
            entry.waiting_since = Some(last);
            self.waiting.insert((last, key.clone()));
        } else {
            entry.waiting_since = Some(last);
            self.waiting.insert((last, key.clone()));
        }
    }

    fn patience(entry: &Entry, since: Timestamp) -> Duration {
        let interval = entry.next.map_or(LONGEST_WAIT * 2, |next| next.since(since));
        (interval / 2).min(LONGEST_WAIT)
    }

    fn give_up_waiting(&mut self, now: Timestamp, out: &mut Vec<Decision>) {
        let full = |agenda: &Self, entry: &Entry| !agenda.has_slot(&entry.item.host);
        let lost: Vec<(Timestamp, JourneyKey)> = self
            .waiting
            .iter()
            .filter(|(since, key)| {
                self.entries
                    .get(key)
                    .is_some_and(|entry| full(self, entry) && *since + Self::patience(entry, *since) <= now)
            })
            .cloned()
            .collect();
        for (since, key) in lost {
            self.waiting.remove(&(since, key.clone()));
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.waiting_since = None;
            }
            out.push(Decision::Missed { key, scheduled_at: since, reason: MissedReason::Capacity, count: 1 });
        }
    }

    fn has_slot(&self, host: &Arc<str>) -> bool {
        self.running < self.limits.concurrent_runs
            && self.per_host.get(host).copied().unwrap_or(0) < self.limits.per_host
    }

    fn fill_slots(&mut self, out: &mut Vec<Decision>) {
        if self.running >= self.limits.concurrent_runs {
            return;
        }
        let ready: Vec<(Timestamp, JourneyKey)> = self.waiting.iter().cloned().collect();
        for (since, key) in ready {
            let Some(host) = self.entries.get(&key).map(|e| Arc::clone(&e.item.host)) else { continue };
            if !self.has_slot(&host) {
                continue;
            }
            self.waiting.remove(&(since, key.clone()));
            self.running += 1;
            *self.per_host.entry(host).or_default() += 1;
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.waiting_since = None;
                entry.running = true;
            }
            out.push(Decision::Start { key, scheduled_at: since });
        }
    }

    /// A run that was started has ended.
    pub fn finished(&mut self, key: &JourneyKey) {
        let host = match self.entries.get_mut(key) {
            Some(entry) if entry.running => {
                entry.running = false;
                Some(Arc::clone(&entry.item.host))
            }
            _ => self.orphans.remove(key),
        };
        if let Some(host) = host {
            self.running = self.running.saturating_sub(1);
            self.release_host(&host);
        }
    }

    fn release_host(&mut self, host: &Arc<str>) {
        if let Some(count) = self.per_host.get_mut(host) {
            *count -= 1;
            if *count == 0 {
                self.per_host.remove(host);
            }
        }
    }

    /// When [`tick`](Self::tick) next has something to do, unless a run finishes before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let due = self.due.first().map(|(at, _)| *at);
        // The oldest need not be the first to give up, but is a bound that is cheap to know.
        let patience = self
            .waiting
            .iter()
            .filter_map(|(since, key)| self.entries.get(key).map(|entry| *since + Self::patience(entry, *since)))
            .min();
        [due, patience].into_iter().flatten().min()
    }

    /// When `key` is next due.
    pub fn next_due(&self, key: &JourneyKey) -> Option<Timestamp> {
        self.entries.get(key)?.next
    }

    pub fn keys(&self) -> impl Iterator<Item = &JourneyKey> {
        self.entries.keys()
    }

    pub fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JourneyId;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(id: &str) -> JourneyKey {
        JourneyKey { journey: JourneyId::new(id).unwrap(), variant: None }
    }

    fn item(id: &str, host: &str) -> Item {
        Item { key: key(id), timetable: Timetable::Every(MINUTE), host: host.into() }
    }

    fn agenda(items: &[(&str, &str)], concurrent_runs: usize, per_host: usize) -> Agenda {
        let limits = Limits { concurrent_runs, per_host };
        let mut agenda = Agenda::new(limits);
        agenda.replace(items.iter().map(|(id, host)| item(id, host)).collect(), limits, at(0));
        agenda
    }

    fn at(secs: i64) -> Timestamp {
        // A day's start, so that test times read as offsets.
        Timestamp::from_secs(1_790_035_200 + secs)
    }

    fn due(id: &str, after: Timestamp) -> Timestamp {
        Timetable::Every(MINUTE).next_after(id, after).unwrap()
    }

    fn start(id: &str, scheduled_at: Timestamp) -> Decision {
        Decision::Start { key: key(id), scheduled_at }
    }

    fn missed(id: &str, scheduled_at: Timestamp, reason: MissedReason) -> Decision {
        Decision::Missed { key: key(id), scheduled_at, reason, count: 1 }
    }

    #[test]
    fn a_journey_starts_at_its_due_time_and_not_before() {
        let mut agenda = agenda(&[("a", "h")], 4, 4);
        let first = due("a", at(0));
        assert_eq!(agenda.next_wakeup(), Some(first));
        assert_eq!(agenda.tick(first - Duration::from_millis(1)), []);
        assert_eq!(agenda.tick(first), [start("a", first)]);
        assert_eq!(agenda.next_wakeup(), Some(first + MINUTE));
    }

    #[test]
    fn an_overrunning_journey_misses_its_next_run_and_goes_on_after_it() {
        let mut agenda = agenda(&[("a", "h")], 4, 4);
        let first = due("a", at(0));
        agenda.tick(first);
        assert_eq!(agenda.tick(first + MINUTE), [missed("a", first + MINUTE, MissedReason::Overlap)]);
        agenda.finished(&key("a"));
        assert_eq!(agenda.tick(first + MINUTE * 2), [start("a", first + MINUTE * 2)]);
    }

    #[test]
    fn a_full_host_makes_runs_wait_oldest_first_and_others_pass() {
        let mut agenda = agenda(&[("a", "h"), ("b", "h"), ("c", "h"), ("d", "other")], 10, 1);
        let mut order: Vec<_> = ["a", "b", "c"].map(|id| (due(id, at(0)), id)).to_vec();
        order.sort();
        let all_due = at(60);
        let started = agenda.tick(all_due);
        assert_eq!(started.len(), 2, "{started:?}");
        assert!(started.contains(&start(order[0].1, order[0].0)));
        assert!(started.contains(&start("d", due("d", at(0)))));
        agenda.finished(&key(order[0].1));
        let next = agenda.tick(all_due);
        assert!(next.contains(&start(order[1].1, order[1].0)), "{next:?}");
    }

    #[test]
    fn waiting_ends_after_half_the_interval_as_missed_for_capacity() {
        let mut agenda = agenda(&[("a", "h"), ("b", "h")], 1, 8);
        let (a, b) = (due("a", at(0)), due("b", at(0)));
        let (first, second) = if a < b { ("a", "b") } else { ("b", "a") };
        let (_, late) = (a.min(b), a.max(b));
        agenda.tick(late);
        let give_up = late + Duration::from_secs(30);
        // The first one's own next due time may come before; look only at the waiting one.
        let before = agenda.tick(give_up - Duration::from_millis(1));
        assert!(
            !before.iter().any(|d| matches!(d, Decision::Missed { key: k, .. } if *k == key(second))),
            "{before:?}"
        );
        assert!(agenda.tick(give_up).contains(&missed(second, late, MissedReason::Capacity)));
        agenda.finished(&key(first));
    }

    #[test]
    fn a_restart_keeps_the_spacing_tells_what_was_missed_and_catches_up_on_rare_journeys() {
        let limits = Limits { concurrent_runs: 9, per_host: 9 };
        let hourly = |id: &str| Item { timetable: Timetable::Every(MINUTE * 60), ..item(id, "h") };
        let now = at(86_400);
        let after = |agenda: &mut Agenda, last: &[(&str, Timestamp)]| {
            let last = last.iter().map(|(id, at)| (key(id), *at)).collect();
            agenda.resume(&last, now)
        };
        // Ten seconds away within a minute's interval: the next run is where it would have been.
        let mut agenda = Agenda::new(limits);
        agenda.replace(vec![item("a", "h")], limits, now);
        let next = due("a", now);
        assert_eq!(after(&mut agenda, &[("a", next - MINUTE)]), []);
        assert_eq!(agenda.next_wakeup(), Some(next));
        // Five minutes away: five runs are told as missed, and the next is soon enough.
        let was = next - MINUTE * 6;
        let missed =
            Decision::Missed { key: key("a"), scheduled_at: was + MINUTE, reason: MissedReason::Downtime, count: 5 };
        assert_eq!(after(&mut agenda, &[("a", was)]), [missed]);
        assert_eq!(agenda.next_wakeup(), Some(next));
        // An hourly journey whose slot was slept through runs within a minute, and then on its grid again.
        agenda.replace(vec![hourly("b")], limits, now);
        let next = Timetable::Every(MINUTE * 60).next_after("b", now).unwrap();
        assert!(next > now + MINUTE, "or choose another id");
        assert_eq!(after(&mut agenda, &[("b", next - MINUTE * 120)]), []);
        let catch_up = agenda.next_wakeup().unwrap();
        assert!(catch_up >= now && catch_up < now + MINUTE);
        assert_eq!(agenda.tick(catch_up), [start("b", catch_up)]);
        assert_eq!(agenda.next_wakeup(), Some(next));
    }

    #[test]
    fn after_a_pause_the_slept_through_times_are_told_and_one_run_starts() {
        let mut agenda = agenda(&[("a", "h")], 4, 4);
        let first = due("a", at(0));
        let decisions = agenda.tick(first + MINUTE * 3 + Duration::from_secs(1));
        assert_eq!(
            decisions,
            [
                Decision::Missed { key: key("a"), scheduled_at: first, reason: MissedReason::Downtime, count: 3 },
                start("a", first + MINUTE * 3),
            ]
        );
    }

    #[test]
    fn a_clock_step_backwards_does_not_stop_the_schedule() {
        let mut agenda = agenda(&[("a", "h")], 4, 4);
        let back = at(-86_400);
        agenda.replan(back);
        assert_eq!(agenda.next_wakeup(), Some(due("a", back)));
    }

    #[test]
    fn a_reload_keeps_spacing_and_slots_of_what_stays() {
        let mut agenda = agenda(&[("a", "h"), ("b", "h")], 10, 1);
        let first = due("a", at(0));
        agenda.tick(at(60));
        let running: Vec<_> = ["a", "b"].into_iter().filter(|id| agenda.entries[&key(id)].running).collect();
        assert_eq!(running.len(), 1);
        // The running one is removed: its slot is freed only when it ends.
        let stays = if running[0] == "a" { "b" } else { "a" };
        agenda.replace(vec![item(stays, "h")], Limits { concurrent_runs: 10, per_host: 1 }, at(60));
        assert_eq!(agenda.running(), 1);
        assert_eq!(agenda.tick(at(60)), []);
        agenda.finished(&key(running[0]));
        assert_eq!(agenda.tick(at(61)), [start(stays, due(stays, at(0)))]);
        assert_eq!(due("a", first - MINUTE), first);
    }

    #[test]
    fn a_reload_loses_neither_a_waiting_nor_a_due_run() {
        let mut agenda = agenda(&[("a", "h"), ("b", "h")], 10, 1);
        let (a, b) = (due("a", at(0)), due("b", at(0)));
        let ((first, _), (second, late)) = if a < b { (("a", a), ("b", b)) } else { (("b", b), ("a", a)) };
        let limits = Limits { concurrent_runs: 10, per_host: 1 };
        let both = || vec![item("a", "h"), item("b", "h")];
        agenda.tick(late);
        // Waiting through two reloads.
        agenda.replace(both(), limits, late);
        agenda.replace(both(), limits, late + Duration::from_secs(1));
        agenda.finished(&key(first));
        assert_eq!(agenda.tick(late + Duration::from_secs(2)), [start(second, late)]);
        agenda.finished(&key(second));
        // Due, but the reload comes before the tick.
        let next = due(first, late);
        agenda.replace(both(), limits, next + Duration::from_secs(1));
        assert_eq!(agenda.tick(next + Duration::from_secs(1)), [start(first, next)]);
    }

    #[test]
    fn ten_thousand_journeys_never_start_in_a_bunch() {
        let limits = Limits { concurrent_runs: 100_000, per_host: 100_000 };
        let mut agenda = Agenda::new(limits);
        let names: Vec<String> = (0..10_000).map(|n| format!("journey-{n}")).collect();
        agenda.replace(names.iter().map(|n| item(n, "h")).collect(), limits, at(0));
        let mut total = 0;
        for second in 1..=60 {
            let started = agenda.tick(at(second)).len();
            // 167 on average; three times the mean is the bound promised.
            assert!(started <= 500, "{started} in second {second}");
            total += started;
        }
        assert_eq!(total, 10_000);
    }
}
