//! The backlog: what is yet to be told to whom. Pure: `(state, decision or attempt's end, now) -> rows`.
//!
//! ```text
//!             due            2xx
//!  waiting ─────────► sending ─────► delivered
//!   │  ▲  ▲              │  refused for good
//!   │  │  └── retry ─────┤─────────► parked
//!   │  └── restart ──────┘
//!   ├── too old ───────────────────► expired
//!   ├── resolved before it was sent► replaced      (by one message that tells both)
//!   └── the budget is spent ───────► digested      (into one message that tells several)
//! ```
//!
//! What is parked or expired goes to the receiver's fallback. A receiver that keeps state of its own and forgets
//! (Alertmanager) is sent the same row again every minute until the resolve takes its place.
//!
//! `sending` is committed before the request leaves: whatever is found in that state after a crash may have
//! arrived, counts as sent, and is sent again under the same id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::ReceiverId;
use crate::notify::Dialect;
use crate::notify::message::{Because, Kind, Message};
use crate::notify::retry::{self, End, Verdict};
use crate::notify::route::Pace;
use crate::report::words;

/// How often a receiver that forgets is told again (Prometheus' `--rules.alert.resend-delay`), and for how long of an
/// end.
const RESEND: Duration = Duration::from_secs(60);
const RESEND_END: Duration = Duration::from_secs(300);
/// Over which a budget is counted, and the least time between two digests.
const BUDGET_OVER: Duration = Duration::from_secs(3600);
const DIGEST_EVERY: Duration = Duration::from_secs(300);
/// What a restart gives to messages that grew old meanwhile.
const AFTER_RESTART: Duration = Duration::from_secs(900);
/// Headlines that a digest names; the rest is counted.
const MOST_LINES: usize = 100;

words!(
    /// Where a row of the outbox stands.
    RowState {
        Waiting = "waiting",
        Sending = "sending",
        Delivered = "delivered",
        Parked = "parked",
        Expired = "expired",
        Replaced = "replaced",
        Digested = "digested",
    }
);

impl RowState {
    /// Nothing more happens to it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Sending)
    }
}

/// A row of the outbox: one message to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub incident: u64,
    pub sequence: u32,
    pub receiver: ReceiverId,
    /// Stable over retries and restarts; what receivers recognise a repeat by.
    pub id: String,
    pub message: Message,
    pub state: RowState,
    /// An attempt began whose end is unknown.
    pub maybe_sent: bool,
    pub failures: u32,
    pub not_before: Timestamp,
    pub expires_at: Timestamp,
    pub decided_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub group_interval: Duration,
    /// What the last failed attempt ended with.
    pub last_error: String,
}

type Key = (ReceiverId, u64, u32);

impl Row {
    fn key(&self) -> Key {
        (self.receiver.clone(), self.incident, self.sequence)
    }

    fn is_unsent(&self) -> bool {
        self.state == RowState::Waiting && !self.maybe_sent
    }

    fn may_have_arrived(&self) -> bool {
        self.maybe_sent || matches!(self.state, RowState::Sending | RowState::Delivered | RowState::Digested)
    }
}

/// What a backlog knows of a receiver.
#[derive(Debug, Clone)]
pub struct Post {
    pub dialect: Dialect,
    /// Messages in an hour; `None` without a limit.
    pub budget: Option<u32>,
    /// Who is told what this one would not take.
    pub fallback: Option<ReceiverId>,
}

impl From<Dialect> for Post {
    fn from(dialect: Dialect) -> Self {
        Self { dialect, budget: None, fallback: None }
    }
}

/// A message on its way: to be rendered and sent once its row is committed.
#[derive(Debug, Clone)]
pub struct Sending {
    pub id: String,
    pub receiver: ReceiverId,
    pub message: Message,
}

/// What an attempt's end came to.
#[derive(Debug, Clone)]
pub struct Ended {
    pub row: Row,
    pub verdict: Verdict,
    /// It was not delivered before.
    pub first: bool,
}

/// Every message that is not done with, and those of open incidents that are.
#[derive(Debug)]
pub struct Backlog {
    namespace: Uuid,
    location: String,
    receivers: BTreeMap<ReceiverId, Post>,
    rows: BTreeMap<Key, Row>,
    in_flight: BTreeMap<ReceiverId, Key>,
    /// Nothing goes to a receiver before this: it asked for a pause.
    hold: BTreeMap<ReceiverId, Timestamp>,
    /// When messages of the last hour went out.
    spent: BTreeMap<ReceiverId, VecDeque<Timestamp>>,
    last_digest: BTreeMap<ReceiverId, Timestamp>,
    changed: BTreeSet<Key>,
    /// Rows that left the memory with their last change still to be written.
    left: Vec<Row>,
}

impl Backlog {
    /// `namespace` is the store's own id, so that two stores never share a message id.
    pub fn new(namespace: Uuid) -> Self {
        Self {
            namespace,
            location: String::new(),
            receivers: BTreeMap::new(),
            rows: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            hold: BTreeMap::new(),
            spent: BTreeMap::new(),
            last_digest: BTreeMap::new(),
            changed: BTreeSet::new(),
            left: Vec::new(),
        }
    }

    /// What a store remembered. Failed attempts are repeated at once; what was being sent may have arrived.
    pub fn restore(&mut self, rows: impl IntoIterator<Item = Row>, now: Timestamp) {
        for mut row in rows {
            if row.state == RowState::Sending {
                row.state = RowState::Waiting;
                row.maybe_sent = true;
            }
            if row.maybe_sent || row.failures > 0 {
                row.not_before = row.not_before.min(now);
            }
            // That nobody was there to send it is not the message's fault.
            row.expires_at = row.expires_at.max(now + AFTER_RESTART);
            self.rows.insert(row.key(), row);
        }
    }

    /// When messages went out before a restart.
    pub fn restore_spent(&mut self, sent: impl IntoIterator<Item = (ReceiverId, Timestamp)>) {
        for (receiver, at) in sent {
            let times = self.spent.entry(receiver).or_default();
            let place = times.partition_point(|known| *known <= at);
            times.insert(place, at);
        }
    }

    /// Where digests come from.
    pub fn set_location(&mut self, location: &str) {
        location.clone_into(&mut self.location);
    }

    /// Puts receivers in force. Messages to one that is gone have nowhere to go.
    pub fn configure(&mut self, receivers: BTreeMap<ReceiverId, Post>, now: Timestamp) -> Vec<Row> {
        self.receivers = receivers;
        let gone = |row: &&mut Row| !row.state.is_final() && !self.receivers.contains_key(&row.receiver);
        let mut parked = Vec::new();
        for row in self.rows.values_mut().filter(gone) {
            row.maybe_sent |= row.state == RowState::Sending;
            row.state = RowState::Parked;
            row.ended_at = Some(now);
            "the receiver left the configuration".clone_into(&mut row.last_error);
            self.changed.insert(row.key());
            parked.push(row.clone());
        }
        for row in &parked {
            self.in_flight.remove(&row.receiver);
        }
        self.forget_what_is_done();
        parked
    }

    fn put(&mut self, receiver: &ReceiverId, message: Message, sequence: u32, not_before: Timestamp, pace: Duration) {
        // With its beginning: a number that a failing store forgot must not stand for another incident later.
        // In milliseconds: that is what the store keeps of it.
        let (incident, began) = (message.incident, message.started_at.micros().div_euclid(1000));
        let name = format!("{incident}/{began}/{sequence}/{receiver}");
        let row = Row {
            incident: message.incident,
            sequence,
            receiver: receiver.clone(),
            id: format!("msg_{}", Uuid::new_v5(&self.namespace, name.as_bytes())),
            state: RowState::Waiting,
            maybe_sent: false,
            failures: 0,
            not_before,
            expires_at: not_before + retry::lifetime(message.kind),
            decided_at: message.at,
            ended_at: None,
            group_interval: pace,
            last_error: String::new(),
            message,
        };
        self.changed.insert(row.key());
        self.rows.insert(row.key(), row);
    }

    /// An incident opened.
    pub fn fire(&mut self, message: &Message, sequence: u32, to: Vec<(ReceiverId, Pace)>, now: Timestamp) {
        for (receiver, pace) in to {
            self.put(&receiver, message.clone(), sequence, now + pace.group_wait, pace.group_interval);
        }
    }

    /// The rows of an incident by receiver, in order.
    fn of_incident(&self, incident: u64) -> BTreeMap<ReceiverId, Vec<Key>> {
        let mut out: BTreeMap<ReceiverId, Vec<Key>> = BTreeMap::new();
        for key in self.rows.keys().filter(|key| key.1 == incident) {
            out.entry(key.0.clone()).or_default().push(key.clone());
        }
        out
    }

    /// Whether `receiver` was addressed in an incident before.
    pub fn addresses(&self, receiver: &ReceiverId, incident: u64) -> bool {
        self.rows.range((receiver.clone(), incident, 0)..=(receiver.clone(), incident, u32::MAX)).next().is_some()
    }

    /// Quiet is wanted before anybody can have heard of it: what waits is not sent, and the receivers are as if they had
    /// not been addressed. True if there was any such.
    pub fn withdraw(&mut self, incident: u64, now: Timestamp) -> bool {
        let mut withdrawn = false;
        for (_, keys) in self.of_incident(incident) {
            let rows = || keys.iter().filter_map(|key| self.rows.get(key));
            if rows().any(Row::may_have_arrived) || !rows().any(Row::is_unsent) {
                continue;
            }
            for key in &keys {
                if let Some(row) = self.rows.get_mut(key).filter(|row| row.is_unsent()) {
                    row.state = RowState::Replaced;
                    row.ended_at = Some(now);
                    self.changed.insert(key.clone());
                }
            }
            self.forget(&keys);
            withdrawn = true;
        }
        withdrawn
    }

    /// Whether [`update`](Self::update) has anybody to tell.
    pub fn takes(&self, incident: u64, news: bool) -> bool {
        self.rows.values().filter(|row| row.incident == incident).any(|row| {
            let resends = self.receivers.get(&row.receiver).is_some_and(|post| post.dialect.resends());
            row.is_unsent() || (resends && !row.state.is_final()) || news
        })
    }

    /// The incident is no longer as it was told. What is still unsent takes it in; of `news`, whoever knows of the
    /// incident is told after the group interval. True if somebody will be told.
    pub fn update(&mut self, message: &Message, sequence: u32, now: Timestamp, news: bool) -> bool {
        let mut taken = false;
        for (receiver, keys) in self.of_incident(message.incident) {
            let Some(post) = self.receivers.get(&receiver) else { continue };
            let resends = post.dialect.resends();
            let told = keys.iter().filter_map(|key| self.rows.get(key)).any(Row::may_have_arrived);
            let Some(row) = keys.last().and_then(|key| self.rows.get_mut(key)) else { continue };
            if row.is_unsent() || (resends && !row.state.is_final()) {
                let old = std::mem::replace(&mut row.message, message.clone());
                let turns = old.kind == Kind::Updated || message.kind == Kind::Flapping;
                if !(news && turns) {
                    // What the message is for does not change, nor the first real error.
                    row.message.kind = old.kind;
                    row.message.because = old.because;
                    if old.journey.key() == message.journey.key() {
                        row.message.failure = old.failure;
                    }
                }
                row.message.at = old.at;
                row.message.instead_of = old.instead_of;
                if row.maybe_sent {
                    row.not_before = row.not_before.min(now);
                }
                self.changed.insert(row.key());
                taken = true;
            } else if told && news {
                let pace = row.group_interval;
                let not_before = row.ended_at.map_or(now + pace, |at| (at + pace).max(now));
                self.put(&receiver, message.clone(), sequence, not_before, pace);
                taken = true;
            } else if news && message.because != Because::Acknowledged && message.because != Because::FlappingEnded {
                // The fire was parked or expired: nobody there knows of it, and this is the next occasion.
                let mut message = message.clone();
                if message.kind != Kind::Flapping {
                    message.kind = Kind::Firing;
                }
                let pace = row.group_interval;
                let not_before = row.ended_at.map_or(now, |at| (at + pace).max(now));
                self.put(&receiver, message, sequence, not_before, pace);
                taken = true;
            }
        }
        taken
    }

    /// The incident is over. Whoever was told, or may have been, is told so at once; whoever was not gets one
    /// message that tells both.
    pub fn resolve(&mut self, message: &Message, sequence: u32, now: Timestamp) {
        for (receiver, keys) in self.of_incident(message.incident) {
            if !self.receivers.contains_key(&receiver) {
                for key in &keys {
                    if let Some(row) = self.rows.get_mut(key).filter(|row| !row.state.is_final()) {
                        row.state = RowState::Replaced;
                        row.ended_at = Some(now);
                        self.changed.insert(key.clone());
                    }
                }
                self.forget(&keys);
                continue;
            }
            let resends = self.receivers.get(&receiver).is_some_and(|post| post.dialect.resends());
            let mut told = false;
            let mut pace = Duration::ZERO;
            for key in &keys {
                let Some(row) = self.rows.get_mut(key) else { continue };
                pace = row.group_interval;
                if row.is_unsent() {
                    row.state = RowState::Replaced;
                    row.ended_at = Some(now);
                    self.changed.insert(key.clone());
                } else {
                    told |= row.may_have_arrived();
                    if resends && row.state == RowState::Waiting {
                        // It was told again and again until now, or would have been.
                        row.state = if row.ended_at.is_some() { RowState::Delivered } else { RowState::Replaced };
                        row.ended_at.get_or_insert(now);
                        self.changed.insert(key.clone());
                    }
                }
            }
            if !told && message.because == Because::Removed {
                // Nobody there has heard of it, and nothing passes again: there is nothing to say.
                self.forget(&keys);
                continue;
            }
            let mut message = message.clone();
            if !told && matches!(message.because, Because::Recovered | Because::FlappingEnded) {
                message.because = Because::WasDown;
            }
            self.put(&receiver, message, sequence, now, pace);
        }
    }

    /// Whether there is still something to be told of an incident.
    pub fn concerns(&self, incident: u64) -> bool {
        self.rows.values().any(|row| row.incident == incident && !row.state.is_final())
    }

    /// Gives up what is too old.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Row> {
        let mut out = Vec::new();
        let receivers = &self.receivers;
        // To one that is told again and again, what still holds never grows old.
        let lasts = |row: &Row| {
            row.message.kind != Kind::Resolved && receivers.get(&row.receiver).is_some_and(|p| p.dialect.resends())
        };
        let old = |r: &&mut Row| r.state == RowState::Waiting && r.expires_at <= now && !lasts(r);
        for row in self.rows.values_mut().filter(old) {
            row.state = RowState::Expired;
            row.ended_at = Some(now);
            self.changed.insert(row.key());
            out.push(row.clone());
        }
        for row in &out {
            self.undo_digest(row, now);
            self.fall_back(row, now);
            self.settle(&row.receiver, row.incident, now);
        }
        if !out.is_empty() {
            self.forget_what_is_done();
        }
        out
    }

    /// A digest that did not arrive: nor did what was in it.
    fn undo_digest(&mut self, digest: &Row, now: Timestamp) {
        if digest.message.kind != Kind::Digest {
            return;
        }
        let inside = |row: &&mut Row| row.state == RowState::Digested && row.last_error == digest.id;
        let mut incidents = BTreeSet::new();
        for row in self.rows.values_mut().filter(inside) {
            row.state = digest.state;
            incidents.insert(row.incident);
            self.changed.insert(row.key());
        }
        for incident in incidents {
            self.settle(&digest.receiver, incident, now);
        }
    }

    /// Incidents of which something is in a digest that is still on its way: what follows waits for it.
    fn behind_a_digest(&self, receiver: &ReceiverId) -> BTreeSet<u64> {
        let of_digests = (receiver.clone(), 0, 0)..=(receiver.clone(), 0, u32::MAX);
        let open = self.rows.range(of_digests).map(|(_, row)| row).filter(|row| !row.state.is_final());
        let open: BTreeSet<&str> = open.map(|row| row.id.as_str()).collect();
        if open.is_empty() {
            return BTreeSet::new();
        }
        let all = (receiver.clone(), 1, 0)..=(receiver.clone(), u64::MAX, u32::MAX);
        let inside = |row: &&Row| row.state == RowState::Digested && open.contains(row.last_error.as_str());
        self.rows.range(all).map(|(_, row)| row).filter(inside).map(|row| row.incident).collect()
    }

    /// What one receiver could not be told goes to its fallback, which hears of the incident for the first time.
    fn fall_back(&mut self, row: &Row, now: Timestamp) {
        let Some(fallback) = self.receivers.get(&row.receiver).and_then(|post| post.fallback.clone()) else { return };
        if !self.receivers.contains_key(&fallback) || row.message.kind == Kind::Test {
            return;
        }
        // Once it is over there is only its end to tell.
        let range = (row.receiver.clone(), row.incident, 0)..=(row.receiver.clone(), row.incident, u32::MAX);
        let over = self.rows.range(range).any(|(_, other)| other.message.kind == Kind::Resolved);
        if row.incident == 0 && row.message.instead_of.is_some() {
            // Two receivers that stand in for each other would pass it on for ever.
            return;
        }
        if row.incident != 0 && over && row.message.kind != Kind::Resolved {
            return;
        }
        let known = if row.incident == 0 {
            self.rows.contains_key(&(fallback.clone(), 0, row.sequence))
        } else {
            self.addresses(&fallback, row.incident)
        };
        if known {
            return;
        }
        let mut message = row.message.clone();
        message.instead_of = Some(row.receiver.clone());
        match message.kind {
            Kind::Resolved if message.because != Because::Removed => message.because = Because::WasDown,
            Kind::Updated | Kind::Reminder => message.kind = Kind::Firing,
            _ => {}
        }
        self.put(&fallback, message, row.sequence, now, row.group_interval);
    }

    /// A message was given up, or an attempt that was under way when the incident ended turned out to have failed: if
    /// nothing of the incident can have arrived, news of it make no sense there, and the resolve tells it all.
    fn settle(&mut self, receiver: &ReceiverId, incident: u64, now: Timestamp) {
        let range = (receiver.clone(), incident, 0)..=(receiver.clone(), incident, u32::MAX);
        let waits = |row: &Row| row.message.kind == Kind::Resolved && row.is_unsent();
        let rows: Vec<&Row> = self.rows.range(range.clone()).map(|(_, row)| row).collect();
        let over = rows.iter().any(|row| waits(row));
        let alive = |row: &&Row| row.message.kind == Kind::Firing && !row.state.is_final();
        if rows.iter().any(|row| row.may_have_arrived()) || (!over && rows.iter().any(alive)) {
            return;
        }
        for (key, row) in self.rows.range_mut(range) {
            if waits(row) {
                if matches!(row.message.because, Because::Recovered | Because::FlappingEnded) {
                    row.message.because = Because::WasDown;
                    self.changed.insert(key.clone());
                }
            } else if row.is_unsent() {
                row.state = RowState::Replaced;
                row.ended_at = Some(now);
                self.changed.insert(key.clone());
            }
        }
    }

    /// The first message of each incident that still has to go to `receiver`: those after it wait for it.
    fn heads(&self, receiver: &ReceiverId) -> impl Iterator<Item = &Row> {
        let first = (receiver.clone(), 0, 0);
        let mut last_incident = None;
        self.rows
            .range(first..)
            .map(|(_, row)| row)
            .take_while(|row| row.receiver == *receiver)
            .filter(|row| !row.state.is_final())
            .filter(move |row| last_incident.replace(row.incident) != Some(row.incident))
    }

    fn is_held(&self, receiver: &ReceiverId, now: Timestamp) -> bool {
        // Nobody is asked to wait for longer than this: a later moment comes of a clock that was set back.
        let longest = now + retry::LONGEST_RETRY_AFTER;
        self.hold.get(receiver).is_some_and(|until| *until > now && *until <= longest)
    }

    /// What to send now: at most one message per receiver at a time. Their rows must be committed first.
    pub fn due(&mut self, now: Timestamp) -> Vec<Sending> {
        let mut out = Vec::new();
        let receivers: Vec<ReceiverId> = self.receivers.keys().cloned().collect();
        for receiver in receivers {
            if self.in_flight.contains_key(&receiver) || self.is_held(&receiver, now) {
                continue;
            }
            self.digest(&receiver, now);
            // Decided in the future: the clock was set back, and its waits with it mean nothing.
            let behind = self.behind_a_digest(&receiver);
            let ready = self.heads(&receiver).filter(|row| row.not_before <= now || row.decided_at > now);
            let ready = ready.filter(|row| !behind.contains(&row.incident));
            let Some(key) = ready.min_by_key(|row| (row.not_before, row.incident)).map(Row::key) else { continue };
            let Some(row) = self.rows.get_mut(&key) else { continue };
            row.state = RowState::Sending;
            out.push(Sending { id: row.id.clone(), receiver: receiver.clone(), message: row.message.clone() });
            self.changed.insert(key.clone());
            self.in_flight.insert(receiver, key);
        }
        out
    }

    /// Whether the receiver has had as much as it takes in an hour.
    fn is_spent(&mut self, receiver: &ReceiverId, now: Timestamp) -> bool {
        // What keeps state of its own needs every word.
        let post = self.receivers.get(receiver).filter(|post| post.dialect.takes_digests());
        let Some(budget) = post.and_then(|post| post.budget) else { return false };
        let times = self.spent.entry(receiver.clone()).or_default();
        // What lies in the future comes of a clock that was set back.
        times.retain(|at| *at + BUDGET_OVER > now && *at <= now);
        times.len() >= usize::try_from(budget).unwrap_or(usize::MAX)
    }

    /// A storm becomes one message: what is due beyond the budget is told together.
    fn digest(&mut self, receiver: &ReceiverId, now: Timestamp) {
        let waits = |row: &Row| row.is_unsent() && row.incident != 0 && row.message.kind != Kind::Test;
        let due = |row: &&Row| waits(row) && (row.not_before <= now || row.decided_at > now);
        if !self.heads(receiver).any(|row| due(&row)) || !self.is_spent(receiver, now) {
            return;
        }
        let mut keys: Vec<(Timestamp, Key)> =
            self.heads(receiver).filter(due).map(|row| (row.decided_at, row.key())).collect();
        keys.sort();
        let mut lines = Vec::new();
        for (_, key) in &keys {
            lines.extend(self.rows.get(key).map(|row| row.message.headline()));
        }
        let range = (receiver.clone(), 0, 0)..=(receiver.clone(), 0, u32::MAX);
        let is_open = |row: &Row| row.is_unsent() && row.message.kind == Kind::Digest;
        let open = self.rows.range(range).find(|(_, row)| is_open(row)).map(|(key, _)| key.clone());
        let digest = match open {
            Some(key) => key,
            None => {
                let Some(message) = Message::digest(&self.location, Vec::new(), now) else { return };
                let not_before = self.last_digest.get(receiver).map_or(now, |at| (*at + DIGEST_EVERY).max(now));
                let not_before = not_before.min(now + DIGEST_EVERY);
                // Unique per receiver: two digests are minutes apart.
                let sequence = u32::try_from(now.micros().div_euclid(1_000_000)).unwrap_or(0);
                self.last_digest.insert(receiver.clone(), not_before);
                self.put(receiver, message, sequence, not_before, Duration::ZERO);
                (receiver.clone(), 0, sequence)
            }
        };
        let Some(row) = self.rows.get_mut(&digest) else { return };
        row.message.counted += u32::try_from(lines.len()).unwrap_or(u32::MAX);
        row.message.lines.append(&mut lines);
        row.message.lines.truncate(MOST_LINES);
        let id = row.id.clone();
        self.changed.insert(digest);
        for (_, key) in keys {
            if let Some(row) = self.rows.get_mut(&key) {
                row.state = RowState::Digested;
                row.ended_at = Some(now);
                // Where it went: what becomes of the digest becomes of it.
                row.last_error.clone_from(&id);
                self.changed.insert(key);
            }
        }
        self.forget_what_is_done();
    }

    /// An attempt ended. `None` if nobody waits for it any more.
    pub fn ended(&mut self, receiver: &ReceiverId, id: &str, end: &End, now: Timestamp) -> Option<Ended> {
        let key = self.in_flight.get(receiver).filter(|key| self.rows.get(key).is_some_and(|r| r.id == id))?.clone();
        self.in_flight.remove(receiver);
        let dialect = self.receivers.get(receiver)?.dialect;
        let last = self.rows.range(key.clone()..=(key.0.clone(), key.1, u32::MAX)).count() == 1;
        let row = self.rows.get_mut(&key)?;
        let verdict = retry::verdict(dialect, end, now);
        let first = row.ended_at.is_none();
        match &verdict {
            Verdict::Delivered => {
                if dialect.resends()
                    && last
                    && row.incident != 0
                    && (row.message.kind != Kind::Resolved || now < row.decided_at + RESEND_END)
                {
                    row.state = RowState::Waiting;
                    row.maybe_sent = true;
                    row.failures = 0;
                    // After a clock that was set back the waits count from here.
                    row.decided_at = row.decided_at.min(now);
                    row.not_before = now + RESEND;
                    row.expires_at = now + retry::lifetime(row.message.kind);
                    row.ended_at.get_or_insert(now);
                } else {
                    row.state = RowState::Delivered;
                    row.ended_at = Some(now);
                }
                if first {
                    self.spent.entry(receiver.clone()).or_default().push_back(now);
                }
                if let Some(gap) = dialect.gap() {
                    self.hold.insert(receiver.clone(), now + gap);
                }
            }
            Verdict::Retry { at_least, .. } => {
                row.state = RowState::Waiting;
                row.maybe_sent |= matches!(end, End::Unknown { .. });
                row.failures += 1;
                // After a clock that was set back the waits count from here.
                row.decided_at = row.decided_at.min(now);
                row.not_before = now + retry::wait(&row.id, row.failures, *at_least);
                row.last_error = describe(end);
                if dialect.resends() && !last {
                    // Its end is what is told now.
                    row.state = RowState::Replaced;
                    row.ended_at = Some(now);
                }
                if let Some(pause) = at_least {
                    // A rate limit is the receiver's, not the message's.
                    self.hold.insert(receiver.clone(), now + *pause);
                }
            }
            Verdict::Park { .. } => {
                row.state = RowState::Parked;
                row.ended_at = Some(now);
                row.failures += 1;
                row.last_error = describe(end);
            }
        }
        let ended = Ended { row: row.clone(), verdict, first };
        self.changed.insert(key);
        if ended.row.state == RowState::Parked {
            self.undo_digest(&ended.row, now);
            self.fall_back(&ended.row, now);
        }
        self.settle(receiver, ended.row.incident, now);
        self.forget_what_is_done();
        Some(ended)
    }

    /// Rows of incidents whose last word has been said to everybody, or can no longer be. Until then all of them are
    /// kept: whoever has been told must not hear of it anew when another receiver's message falls back to him.
    fn forget_what_is_done(&mut self) {
        let mut over: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
        for row in self.rows.values().filter(|row| row.incident != 0) {
            let (all_final, resolved) = over.entry(row.incident).or_insert((true, false));
            *all_final &= row.state.is_final();
            *resolved |= row.message.kind == Kind::Resolved;
        }
        let is_over = |row: &&Row| match row.incident {
            0 => row.state.is_final(),
            id => over.get(&id) == Some(&(true, true)),
        };
        let keys: Vec<Key> = self.rows.values().filter(is_over).map(Row::key).collect();
        self.forget(&keys);
    }

    /// Rows leave the memory; their last change is still to be written.
    fn forget(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(row) = self.rows.remove(key)
                && self.changed.remove(key)
            {
                self.left.push(row);
            }
        }
    }

    /// Rows that changed since the last call, to be committed.
    pub fn take_changes(&mut self) -> Vec<Row> {
        let mut out = std::mem::take(&mut self.left);
        let changed = std::mem::take(&mut self.changed);
        out.extend(changed.iter().filter_map(|key| self.rows.get(key).cloned()));
        out
    }

    /// When [`due`](Self::due) or [`expire`](Self::expire) next has something to do, unless an attempt ends before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        let mut at_most = |at: Timestamp| next = Some(next.map_or(at, |known| known.min(at)));
        for receiver in self.receivers.keys().filter(|r| !self.in_flight.contains_key(*r)) {
            let hold = self.hold.get(receiver).copied();
            let behind = self.behind_a_digest(receiver);
            for row in self.heads(receiver).filter(|row| !behind.contains(&row.incident)) {
                at_most(hold.map_or(row.not_before, |until| until.max(row.not_before)));
            }
        }
        let resends = |row: &&Row| self.receivers.get(&row.receiver).is_some_and(|post| post.dialect.resends());
        let waiting = self.rows.values().filter(|r| r.state == RowState::Waiting);
        waiting.filter(|row| !resends(row)).for_each(|row| at_most(row.expires_at));
        next
    }

    /// Messages on their way to each receiver.
    pub fn queue_lengths(&self) -> BTreeMap<ReceiverId, u64> {
        let mut out: BTreeMap<ReceiverId, u64> = self.receivers.keys().map(|id| (id.clone(), 0)).collect();
        // What was delivered and is only told again and again, to a receiver that forgets, waits for nothing.
        let refreshed = |row: &Row| row.ended_at.is_some() && row.failures == 0;
        for row in self.rows.values().filter(|row| !row.state.is_final() && !refreshed(row)) {
            *out.entry(row.receiver.clone()).or_default() += 1;
        }
        out
    }
}

/// An attempt's end for people, without the URL.
pub fn describe(end: &End) -> String {
    match end {
        End::Answer { status, body, .. } if body.trim().is_empty() => format!("HTTP {status}"),
        End::Answer { status, body, .. } => {
            let line: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
            // For a terminal and a log: nothing that moves the cursor or turns the direction of writing.
            let tame = |c: &char| {
                !c.is_control() && !('\u{202a}'..='\u{202e}').contains(c) && !('\u{2066}'..='\u{2069}').contains(c)
            };
            format!("HTTP {status}: {}", line.chars().filter(tame).take(200).collect::<String>())
        }
        End::NotReached { detail, .. } | End::Unknown { detail, .. } => detail.clone(),
    }
}

#[cfg(test)]
mod tests;
