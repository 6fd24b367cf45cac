//! From alerts that change to incidents and messages. Pure; `now` is an argument.
//!
//! ```text
//!  an alert fires ──► which incident? ─┬─ one that it is in already, or its journey is
//!                                      ├─ one whose journey it depends on, or that depends on it
//!                                      ├─ one with the same cause (host, route, shared fragment)
//!                                      └─ a new one
//!                 ──► muted?  silence · maintenance · what it depends on is down
//!                 ──► whoever has not heard of the incident gets `firing`, the others `updated`
//! ```
//!
//! A message names also the alerts of the same cause that are only on their way to firing, so that two hundred
//! journeys against one dead host are one message and not two hundred, nor one and then an update.

use std::collections::BTreeSet;

use std::time::Duration;

use crate::alert::{Alert, AlertKey, State, Transition, Why};
use crate::clock::Timestamp;
use crate::ids::{JourneyId, JourneyKey, ReceiverId, RuleId};
use crate::incident::{Acknowledgement, Cause, Happening, Incident, Member, Mute};
use crate::journey::Severity;
use crate::notify::message::{About, AlertFact, Because, Kind, Message, Standing, failed_at};
use crate::notify::route::{Pace, Subject, escalations_of, receivers_of};
use crate::pipeline::judge::{Judge, Verdict, has_ended};
use crate::report::FailureFacts;
use crate::store::Write;

/// How often an alert that flaps is spoken of.
const FLAPPING_EVERY: Duration = Duration::from_secs(3600);
/// Alerts that a message carries; the rest is in the API.
const MOST_ALERTS: usize = 500;
/// Alerts of one incident; an outage of more is several, each of which can still be read and written.
const MOST_MEMBERS: usize = 500;

impl Judge {
    /// An alert changed its state, or began or ceased to flap.
    pub(super) fn take(
        &mut self,
        transition: &Transition,
        alert: &Alert,
        facts: Option<&FailureFacts>,
        now: Timestamp,
        verdict: &mut Verdict,
    ) {
        let key = &transition.key;
        let was_active = matches!(transition.from, State::Firing | State::Recovering);
        match transition.why {
            Why::FlappingStarted => self.begins_to_flap(key, alert, facts, now),
            Why::FlappingEnded => self.ceases_to_flap(key, alert, now, verdict),
            _ if transition.to == State::Firing && !was_active => self.fires(key, alert, facts, now),
            why if transition.to == State::Inactive && was_active && has_ended(why) => {
                self.ends(key, why, now, verdict);
            }
            Why::Removed => self.ends(key, Why::Removed, now, verdict),
            _ if transition.to == State::Pending => self.may_join(key, alert, now),
            why => {
                if let Some(incident) = self.incident_of.get(key).and_then(|id| self.incidents.get_mut(id))
                    && incident.alert == *key
                {
                    incident.moved(why, now);
                    verdict.writes.push(Write::Incident(Box::new(incident.clone())));
                }
            }
        }
    }

    fn cause_of(&self, key: &AlertKey, facts: Option<&FailureFacts>) -> Cause {
        match facts {
            Some(facts) if key.rule.as_str() == "down" => {
                Cause::of(facts, self.journeys.get(&key.journey).map_or("", |journey| &journey.file))
            }
            _ => Cause::of_rule(key.rule.as_str()),
        }
    }

    /// The down alerts of the journeys that `key`'s journey depends on.
    fn dependencies(&self, key: &JourneyKey) -> Vec<AlertKey> {
        let Some(journey) = self.journeys.get(key) else { return Vec::new() };
        let wanted = |other: &&JourneyKey| journey.telling.depends_on.iter().any(|(id, _)| *id == other.journey);
        let down = |other: &JourneyKey| AlertKey { journey: other.clone(), rule: RuleId::down() };
        self.journeys.keys().filter(wanted).map(down).collect()
    }

    fn place_for(&self, key: &AlertKey, cause: &Cause) -> Option<u64> {
        if let Some(id) = self.incident_of.get(key) {
            return Some(*id);
        }
        if Self::is_own(&key.journey) {
            return None;
        }
        // Another rule about the same journey is another face of the same outage.
        let of_journey =
            |other: &JourneyKey| self.incident_of.iter().find(|(alert, _)| alert.journey == *other).map(|(_, id)| *id);
        let open_member = |id: &u64, journey: &JourneyKey| {
            self.incidents.get(id).is_some_and(|i| i.members.iter().any(|m| m.alert.journey == *journey && m.is_open()))
        };
        if let Some(id) = of_journey(&key.journey).filter(|id| open_member(id, &key.journey)) {
            return Some(id);
        }
        for dependency in self.dependencies(&key.journey) {
            if let Some(id) = self.incident_of.get(&dependency).filter(|id| open_member(id, &dependency.journey)) {
                return Some(*id);
            }
        }
        for incident in self.incidents.values() {
            let dependent = incident.members.iter().filter(|m| m.is_open()).any(|member| {
                let journey = self.journeys.get(&member.alert.journey);
                journey.is_some_and(|j| j.telling.depends_on.iter().any(|(id, _)| *id == key.journey.journey))
            });
            if dependent && key.rule.as_str() == "down" {
                return Some(incident.id);
            }
        }
        let fits = |incident: &&Incident| incident.cause.is_same(cause) && incident.members.len() < MOST_MEMBERS;
        self.incidents.values().find(fits).map(|incident| incident.id)
    }

    fn fires(&mut self, key: &AlertKey, alert: &Alert, facts: Option<&FailureFacts>, now: Timestamp) {
        let member = self.member(key, alert, now);
        self.enter(member, alert, facts, now);
        if let Some(id) = self.incident_of.get(key).copied() {
            self.announce(id, now);
        }
    }

    fn member(&self, key: &AlertKey, alert: &Alert, now: Timestamp) -> Member {
        let severity = self.engine.rule(key).map_or(Severity::Critical, |rule| rule.severity);
        let first = alert.first_failure.as_ref().map(|facts| facts.at);
        let started_at = first.or(alert.bad_since).unwrap_or(now).min(now);
        let mut member = Member::new(key.clone(), severity, started_at, now);
        member.detail.clone_from(&alert.detail);
        member.failed_runs = alert.failures;
        member.flapping = alert.flapping;
        member.mute = self.mute_of(key, severity, true, now);
        member
    }

    /// Into an open incident, or a new one.
    fn enter(&mut self, member: Member, alert: &Alert, facts: Option<&FailureFacts>, now: Timestamp) {
        let key = member.alert.clone();
        let first = alert.first_failure.clone().or_else(|| facts.filter(|_| key.rule.as_str() == "down").cloned());
        let cause = self.cause_of(&key, first.as_ref());
        let id = match self.place_for(&key, &cause).filter(|id| self.incidents.contains_key(id)) {
            Some(id) => {
                if let Some(incident) = self.incidents.get_mut(&id) {
                    incident.enter(member, now);
                }
                id
            }
            None => {
                self.last_incident += 1;
                let id = self.last_incident;
                let mut incident = Incident::open(id, member, cause, first, alert.last_good, now);
                if let (Some(facts), true) = (facts, key.rule.as_str() == "down") {
                    incident.join(facts, now);
                }
                self.incidents.insert(id, incident);
                id
            }
        };
        self.incident_of.insert(key, id);
        self.dirty.insert(id);
    }

    /// Why nobody is to be told. `fresh`: by a run that was bad just now; only such a one shows that it is no longer
    /// what it depends on.
    fn mute_of(&self, key: &AlertKey, severity: Severity, fresh: bool, now: Timestamp) -> Option<Mute> {
        let about = self.about(&key.journey);
        let subject = Subject { alert: key.rule.as_str(), severity: severity.as_str(), journey: &about };
        if let Some(window) = self.settings.maintenance.iter().find(|window| window.covers(subject, now)) {
            return Some(Mute::Maintenance(window.name.clone()));
        }
        if let Some(silence) = self.silences.values().find(|silence| silence.covers(subject, now)) {
            return Some(Mute::Silence(silence.id.clone()));
        }
        let fails = |other: &AlertKey| {
            self.engine.get(other).is_some_and(|alert| match alert.state {
                State::Firing | State::Recovering => true,
                // It failed as well, and has only not been looked at often enough.
                State::Pending => fresh,
                State::Inactive => false,
            })
        };
        if key.rule.as_str() == "no_data" {
            // Runs that say nothing have a reason of their own, which has its own alert.
            let own = crate::ids::JourneyId::new(crate::ids::OWN_JOURNEY).map(|journey| AlertKey {
                journey: JourneyKey { journey, variant: None },
                rule: RuleId::of("impaired"),
            });
            let challenged = AlertKey { journey: key.journey.clone(), rule: RuleId::of("challenged") };
            if let Some(by) = own.into_iter().chain([challenged]).find(|other| fails(other)) {
                return Some(Mute::Inhibited(by));
            }
        }
        self.dependencies(&key.journey).into_iter().find(|other| fails(other)).map(Mute::Inhibited)
    }

    /// Silences and windows begin and end; whoever is no longer muted and still fires is told of now.
    pub(super) fn look_at_mutes(&mut self, now: Timestamp) {
        let mut changed = BTreeSet::new();
        let members: Vec<(u64, AlertKey, Severity, Option<Mute>)> = self
            .incidents
            .values()
            .flat_map(|i| {
                i.members.iter().filter(|m| m.is_open()).map(|m| (i.id, m.alert.clone(), m.severity, m.mute.clone()))
            })
            .collect();
        for (id, key, severity, before) in members {
            let mut mute = self.mute_of(&key, severity, false, now);
            if let (Some(Mute::Inhibited(_)), None) = (&before, &mute)
                && key.rule.as_str() != "no_data"
            {
                // Its next failed run says that it is not over with what it depends on.
                mute.clone_from(&before);
            }
            if mute == before {
                continue;
            }
            let Some(incident) = self.incidents.get_mut(&id) else { continue };
            let what = if mute.is_some() { Happening::Muted } else { Happening::Unmuted };
            let by = mute.as_ref().or(before.as_ref()).map(ToString::to_string).unwrap_or_default();
            if let Some(member) = incident.member_mut(&key) {
                member.mute = mute;
            }
            incident.note(now, what, format!("{}: {by}", key.journey));
            incident.weigh();
            changed.insert(id);
        }
        for id in changed {
            self.dirty.insert(id);
            self.announce(id, now);
        }
    }

    /// Tells of what fires in an incident and was not told of.
    fn announce(&mut self, id: u64, now: Timestamp) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let fresh: Vec<Member> = incident
            .members
            .iter()
            .filter(|m| m.is_open() && !m.announced && m.mute.is_none() && !m.flapping)
            .cloned()
            .collect();
        if fresh.is_empty() {
            return;
        }
        let news = fresh.iter().any(|member| !incident.named.contains(&member.alert));
        let mut to: Vec<(ReceiverId, Pace)> = Vec::new();
        for member in &fresh {
            for (receiver, pace) in self.receivers_for(&member.alert, member.severity) {
                if !to.iter().any(|(known, _)| *known == receiver) && !self.backlog.addresses(&receiver, id) {
                    to.push((receiver, pace));
                }
            }
        }
        self.tell(id, Kind::Updated, Because::JourneyJoined, news, now);
        if !to.is_empty() {
            let Some(message) = self.message(id, Kind::Firing, Because::First, now) else { return };
            if let Some(incident) = self.incidents.get_mut(&id) {
                let sequence = incident.next_message(now);
                self.backlog.fire(&message, sequence, to, now);
            }
            self.name_all(id);
        }
        if let Some(incident) = self.incidents.get_mut(&id) {
            for member in &fresh {
                if let Some(member) = incident.member_mut(&member.alert) {
                    member.announced = true;
                }
            }
        }
        self.dirty.insert(id);
    }

    /// Tells whoever knows of the incident; without `news` only what is still unsent takes it in.
    fn tell(&mut self, id: u64, kind: Kind, because: Because, news: bool, now: Timestamp) -> bool {
        if !self.backlog.takes(id, news) {
            return false;
        }
        let Some(message) = self.message(id, kind, because, now) else { return false };
        self.tell_message(id, &message, news, now)
    }

    fn tell_message(&mut self, id: u64, message: &Message, news: bool, now: Timestamp) -> bool {
        let Some(incident) = self.incidents.get_mut(&id) else { return false };
        let before = (incident.messages, incident.last_message);
        let sequence = incident.next_message(now);
        let taken = self.backlog.update(message, sequence, now, news);
        if taken {
            self.name_all(id);
        } else if let Some(incident) = self.incidents.get_mut(&id) {
            (incident.messages, incident.last_message) = before;
        }
        taken
    }

    /// Its alerts, and those of the same cause on the way, are named in a message.
    fn name_all(&mut self, id: u64) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let mut named: BTreeSet<AlertKey> = incident.members.iter().map(|member| member.alert.clone()).collect();
        named.extend(self.companions(incident).into_iter().map(|(key, _)| key));
        if let Some(incident) = self.incidents.get_mut(&id) {
            incident.named.extend(named);
        }
    }

    /// Alerts on the way to firing that would join the incident.
    fn companions(&self, incident: &Incident) -> Vec<(AlertKey, &Alert)> {
        let open = incident.members.iter().filter(|member| member.is_open());
        let down: BTreeSet<&JourneyId> = open.map(|member| &member.alert.journey.journey).collect();
        self.engine
            .pending()
            .filter(|(key, alert)| {
                let same = |facts: &FailureFacts| self.cause_of(key, Some(facts)).is_same(&incident.cause);
                let depends = || {
                    let journey = self.journeys.get(&key.journey);
                    journey.is_some_and(|j| j.telling.depends_on.iter().any(|(id, _)| down.contains(id)))
                };
                incident.member(key).is_none() && (alert.first_failure.as_ref().is_some_and(same) || depends())
            })
            .map(|(key, alert)| (key.clone(), alert))
            .take(MOST_ALERTS)
            .collect()
    }

    /// An alert is on the way to firing: a message about its cause that is still unsent names it.
    fn may_join(&mut self, key: &AlertKey, alert: &Alert, now: Timestamp) {
        if self.incidents.is_empty() || alert.first_failure.is_none() || key.rule.as_str() != "down" {
            return;
        }
        let cause = self.cause_of(key, alert.first_failure.as_ref());
        let joins = |incident: &&Incident| {
            incident.cause.is_same(&cause) && !incident.named.contains(key) && incident.named.len() < MOST_MEMBERS
        };
        if let Some(id) = self.incidents.values().find(joins).map(|incident| incident.id)
            && self.tell(id, Kind::Updated, Because::JourneyJoined, false, now)
        {
            self.dirty.insert(id);
        }
    }

    /// Another failed run of a journey in an incident.
    pub(super) fn failed_again(
        &mut self,
        journey: &JourneyKey,
        facts: &FailureFacts,
        now: Timestamp,
        verdict: &mut Verdict,
    ) {
        let key = AlertKey { journey: journey.clone(), rule: RuleId::down() };
        let Some(id) = self.incident_of.get(&key).copied() else { return };
        let Some(alert) = self.engine.get(&key) else { return };
        let (failures, detail) = (alert.failures, alert.detail.clone());
        let severity = self.engine.rule(&key).map_or(Severity::Critical, |rule| rule.severity);
        let mute = self.mute_of(&key, severity, false, now);
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        let lines = incident.timeline.len();
        let mut freed = false;
        if let Some(member) = incident.member_mut(&key).filter(|member| member.is_open()) {
            member.failed_runs = failures;
            member.detail = detail;
            if matches!(member.mute, Some(Mute::Inhibited(_))) && mute.is_none() {
                member.mute = None;
                freed = true;
            }
        }
        let is_first = incident.alert == key;
        if is_first {
            incident.failed_runs = failures;
        }
        let flaps = incident.member(&key).is_some_and(|member| member.flapping);
        let joined = is_first && incident.join(facts, now) && !flaps;
        if freed {
            // It was named as one that only depends on another: that it fails by itself is news.
            incident.named.remove(&key);
            incident.note(now, Happening::Unmuted, format!("{journey} fails on its own"));
            incident.weigh();
        }
        // The number of failed runs alone is the alert's; writing all of it for each would be the store's main work.
        verdict.incident_went_on = true;
        let changed = incident.timeline.len() > lines;
        if joined && let Some(mut message) = self.message(id, Kind::Updated, Because::StepJoined, now) {
            message.failure = Some(facts.clone());
            self.tell_message(id, &message, true, now);
        }
        if freed {
            self.announce(id, now);
        } else if changed {
            self.dirty.insert(id);
        }
    }

    /// An alert is over.
    fn ends(&mut self, key: &AlertKey, why: Why, now: Timestamp, verdict: &mut Verdict) {
        let Some(id) = self.incident_of.get(key).copied() else { return };
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        if let Some(member) = incident.member_mut(key) {
            member.resolved_at.get_or_insert(now);
            if why == Why::Removed {
                member.flapping = false;
            }
        }
        if incident.is_over() {
            self.close(id, why, now, verdict);
            return;
        }
        incident.note(now, Happening::MemberResolved, format!("{} ({})", key.journey, key.rule));
        incident.weigh();
        // Receivers that keep state are told of each alert's end; people of the last.
        self.tell(id, Kind::Updated, Because::JourneyJoined, false, now);
        self.dirty.insert(id);
    }

    fn close(&mut self, id: u64, why: Why, now: Timestamp, verdict: &mut Verdict) {
        let Some(message) = self.resolved_message(id, why, now) else { return };
        let Some(mut incident) = self.incidents.remove(&id) else { return };
        self.incident_of.retain(|_, of| *of != id);
        incident.resolve(why, now);
        let sequence = incident.next_message(now);
        self.backlog.resolve(&message, sequence, now);
        verdict.writes.push(Write::Incident(Box::new(incident.clone())));
        if self.backlog.concerns(incident.id) {
            self.closing.insert(incident.id, incident.clone());
        }
        verdict.resolved.push(incident);
    }

    fn resolved_message(&self, id: u64, why: Why, now: Timestamp) -> Option<Message> {
        let mut message = self.message(id, Kind::Resolved, why.into(), now)?;
        message.resolved_at = Some(now);
        Some(message)
    }

    fn begins_to_flap(&mut self, key: &AlertKey, alert: &Alert, facts: Option<&FailureFacts>, now: Timestamp) {
        // It may be a good run that shows it; what was wrong is what failed last.
        let last = self.standings.get(&key.journey).and_then(|standing| standing.last_failure.clone());
        let facts = facts.or(last.as_ref());
        let known = self.incident_of.get(key).copied();
        let told_before =
            known.and_then(|id| self.incidents.get(&id)?.member(key)).is_some_and(|member| member.announced);
        let mut member = self.member(key, alert, now);
        if let Some(facts) = facts {
            member.detail = failed_at(facts);
        }
        member.flapping = true;
        member.announced = member.mute.is_none();
        if !alert.is_active() {
            member.resolved_at = Some(now);
        }
        let muted = member.mute.is_some();
        match known.and_then(|id| self.incidents.get_mut(&id)).and_then(|incident| incident.member_mut(key)) {
            Some(member) => member.flapping = true,
            None => self.enter(member.clone(), alert, facts, now),
        }
        let Some(id) = self.incident_of.get(key).copied() else { return };
        if let Some(incident) = self.incidents.get_mut(&id) {
            incident.note(now, Happening::FlappingStarted, key.journey.to_string());
        }
        let Some(message) = self.message(id, Kind::Flapping, Because::FlappingStarted, now) else { return };
        if told_before {
            self.tell_message(id, &message, true, now);
        } else if !muted {
            let mut to = self.receivers_for(key, member.severity);
            to.retain(|(receiver, _)| !self.backlog.addresses(receiver, id));
            self.tell_message(id, &message, true, now);
            if let Some(incident) = self.incidents.get_mut(&id) {
                let sequence = incident.next_message(now);
                self.backlog.fire(&message, sequence, to, now);
                if let Some(member) = incident.member_mut(key) {
                    member.announced = true;
                }
            }
        }
        self.dirty.insert(id);
    }

    fn ceases_to_flap(&mut self, key: &AlertKey, alert: &Alert, now: Timestamp, verdict: &mut Verdict) {
        let Some(id) = self.incident_of.get(key).copied() else { return };
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        incident.note(now, Happening::FlappingEnded, key.journey.to_string());
        if let Some(member) = incident.member_mut(key) {
            member.flapping = false;
            if !alert.is_active() {
                member.resolved_at.get_or_insert(now);
            }
        }
        if incident.is_over() {
            self.close(id, Why::FlappingEnded, now, verdict);
            return;
        }
        if alert.is_active() {
            self.tell(id, Kind::Updated, Because::FlappingEnded, true, now);
        }
        self.dirty.insert(id);
        self.announce(id, now);
    }

    /// People who have not acknowledged are reminded, and others are asked.
    pub(super) fn remind(&mut self, now: Timestamp) {
        let ids: Vec<u64> = self.incidents.keys().copied().collect();
        for id in ids {
            let Some(incident) = self.incidents.get(&id) else { continue };
            let told: Vec<&Member> = incident
                .members
                .iter()
                .filter(|m| m.announced && m.mute.is_none() && (m.is_open() || m.flapping))
                .collect();
            if told.is_empty() {
                continue;
            }
            let flapping = told.iter().all(|member| member.flapping);
            let since = now.since(incident.last_message.unwrap_or(incident.opened_at));
            if flapping {
                if since >= FLAPPING_EVERY && self.tell(id, Kind::Flapping, Because::StillFiring, true, now) {
                    self.dirty.insert(id);
                }
                continue;
            }
            if incident.acknowledged.is_some() {
                continue;
            }
            let telling =
                self.journeys.get(&incident.alert.journey).map(|j| (j.telling.repeat_every, j.telling.max_reminders));
            let (every, most) = telling.unwrap_or((Duration::from_secs(4 * 3600), 6));
            if !every.is_zero() && since >= every && incident.reminders < most {
                let number = incident.reminders + 1;
                if let Some(incident) = self.incidents.get_mut(&id) {
                    incident.reminders = number;
                    incident.note(now, Happening::Reminded, number.to_string());
                }
                if let Some(mut message) = self.message(id, Kind::Reminder, Because::StillFiring, now) {
                    message.repeat = number;
                    self.tell_message(id, &message, true, now);
                }
                self.dirty.insert(id);
            }
            self.escalate(id, now);
        }
    }

    fn escalate(&mut self, id: u64, now: Timestamp) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let age = now.since(incident.opened_at);
        let mut to: Vec<(ReceiverId, Pace)> = Vec::new();
        for member in incident.members.iter().filter(|m| m.announced && m.is_open() && m.mute.is_none()) {
            let about = self.about(&member.alert.journey);
            let subject =
                Subject { alert: member.alert.rule.as_str(), severity: member.severity.as_str(), journey: &about };
            for (after, receiver, pace) in escalations_of(&self.settings.notify.routes, subject) {
                let known = to.iter().any(|(known, _)| *known == receiver) || self.backlog.addresses(&receiver, id);
                if after <= age && !known {
                    // Whoever is asked now is asked at once.
                    to.push((receiver, Pace { group_wait: Duration::ZERO, ..pace }));
                }
            }
        }
        if to.is_empty() {
            return;
        }
        let names: Vec<String> = to.iter().map(|(receiver, _)| receiver.to_string()).collect();
        let Some(message) = self.message(id, Kind::Firing, Because::Escalated, now) else { return };
        if let Some(incident) = self.incidents.get_mut(&id) {
            incident.note(now, Happening::Escalated, names.join(", "));
            // Reminders go on by their own time.
            let last = incident.last_message;
            let sequence = incident.next_message(now);
            incident.last_message = last;
            self.backlog.fire(&message, sequence, to, now);
        }
        self.dirty.insert(id);
    }

    /// Somebody looks after it, or no longer does.
    pub(super) fn acknowledge(
        &mut self,
        id: u64,
        acknowledgement: Option<Acknowledgement>,
        now: Timestamp,
    ) -> Result<String, String> {
        let Some(incident) = self.incidents.get_mut(&id) else {
            return Err(format!("there is no open incident {id}"));
        };
        let by = acknowledgement
            .as_ref()
            .map(|a| if a.note.is_empty() { a.author.clone() } else { format!("{}: {}", a.author, a.note) });
        let what = if by.is_some() { Happening::Acknowledged } else { Happening::Unacknowledged };
        let is_news = acknowledgement.is_some();
        incident.acknowledged = acknowledgement;
        incident.note(now, what, by.unwrap_or_default());
        self.tell(id, Kind::Updated, Because::Acknowledged, is_news, now);
        self.dirty.insert(id);
        Ok(id.to_string())
    }

    pub(super) fn about(&self, key: &JourneyKey) -> About {
        let location = &self.settings.location;
        match self.journeys.get(key) {
            Some(journey) => About::of(journey, key, location),
            None if Self::is_own(key) => {
                let title =
                    key.variant.as_ref().map_or("journeyd itself".to_owned(), |r| format!("journeyd's receiver {r}"));
                About { title, ..About::unknown(key, location) }
            }
            None => About::unknown(key, location),
        }
    }

    fn receivers_for(&self, key: &AlertKey, severity: Severity) -> Vec<(ReceiverId, Pace)> {
        let notify = &self.settings.notify;
        let about = self.about(&key.journey);
        let subject = Subject { alert: key.rule.as_str(), severity: severity.as_str(), journey: &about };
        let all = || notify.receivers.keys().cloned();
        let mut to = receivers_of(&notify.routes, all(), subject);
        if Self::is_own(&key.journey) {
            let failing = key.journey.variant.as_ref().map(|variant| variant.as_str());
            to.retain(|(id, _)| Some(id.as_str()) != failing);
            if to.is_empty() {
                // What no route takes must not be lost: it says that others may be.
                let others = all().filter(|id| Some(id.as_str()) != failing);
                to = others.map(|id| (id, Pace::default())).collect();
            }
        }
        to
    }

    /// What an incident has to say.
    pub(super) fn message(&self, id: u64, kind: Kind, because: Because, now: Timestamp) -> Option<Message> {
        let incident = self.incidents.get(&id)?;
        let inhibited = |member: &&Member| matches!(member.mute, Some(Mute::Inhibited(_)));
        // The first that is not only there because of another; the one that opened it, if it can be.
        let speaks =
            |member: &&Member| (kind == Kind::Resolved || member.is_open() || member.flapping) && !inhibited(member);
        let lead = incident
            .member(&incident.alert)
            .filter(|member| speaks(member))
            .or_else(|| incident.members.iter().find(speaks))
            .or_else(|| incident.members.first())?;
        let key = &lead.alert.journey;
        let mut message = Message::of(incident, kind, because, self.about(key), now);
        if lead.alert != incident.alert {
            let alert = self.engine.get(&lead.alert);
            message.rule = lead.alert.rule.clone();
            message.failure = alert.and_then(|alert| alert.first_failure.clone());
            message.last_good = alert.and_then(|alert| alert.last_good);
            message.steps = message.failure.iter().map(|facts| facts.step.clone()).collect();
            message.failed_runs = lead.failed_runs;
        }
        message.detail.clone_from(&lead.detail);
        message.config.clone_from(&self.settings.config);
        let fact = |member: &Member| AlertFact {
            rule: member.alert.rule.clone(),
            severity: member.severity,
            journey: self.about(&member.alert.journey),
            standing: match (&member.mute, member.is_open() || member.flapping) {
                (_, false) => Standing::Resolved,
                (Some(Mute::Inhibited(_)), true) => Standing::Inhibited,
                _ => Standing::Firing,
            },
            started_at: member.started_at,
            resolved_at: member.resolved_at.filter(|_| !member.flapping),
            detail: member.detail.clone(),
            failed_runs: member.failed_runs,
        };
        message.alerts.push(fact(lead));
        // What is silenced is nobody's business who did not ask.
        let quiet = |member: &&Member| {
            matches!(member.mute, Some(Mute::Silence(_) | Mute::Maintenance(_))) && !member.announced
        };
        let others = incident.members.iter().filter(|member| member.alert != lead.alert && !quiet(member));
        message.alerts.extend(others.map(fact));
        if kind != Kind::Resolved {
            message.alerts.extend(self.companions(incident).into_iter().map(|(key, alert)| AlertFact {
                rule: key.rule.clone(),
                severity: self.engine.rule(&key).map_or(Severity::Critical, |rule| rule.severity),
                journey: self.about(&key.journey),
                standing: Standing::Pending,
                started_at: alert.first_failure.as_ref().map_or(now, |facts| facts.at),
                resolved_at: None,
                detail: alert.detail.clone(),
                failed_runs: alert.failures,
            }));
        }
        message.alerts.truncate(MOST_ALERTS);
        message.slos = self.cost_of(incident, key, now).into_iter().collect();
        for (other, standing) in &self.standings {
            if other.journey == key.journey
                && other != key
                && let Some(variant) = &other.variant
            {
                match standing.last.up {
                    Some(true) => message.works_for.push(variant.clone()),
                    Some(false) => message.fails_for.push(variant.clone()),
                    None => {}
                }
            }
        }
        Some(message)
    }
}
