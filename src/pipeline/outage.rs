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
use crate::ids::{JourneyKey, RuleId};
use crate::incident::{Cause, Happening, Incident, Member, Mute};
use crate::journey::Severity;
use crate::journey::rule::RuleKind;
use crate::notify::message::{Because, Kind, failed_at};
use crate::notify::route::Subject;
use crate::pipeline::judge::{Judge, Verdict, has_ended};
use crate::report::FailureFacts;
use crate::store::Write;

/// Alerts of one incident; an outage of more is several, each of which can still be read and written.
const MOST_MEMBERS: usize = 500;
/// Journeys that fall silent within this time are one outage.
const AT_ONCE: Duration = Duration::from_secs(600);

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

    pub(super) fn cause_of(&self, key: &AlertKey, facts: Option<&FailureFacts>) -> Cause {
        match facts {
            Some(facts) if key.rule.as_str() == "down" => {
                Cause::of(facts, self.journeys.get(&key.journey).map_or("", |journey| &journey.file))
            }
            _ => Cause::of_rule(key.rule.as_str()),
        }
    }

    /// The down alerts of the journeys that `key`'s journey depends on.
    fn dependencies(&self, key: &JourneyKey) -> Vec<AlertKey> {
        let Some(journey) = self.journeys.get(key).filter(|j| !j.telling.depends_on.is_empty()) else {
            return Vec::new();
        };
        let wanted = |other: &&JourneyKey| journey.telling.depends_on.iter().any(|(id, _)| *id == other.journey);
        let down = |other: &JourneyKey| AlertKey { journey: other.clone(), rule: RuleId::down() };
        self.journeys.keys().filter(wanted).map(down).collect()
    }

    /// Whether a rule is about how runs of its journey go; certificates, silence and left-over data are stories of their
    /// own.
    fn is_face(&self, key: &AlertKey) -> bool {
        use RuleKind::{BurnRate, Degraded, Down, ErrorRate, Latency};
        let kind = self.engine.rule(key).map(|rule| &rule.kind);
        matches!(kind, Some(Down | Degraded | ErrorRate { .. } | Latency { .. } | BurnRate { .. }))
    }

    fn place_for(&self, key: &AlertKey, cause: &Cause, now: Timestamp) -> Option<u64> {
        if let Some(id) = self.incident_of.get(key) {
            return Some(*id);
        }
        if Self::is_own(&key.journey) {
            return None;
        }
        let open_member = |id: &u64, journey: &JourneyKey| {
            self.incidents.get(id).is_some_and(|i| i.members.iter().any(|m| m.alert.journey == *journey && m.is_open()))
        };
        // Another rule about the same journey is another face of the same outage, unless it is a graver one: that must
        // not hide behind a warning that has been open for weeks.
        let severity = self.engine.rule(key).map_or(Severity::Critical, |rule| rule.severity);
        let not_worse = |id: &u64| self.incidents.get(id).is_some_and(|incident| severity >= incident.severity);
        let first = AlertKey { journey: key.journey.clone(), rule: RuleId::of("") };
        let of_journey = self.incident_of.range(first..).take_while(|(alert, _)| alert.journey == key.journey);
        let faces = of_journey.filter(|(alert, _)| self.is_face(alert) && self.is_face(key)).map(|(_, id)| *id);
        if let Some(id) = faces.into_iter().find(|id| open_member(id, &key.journey) && not_worse(id)) {
            return Some(id);
        }
        for dependency in self.dependencies(&key.journey) {
            if let Some(id) = self.incident_of.get(&dependency).filter(|id| open_member(id, &dependency.journey)) {
                return Some(*id);
            }
        }
        let depended_on = key.rule.as_str() == "down" && self.depended_on.contains(&key.journey.journey);
        for incident in self.incidents.values().filter(|_| depended_on) {
            let dependent = incident.members.iter().filter(|m| m.is_open()).any(|member| {
                let journey = self.journeys.get(&member.alert.journey);
                journey.is_some_and(|j| j.telling.depends_on.iter().any(|(id, _)| *id == key.journey.journey))
            });
            if dependent {
                return Some(incident.id);
            }
        }
        let fits = |incident: &&Incident| {
            // What no failed run explains is one only if it came over all of them at once.
            let at_once = cause.rule.is_empty() || now.since(incident.opened_at) < AT_ONCE;
            let steady = incident.members.iter().any(|member| member.is_open() && !member.flapping);
            incident.cause.is_same(cause) && at_once && steady && incident.members.len() < MOST_MEMBERS
        };
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
        // One that flaps is a story of its own, unless it is told already.
        let alone = member.flapping && !self.incident_of.contains_key(&key);
        let place = if alone { None } else { self.place_for(&key, &cause, now) };
        let id = match place.filter(|id| self.incidents.contains_key(id)) {
            Some(id) => {
                if let Some(incident) = self.incidents.get_mut(&id) {
                    let before = incident.severity;
                    incident.enter(member, now);
                    if incident.severity < before {
                        // Who looked after a warning does not look after this.
                        incident.acknowledged = None;
                        incident.reminders = 0;
                    }
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

    /// Whether somebody wants quiet about an alert.
    pub(super) fn is_silenced(&self, key: &AlertKey, now: Timestamp) -> bool {
        let severity = self.engine.rule(key).map_or(Severity::Critical, |rule| rule.severity);
        matches!(self.mute_of(key, severity, false, now), Some(Mute::Silence(_) | Mute::Maintenance(_)))
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
                && key.rule.as_str() == "down"
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
            self.withdraw(id, now);
            self.tell(id, Kind::Updated, Because::JourneyJoined, false, now);
            self.dirty.insert(id);
            self.announce(id, now);
        }
    }

    /// Quiet began before anybody was told: what still waits is not sent.
    fn withdraw(&mut self, id: u64, now: Timestamp) {
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        let quiet = |member: &Member| matches!(member.mute, Some(Mute::Silence(_) | Mute::Maintenance(_)));
        let open = |member: &&mut Member| member.is_open() || member.flapping;
        if incident.members.iter_mut().filter(open).all(|member| quiet(member)) && self.backlog.withdraw(id, now) {
            for member in incident.members.iter_mut().filter(open) {
                member.announced = false;
                incident.named.remove(&member.alert);
            }
        }
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
                member.announced = false;
                freed = true;
            }
        }
        let is_first = incident.alert == key;
        if is_first {
            incident.failed_runs = failures;
        }
        let quiet = incident.member(&key).is_some_and(|member| member.flapping || member.mute.is_some());
        let joined = is_first && incident.join(facts, now) && !quiet;
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
            self.dirty.insert(id);
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
            // Whose journey left is not what became of those that passed again.
            let others = incident.members.iter().any(|member| member.alert != *key);
            let why = if why == Why::Removed && others { Why::RecoverAfterReached } else { why };
            self.close(id, why, now, verdict);
            return;
        }
        if incident.member(key).is_some_and(|member| member.flapping) {
            // Back and forth: that is what it is quiet about.
            self.dirty.insert(id);
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

    fn begins_to_flap(&mut self, key: &AlertKey, alert: &Alert, facts: Option<&FailureFacts>, now: Timestamp) {
        // It may be a good run that shows it; what was wrong is what failed last.
        let last = self.standings.get(&key.journey).and_then(|standing| standing.last_failure.clone());
        let facts = facts.or(last.as_ref());
        self.part(key, now);
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
        if muted {
            // Its end is told, and so is whatever still is when nobody wants quiet any more.
        } else if told_before {
            self.tell_message(id, &message, true, now);
        } else {
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

    /// One that flaps among others that are simply down is a story of its own: it must neither call them flapping nor
    /// keep their end waiting.
    fn part(&mut self, key: &AlertKey, now: Timestamp) {
        let Some(id) = self.incident_of.get(key).copied() else { return };
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        let steady = |member: &&Member| member.alert != *key && member.is_open() && !member.flapping;
        let Some(other) = incident.members.iter().find(steady).map(|member| member.alert.clone()) else { return };
        incident.members.retain(|member| member.alert != *key);
        if incident.alert == *key {
            incident.alert = other;
        }
        incident.note(now, Happening::FlappingStarted, format!("{}: an incident of its own from here", key.journey));
        incident.weigh();
        self.incident_of.remove(key);
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
        let muted = self.incidents.get(&id).and_then(|i| i.member(key)).is_some_and(|member| member.mute.is_some());
        if alert.is_active() && !muted {
            self.tell(id, Kind::Updated, Because::FlappingEnded, true, now);
        }
        self.dirty.insert(id);
        self.announce(id, now);
    }
}
