//! Drives the agenda: sleeps until it has something to do, hands out what it decides.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::{JumpDetector, Timestamp, now};
use crate::ids::JourneyKey;
use crate::report::MissedReason;
use crate::schedule::agenda::{Agenda, Decision, Item, Limits};

/// Longest sleep, so that a stepped wall clock is noticed soon.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// What the driver is told.
pub enum Command {
    /// `last`: when each run before a restart was due; empty on a reload.
    Replace {
        items: Vec<Item>,
        limits: Limits,
        last: BTreeMap<JourneyKey, Timestamp>,
    },
    Finished(JourneyKey),
}

/// What the driver acts through.
pub trait Hands: Send {
    fn start(&mut self, key: JourneyKey, scheduled_at: Timestamp, lag: Duration);
    fn missed(&mut self, key: JourneyKey, scheduled_at: Timestamp, reason: MissedReason, count: u64);
    fn planned(&mut self, key: &JourneyKey, next: Option<Timestamp>);
    fn ticked(&mut self, at: Timestamp, running: usize);
}

/// Runs until `stop`. Runs under way are not the driver's to end.
pub async fn drive(
    mut agenda: Agenda,
    mut commands: mpsc::Receiver<Command>,
    mut hands: impl Hands,
    stop: CancellationToken,
) {
    let mut jumps = JumpDetector::start();
    loop {
        if jumps.jumped() {
            tracing::warn!("the wall clock was stepped or the machine slept; due times are computed anew.");
            let at = now();
            // Forward, the agenda tells what was slept through; backward, it would wait for what already ran.
            if agenda.next_wakeup().is_some_and(|next| next > at) {
                agenda.replan(at);
            }
            jumps = JumpDetector::start();
        }
        let at = now();
        for decision in agenda.tick(at) {
            let key = match decision {
                Decision::Start { key, scheduled_at } => {
                    hands.start(key.clone(), scheduled_at, at.since(scheduled_at));
                    key
                }
                Decision::Missed { key, scheduled_at, reason, count } => {
                    hands.missed(key.clone(), scheduled_at, reason, count);
                    key
                }
            };
            hands.planned(&key, agenda.next_due(&key));
        }
        hands.ticked(at, agenda.running());
        let sleep = agenda.next_wakeup().map_or(LONGEST_SLEEP, |next| next.since(now()).min(LONGEST_SLEEP));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(sleep) => {}
            command = commands.recv() => match command {
                None => return,
                Some(Command::Finished(key)) => agenda.finished(&key),
                Some(Command::Replace { items, limits, last }) => {
                    let at = now();
                    agenda.replace(items, limits, at);
                    for decision in agenda.resume(&last, at) {
                        if let Decision::Missed { key, scheduled_at, reason, count } = decision {
                            hands.missed(key, scheduled_at, reason, count);
                        }
                    }
                    for key in agenda.keys() {
                        hands.planned(key, agenda.next_due(key));
                    }
                }
            },
        }
    }
}
