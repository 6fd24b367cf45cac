//! Who is told of an incident, what, and when again. Pure; `now` is an argument.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::alert::{Alert, AlertKey, Why};
use crate::clock::Timestamp;
use crate::ids::{JourneyId, JourneyKey, ReceiverId};
use crate::incident::{Acknowledgement, Happening, Incident, Member, Mute};
use crate::journey::Severity;
use crate::notify::message::{About, AlertFact, Because, Kind, Message, Standing};
use crate::notify::route::{Pace, Subject, escalations_of, receivers_of};
use crate::pipeline::judge::Judge;
use crate::report::FailureFacts;

/// How often an alert that flaps is spoken of.
const FLAPPING_EVERY: Duration = Duration::from_secs(3600);
/// Alerts that a message carries; the rest is in the API.
const MOST_ALERTS: usize = 500;

impl Judge {
    /// Tells of what fires in an incident and was not told of.
    pub(super) fn announce(&mut self, id: u64, now: Timestamp) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let fresh: Vec<Member> = incident
            .members
            .iter()
            .filter(|m| (m.is_open() || m.flapping) && !m.announced && m.mute.is_none())
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
        if self.backlog.takes(id, news)
            && let Some(mut message) = self.message(id, Kind::Updated, Because::JourneyJoined, now)
        {
            message.news = fresh.iter().map(|member| member.alert.journey.to_string()).take(10).collect();
            self.tell_message(id, &message, news, now);
        }
        if !to.is_empty() {
            let (kind, because) = if fresh.iter().all(|member| member.flapping) {
                (Kind::Flapping, Because::FlappingStarted)
            } else {
                (Kind::Firing, Because::First)
            };
            let Some(message) = self.message(id, kind, because, now) else { return };
            if let Some(incident) = self.incidents.get_mut(&id) {
                let sequence = incident.next_message(now);
                self.backlog.fire(&message, sequence, to, now);
            }
            self.name_all(id, now);
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
    pub(super) fn tell(&mut self, id: u64, kind: Kind, because: Because, news: bool, now: Timestamp) -> bool {
        if !self.backlog.takes(id, news) {
            return false;
        }
        let Some(message) = self.message(id, kind, because, now) else { return false };
        self.tell_message(id, &message, news, now)
    }

    pub(super) fn tell_message(&mut self, id: u64, message: &Message, news: bool, now: Timestamp) -> bool {
        let Some(incident) = self.incidents.get_mut(&id) else { return false };
        let before = (incident.messages, incident.last_message);
        let sequence = incident.next_message(now);
        let taken = self.backlog.update(message, sequence, now, news);
        if taken {
            if let (false, Some(incident)) = (news, self.incidents.get_mut(&id)) {
                // What only became part of an unsent message is none of its own.
                incident.last_message = before.1;
            }
            self.name_all(id, now);
        } else if let Some(incident) = self.incidents.get_mut(&id) {
            (incident.messages, incident.last_message) = before;
        }
        taken
    }

    /// Its alerts, and those of the same cause on the way, are named in a message.
    pub(super) fn name_all(&mut self, id: u64, now: Timestamp) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let mut named: BTreeSet<AlertKey> =
            incident.members.iter().filter(|m| !m.is_quiet()).map(|member| member.alert.clone()).collect();
        named.extend(self.companions(incident, now).into_iter().map(|(key, _)| key));
        if let Some(incident) = self.incidents.get_mut(&id) {
            incident.named.extend(named);
        }
    }

    /// Alerts on the way to firing that would join the incident.
    pub(super) fn companions(&self, incident: &Incident, now: Timestamp) -> Vec<(AlertKey, &Alert)> {
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
                incident.member(key).is_none()
                    && (alert.first_failure.as_ref().is_some_and(same) || depends())
                    && !self.is_silenced(key, now)
            })
            .map(|(key, alert)| (key.clone(), alert))
            .take(MOST_ALERTS)
            .collect()
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
            let last = incident.last_message.unwrap_or(incident.opened_at);
            if last > now {
                // The clock was set back: what is to come counts from here.
                if let Some(incident) = self.incidents.get_mut(&id) {
                    incident.last_message = Some(now);
                    for member in &mut incident.members {
                        member.fired_at = member.fired_at.min(now);
                    }
                }
                self.dirty.insert(id);
                continue;
            }
            let since = now.since(last);
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

    pub(super) fn escalate(&mut self, id: u64, now: Timestamp) {
        let Some(incident) = self.incidents.get(&id) else { return };
        let mut to: Vec<(ReceiverId, Pace)> = Vec::new();
        for member in incident.members.iter().filter(|m| m.announced && m.is_open() && m.mute.is_none()) {
            let about = self.about(&member.alert.journey);
            let subject =
                Subject { alert: member.alert.rule.as_str(), severity: member.severity.as_str(), journey: &about };
            for (after, receiver, pace) in escalations_of(&self.settings.notify.routes, subject) {
                let known = to.iter().any(|(known, _)| *known == receiver) || self.backlog.addresses(&receiver, id);
                // From the alert's own beginning: a graver one may have joined later.
                if after <= now.since(member.fired_at) && !known {
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
        let same = |old: &Acknowledgement, new: &Acknowledgement| old.author == new.author && old.note == new.note;
        if let (Some(old), Some(new)) = (&incident.acknowledged, &acknowledgement)
            && same(old, new)
        {
            // Said already.
            return Ok(id.to_string());
        }
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

    pub(super) fn receivers_for(&self, key: &AlertKey, severity: Severity) -> Vec<(ReceiverId, Pace)> {
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
        let speaks = |member: &&Member| {
            (kind == Kind::Resolved || member.is_open() || member.flapping) && !inhibited(member) && !member.is_quiet()
        };
        let lead = incident
            .member(&incident.alert)
            .filter(|member| speaks(member) && member.severity <= incident.severity)
            .or_else(|| incident.members.iter().filter(speaks).min_by_key(|member| member.severity))
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
        message.since = lead.started_at;
        let standing = self.standings.get(key);
        let good = standing.and_then(|standing| standing.last.last_success);
        message.last_good = message.last_good.or(good);
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
        let others = incident.members.iter().filter(|member| member.alert != lead.alert && !member.is_quiet());
        message.alerts.extend(others.map(fact));
        if kind != Kind::Resolved {
            message.alerts.extend(self.companions(incident, now).into_iter().map(|(key, alert)| AlertFact {
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
        if lead.alert.rule.as_str() == "down" {
            message.slos = self.cost_of(incident, key, now).into_iter().collect();
        }
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

    pub(super) fn resolved_message(&self, id: u64, why: Why, now: Timestamp) -> Option<Message> {
        let mut message = self.message(id, Kind::Resolved, why.into(), now)?;
        // When the last of them passed again: a rule over a window takes longer to see that it is over.
        let down = message.alerts.iter().filter(|fact| fact.rule.as_str() == "down");
        message.resolved_at = down.filter_map(|fact| fact.resolved_at).max().or(Some(now));
        Some(message)
    }
}
