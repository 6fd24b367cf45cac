//! The narrow waist's consumer: one task that owns all judging state.
//!
//! ```text
//!  inputs ─► judge (pure) ─► Verdict ─► store.commit: one transaction ─► metrics · log · watcher
//!    ▲                                                              └──► outbox ─► chat
//!    └──────────────────── how an attempt ended ◄────────────────────────────┘
//! ```
//!
//! Nothing is shown or told before it is committed, so that a crash at any instant loses no decided message and
//! opens no incident twice. While a commit is being written the next inputs gather: under load one transaction
//! holds many runs. When the store fails, judging and telling go on from memory, and what could not be written is
//! written once it can be.

mod effects;
pub mod judge;
mod objective;
mod outage;
#[cfg(test)]
mod simulation;
mod telling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::{Beat, Stopwatch, Timestamp, now};
use crate::failpoint;
use crate::ids::{JourneyKey, ReceiverId};
use crate::incident::{Act, Incident};
use crate::metrics::{Metrics, StoreOp};
use crate::notify::backlog::Sending;
use crate::notify::outbox::Sender;
use crate::notify::retry::{End, Trouble, Verdict as Delivery};
use crate::pipeline::judge::{Judge, JudgeSettings, Verdict};
use crate::report::{MissedReason, RunReport};
use crate::store::{Committed, Store, Write, compact};
use crate::web::picture::Picture;

/// What became of what somebody asked for; `Err` says why nothing.
pub type Done = Result<String, String>;

/// Everything that can happen.
pub enum Input {
    Report(Arc<RunReport>),
    Missed {
        key: JourneyKey,
        scheduled_at: Timestamp,
        reason: MissedReason,
        count: u64,
    },
    Configure(Box<JudgeSettings>),
    /// Somebody asks for something; the answer comes once it is committed.
    Act {
        act: Act,
        reply: oneshot::Sender<Done>,
    },
}

/// Reports waiting for the pipeline; beyond this, runs wait to hand theirs in.
pub const QUEUE: usize = 1024;
/// Inputs that go into one transaction.
const BATCH: usize = 200;
/// How long runs that changed nothing wait for company: nobody waits for them, and an fsync is dear.
const GATHER: Duration = Duration::from_millis(50);
/// How long a commit may take before judging and telling go on without it.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// Showing all incidents takes a copy of each: in an outage of everything, not with every run.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// When a store that failed is tried again.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// In an outage of many journeys their incident and its messages change with each of them: the last word is enough.
const WORTH_COMPACTING: usize = 20;
/// What may wait in memory for the store.
const MOST_UNWRITTEN: usize = 10_000;
/// How often numbers that change by the clock alone are brought up to date, and the least often that it shows that it
/// lives.
const REFRESH: Duration = Duration::from_secs(5);
/// What a shutdown gives to messages that are due.
const FLUSH: Duration = Duration::from_secs(5);
/// Resolved incidents that are still shown.
const RECENT: usize = 50;

pub struct Pipeline {
    judge: Judge,
    store: Arc<Store>,
    sender: Sender,
    metrics: Metrics,
    /// The demo's board.
    watcher: Option<mpsc::Sender<Input>>,
    /// Whose last run failed, so that the log says when one passes again.
    failing: BTreeSet<JourneyKey>,
    attempts: JoinSet<Attempt>,
    /// Rows that the store could not take, oldest first.
    unwritten: Vec<Write>,
    /// How many there may be before they are looked through.
    bound: usize,
    store_failed: Option<Stopwatch>,
    /// A commit that has not answered in time.
    pending: Option<oneshot::Receiver<Committed>>,
    /// Incidents changed since they were last shown, and when that was.
    unshown: bool,
    shown_at: Stopwatch,
    recent: VecDeque<Incident>,
    shown: watch::Sender<Arc<Picture>>,
    /// Answers that wait for their commit.
    replies: Vec<(oneshot::Sender<Done>, Done)>,
    beat: Beat,
    stored: Arc<AtomicBool>,
}

/// How sending a message ended.
struct Attempt {
    receiver: ReceiverId,
    id: String,
    end: End,
    took: Duration,
}

/// What a pipeline works with.
pub struct Parts {
    pub store: Arc<Store>,
    pub sender: Sender,
    pub metrics: Metrics,
    pub watcher: Option<mpsc::Sender<Input>>,
    /// Where open and recent incidents are shown.
    pub shown: watch::Sender<Arc<Picture>>,
    pub beat: Beat,
    /// Whether the store took what it was last given.
    pub stored: Arc<AtomicBool>,
}

impl Pipeline {
    pub fn new(judge: Judge, parts: Parts) -> Self {
        let Parts { store, sender, metrics, watcher, shown, beat, stored } = parts;
        Self {
            judge,
            store,
            sender,
            metrics,
            watcher,
            failing: BTreeSet::new(),
            attempts: JoinSet::new(),
            unwritten: Vec::new(),
            bound: MOST_UNWRITTEN,
            store_failed: None,
            pending: None,
            unshown: true,
            shown_at: Stopwatch::start(),
            recent: VecDeque::new(),
            shown,
            replies: Vec::new(),
            beat,
            stored,
        }
    }

    /// Runs until every sender is gone. `first` is what restoring and configuring came to.
    pub async fn run(mut self, first: Verdict, mut inputs: mpsc::Receiver<Input>) {
        self.show_settings(&first);
        self.show_incidents();
        for (key, last) in self.judge.standings() {
            self.metrics.restore(key, last);
            if last.up == Some(false) {
                self.failing.insert(key.clone());
            }
        }
        let mut verdict = first;
        let mut batch = Vec::with_capacity(BATCH);
        let mut refreshed = Stopwatch::start();
        let mut open = true;
        loop {
            self.judge.tick(now(), &mut verdict);
            self.settle(std::mem::take(&mut verdict), batch.drain(..)).await;
            self.beat.mark();
            if !open {
                break;
            }
            open = self.gather(&mut inputs, &mut batch, &mut verdict).await;
            if refreshed.elapsed() >= REFRESH {
                refreshed = Stopwatch::start();
                self.judge.refresh_objectives(now(), &mut verdict);
                self.metrics.silences_active(self.judge.active_silences(now()));
            }
        }
        self.finish().await;
    }

    /// Waits until something happens, and a little longer if it is nothing that anybody waits for. False when
    /// there will be no more inputs.
    async fn gather(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        batch: &mut Vec<Input>,
        verdict: &mut Verdict,
    ) -> bool {
        let mut first: Option<Stopwatch> = None;
        loop {
            let wait = match first {
                Some(since) => GATHER.saturating_sub(since.elapsed()),
                None => self.next_wakeup(now()),
            };
            if first.is_some() && wait.is_zero() {
                return true;
            }
            let before = batch.len();
            tokio::select! {
                biased;
                Some(ended) = self.attempts.join_next() => self.attempt_ended(ended, verdict),
                taken = inputs.recv_many(batch, BATCH - before) => {
                    if taken == 0 {
                        return false;
                    }
                    let at = now();
                    for input in batch.split_off(before) {
                        batch.extend(self.apply(input, at, verdict));
                    }
                }
                () = tokio::time::sleep(wait) => return true,
            }
            let waited_for = !verdict.ended.is_empty() || !self.replies.is_empty();
            if verdict.is_decision() || waited_for || batch.len() >= BATCH {
                return true;
            }
            first.get_or_insert_with(Stopwatch::start);
        }
    }

    fn next_wakeup(&self, now: Timestamp) -> Duration {
        let due = self.judge.next_wakeup().map_or(REFRESH, |at| at.since(now));
        let store = self.store_failed.map_or(REFRESH, |since| STORE_RETRY.saturating_sub(since.elapsed()));
        // Timers are exact to a millisecond; waking up just before would only spin.
        let show = if self.unshown { SHOW_EVERY.saturating_sub(self.shown_at.elapsed()) } else { REFRESH };
        due.min(store).min(show).min(REFRESH) + Duration::from_millis(1)
    }

    /// What an input comes to; what is to be shown afterwards comes back.
    fn apply(&mut self, input: Input, now: Timestamp, verdict: &mut Verdict) -> Option<Input> {
        match &input {
            Input::Report(report) => self.judge.report(report, now, verdict),
            Input::Missed { .. } => {}
            Input::Configure(settings) => {
                let more = self.judge.configure((**settings).clone(), now);
                verdict.append(more);
                verdict.configured = true;
                self.failing.retain(|key| self.judge.knows(key));
            }
            Input::Act { .. } => {
                let Input::Act { act, reply } = input else { return None };
                let done = self.judge.act(act, now, verdict);
                self.replies.push((reply, done));
                return None;
            }
        }
        Some(input)
    }

    fn attempt_ended(&mut self, ended: Result<Attempt, tokio::task::JoinError>, verdict: &mut Verdict) {
        // Attempts catch their panics and are aborted only at the end.
        let Ok(Attempt { receiver, id, end, took }) = ended else { return };
        let at = now();
        let known = verdict.ended.len();
        self.judge.attempt_ended(&receiver, &id, &end, at, verdict);
        if let Some(ended) = verdict.ended.get(known) {
            let trouble = match ended.verdict {
                Delivery::Delivered => None,
                Delivery::Retry { trouble, .. } | Delivery::Park { trouble } => Some(trouble),
            };
            verdict.attempts.push((receiver, took, trouble, at));
        }
    }

    /// The configuration's part of the metrics.
    fn show_settings(&self, verdict: &Verdict) {
        self.metrics.configure_alerts(self.judge.alerts());
        self.metrics.configure_receivers(self.judge.receivers().receivers.keys().cloned());
        self.metrics.objectives(true, verdict.slos.iter().cloned());
    }

    /// Commits, and only then shows and tells.
    async fn settle(&mut self, mut verdict: Verdict, inputs: impl Iterator<Item = Input>) {
        if verdict.ended.iter().any(|ended| ended.row.state.is_final()) {
            failpoint::pass("before_mark");
        }
        let incidents_changed =
            verdict.incident_went_on || verdict.writes.iter().any(|write| matches!(write, Write::Incident(_)));
        self.commit(std::mem::take(&mut verdict.writes)).await;
        self.unshown |= incidents_changed || !verdict.transitions.is_empty();
        self.show(&verdict);
        for input in inputs {
            self.show_input(&input);
            if let Some(watcher) = &self.watcher {
                // A board that is gone or behind must not hold up anything.
                let _ = watcher.try_send(input);
            }
        }
        if !self.replies.is_empty() {
            self.show_incidents();
        }
        for (reply, done) in self.replies.drain(..) {
            // Whoever asked may have left.
            let _ = reply.send(done);
        }
        for sending in verdict.sending {
            self.send(sending);
        }
    }

    async fn commit(&mut self, writes: Vec<Write>) {
        self.unwritten.extend(writes);
        if self.unwritten.len() > WORTH_COMPACTING {
            compact(&mut self.unwritten);
        }
        if let Some(answer) = self.pending.take() {
            // It hung; nothing else is handed in until it answers.
            self.await_commit(answer, Duration::ZERO).await;
        }
        let waits = self.store_failed.is_some_and(|since| since.elapsed() < STORE_RETRY);
        if self.unwritten.is_empty() || self.pending.is_some() || waits {
            self.bound_unwritten();
            return;
        }
        match self.store.commit(std::mem::take(&mut self.unwritten)) {
            Ok(answer) => self.await_commit(answer, STORE_PATIENCE).await,
            Err((back, error)) => self.commit_failed(back, &error.to_string()),
        }
    }

    async fn await_commit(&mut self, mut answer: oneshot::Receiver<Committed>, patience: Duration) {
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(Ok(Ok(()))) => {
                self.stored.store(true, Ordering::Relaxed);
                if self.store_failed.take().is_some() {
                    tracing::warn!("the store works again; what was kept in memory is written.");
                }
            }
            Ok(Ok(Err((back, error)))) => self.commit_failed(back, &error.to_string()),
            Ok(Err(_)) => self.commit_failed(Vec::new(), "its writer has ended, with the last rows"),
            Err(_) => {
                if self.store_failed.is_none() {
                    self.commit_failed(Vec::new(), "it does not answer");
                }
                self.store_failed = Some(Stopwatch::start());
                self.pending = Some(answer);
            }
        }
    }

    fn commit_failed(&mut self, mut back: Vec<Write>, error: &str) {
        self.metrics.store_error(StoreOp::Commit);
        self.stored.store(false, Ordering::Relaxed);
        if self.store_failed.is_none() {
            tracing::error!(
                error,
                "the store cannot be written; monitoring and telling go on from memory. A crash now would forget them: look at the disk."
            );
        }
        self.store_failed = Some(Stopwatch::start());
        back.append(&mut self.unwritten);
        self.unwritten = back;
        self.bound_unwritten();
    }

    /// Memory is bounded: by what there is to decide upon, and runs by number, oldest first.
    fn bound_unwritten(&mut self) {
        if self.unwritten.len() <= self.bound {
            return;
        }
        compact(&mut self.unwritten);
        let mut excess = self.unwritten.len().saturating_sub(MOST_UNWRITTEN / 2);
        self.unwritten.retain(|write| {
            let goes = excess > 0 && !write.is_decision();
            excess -= usize::from(goes);
            !goes
        });
        // Twice as much may come before it is looked through again; beyond ten times, what is oldest goes.
        let decisions = self.unwritten.len().saturating_sub(MOST_UNWRITTEN * 10);
        self.unwritten.drain(..decisions);
        self.bound = MOST_UNWRITTEN.max(self.unwritten.len() * 2);
    }

    fn send(&mut self, sending: Sending) {
        let Some(receiver) = self.judge.receivers().receivers.get(&sending.receiver).cloned() else { return };
        let sender = self.sender.clone();
        self.attempts.spawn(async move {
            let watch = Stopwatch::start();
            let attempt = std::panic::AssertUnwindSafe(sender.send(&receiver, &sending)).catch_unwind();
            let broke = || End::Unknown { trouble: Trouble::Other, detail: "journeyd has a bug here".to_owned() };
            let end = attempt.await.unwrap_or_else(|_| broke());
            failpoint::pass("after_post");
            Attempt { receiver: sending.receiver, id: sending.id, end, took: watch.elapsed() }
        });
    }

    /// No more runs: messages that are due get a little time, the rest waits in the store.
    async fn finish(mut self) {
        let watch = Stopwatch::start();
        while !self.attempts.is_empty() && watch.elapsed() < FLUSH {
            let mut verdict = Verdict::default();
            let left = FLUSH.saturating_sub(watch.elapsed());
            if let Ok(Some(ended)) = tokio::time::timeout(left, self.attempts.join_next()).await {
                self.attempt_ended(ended, &mut verdict);
                self.judge.tick(now(), &mut verdict);
                self.settle(verdict, std::iter::empty()).await;
            }
        }
        self.attempts.abort_all();
        // A last try, also if the store has just failed or still hangs.
        if let Some(answer) = self.pending.take() {
            self.await_commit(answer, STORE_PATIENCE).await;
        }
        self.store_failed = None;
        self.commit(self.judge.last_goods()).await;
        if !self.unwritten.is_empty() || self.pending.is_some() {
            let rows = self.unwritten.len();
            tracing::error!(
                rows,
                "the store could not be written until the end: what it lacks is forgotten, and alerts may fire anew after the next start. Look at the disk."
            );
        }
        let waiting: BTreeMap<ReceiverId, u64> =
            self.judge.queue_lengths().into_iter().filter(|(_, length)| *length > 0).collect();
        for (receiver, messages) in waiting {
            tracing::info!(%receiver, messages, "messages wait in the store and go out after the next start.");
        }
    }

    fn gave_up(&self, receiver: &ReceiverId, trouble: Trouble) {
        self.metrics.gave_up(receiver, trouble);
    }
}
