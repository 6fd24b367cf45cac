//! `[[routes]]`: who is told of what; and what of receivers and routes can never work.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use crate::config::fields::{escalation, route};
use crate::diag::{Diagnostic, Place, SourceFile, Span};
use crate::document::{Field, Node, TableReader, as_text};
use crate::ids::{JourneyKey, ReceiverId, nearest};
use crate::journey::{Journey, Severity};
use crate::notify::NotifySettings;
use crate::notify::message::About;
use crate::notify::route::{GROUP_INTERVAL, GROUP_WAIT, KEYS, Match, Pace, Route, Subject, receivers_of};

/// The rule that every journey has.
const RULE: &str = "down";

/// Reads `[[routes]]`; `names` are all receivers, also those that have mistakes of their own.
pub fn routes(tables: &[TableReader<'_, '_, '_>], names: &[String]) -> Vec<Route> {
    tables
        .iter()
        .map(|table| {
            let pace = Pace {
                group_wait: table
                    .duration(&route::GROUP_WAIT_, std::time::Duration::ZERO)
                    .map_or(GROUP_WAIT, Spanned::into_inner),
                group_interval: table
                    .duration(&route::GROUP_INTERVAL_, std::time::Duration::ZERO)
                    .map_or(GROUP_INTERVAL, Spanned::into_inner),
            };
            if table.get(&route::TO).is_none() {
                table.missing(&route::TO, "the route", "for example to = [\"ops-chat\"]; an empty list tells nobody");
            }
            let to = read_receivers(table, &route::TO, names);
            let escalate = read_escalation(table, names);
            Route {
                matches: read_match(table, &route::MATCH),
                to,
                escalate,
                and_on: table.boolean(&route::CONTINUE).unwrap_or(false),
                pace,
            }
        })
        .collect()
}

/// A list of receivers that there are.
fn read_receivers(table: &TableReader<'_, '_, '_>, field: &'static Field, names: &[String]) -> Vec<ReceiverId> {
    let mut to = Vec::new();
    for name in table.texts(field).unwrap_or_default() {
        if !names.contains(&name.value) {
            let near = nearest(&name.value, names.iter().map(String::as_str));
            let message = format!("there is no receiver `{}`", name.value);
            let diagnostic = table.source.error(name.span, message, "not in [receivers]");
            table.source.push(diagnostic.help_if(near.map(|n| format!("did you mean `{n}`?"))));
        } else if let Some(id) = ReceiverId::new(&name.value) {
            to.push(id);
        }
    }
    to
}

fn read_escalation(table: &TableReader<'_, '_, '_>, names: &[String]) -> Vec<(Duration, Vec<ReceiverId>)> {
    let mut out = Vec::new();
    for step in table.tables(&route::ESCALATE, &escalation::TABLE) {
        if step.get(&escalation::AFTER).is_none() {
            step.missing(&escalation::AFTER, "the escalation step", "for example after = \"15m\"");
        }
        if step.get(&escalation::TO).is_none() {
            step.missing(&escalation::TO, "the escalation step", "for example to = [\"on-call\"]");
        }
        let to = read_receivers(&step, &escalation::TO, names);
        if let Some(after) = step.duration(&escalation::AFTER, Duration::from_secs(1)) {
            out.push((after.into_inner(), to));
        }
    }
    out
}

/// `match` of a route or a maintenance window.
pub fn read_match(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<Match> {
    let mut out = Vec::new();
    for (key, node) in table.entries(field) {
        let source = &table.source;
        let label = key.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !key.value.starts_with(|c: char| c.is_ascii_digit());
        if !label {
            let message = format!("`{}` cannot be matched", key.value);
            let label = format!("expected {} or a label of a journey", KEYS.join(", "));
            source.push(source.error(key.span.clone(), message, label));
            continue;
        }
        let items: Vec<&Node<'_>> = match node.get_ref().as_array() {
            Some(list) => list.iter().collect(),
            None => vec![node],
        };
        let mut values = Vec::new();
        for item in items {
            let Some(text) = as_text(source, item) else {
                source.wrong_type(
                    item.span(),
                    &format!("`{}`", key.value),
                    "a string or a list of strings",
                    item.get_ref(),
                );
                continue;
            };
            let known: &[&str] = match key.value.as_str() {
                "severity" => &Severity::NAMES.map(|(name, _)| name),
                _ => &[],
            };
            if !known.is_empty() && !known.contains(&text.value.as_str()) {
                let near = nearest(&text.value, known.iter().copied());
                let message = format!("there is no {} `{}`", key.value, text.value);
                let diagnostic = source.error(text.span, message, format!("expected {}", known.join(", ")));
                source.push(diagnostic.help_if(near.map(|n| format!("did you mean \"{n}\"?"))));
            }
            values.push(text.value);
        }
        out.push(Match { key: key.value, values });
    }
    out
}

/// Receivers that fall back on each other: what one refuses would end with nobody.
fn check_fallbacks(settings: &NotifySettings, file: &Arc<SourceFile>) -> Vec<Diagnostic> {
    let next = |id: &ReceiverId| settings.receivers.get(id).and_then(|r| r.fallback.clone());
    let mut told: Vec<ReceiverId> = Vec::new();
    let mut out = Vec::new();
    for id in settings.receivers.keys() {
        let mut chain = vec![id.clone()];
        while let Some(then) = chain.last().and_then(&next).filter(|then| !chain[1..].contains(then)) {
            chain.push(then.clone());
            if then == *id {
                break;
            }
        }
        if chain.len() < 2 || chain.last() != Some(id) || told.contains(id) {
            continue;
        }
        told.extend(chain.iter().cloned());
        let name = format!("[receivers.{id}]");
        let span = file.text.find(&name).map_or(0..0, |at| at..at + name.len());
        let names: Vec<&str> = chain.iter().map(ReceiverId::as_str).collect();
        out.push(
            Diagnostic::error(
                Place { file: Arc::clone(file), span },
                format!("receivers fall back on each other: {}", names.join(" -> ")),
            )
            .label("a circle")
            .help("leave `fallback` out at the last one that should be tried"),
        );
    }
    out
}

/// `whole`: these are all journeys of the configuration. Journeys whose alerts go nowhere though there are receivers, and receivers that nothing goes to.
pub fn check_routes(
    settings: &NotifySettings,
    journeys: &[Arc<Journey>],
    location: &str,
    file: &Arc<SourceFile>,
    whole: bool,
) -> Vec<Diagnostic> {
    let mut out = check_fallbacks(settings, file);
    if settings.receivers.is_empty() || settings.routes.is_empty() {
        return out;
    }
    let mark = file.text.find("[[routes]]").map_or(0..0, |at| at..at + "[[routes]]".len());
    let place = |span: Span| Place { file: Arc::clone(file), span };
    let mut untold = Vec::new();
    for journey in journeys.iter().filter(|j| j.enabled) {
        let reaches = |key: &JourneyKey| {
            let about = About::of(journey, key, location);
            let subject = Subject { alert: RULE, severity: journey.severity.as_str(), journey: &about };
            !receivers_of(&settings.routes, settings.receivers.keys().cloned(), subject).is_empty()
        };
        if journey.plans.iter().any(|plan| !reaches(&plan.key)) {
            untold.push(journey.id.as_str());
        }
    }
    if let Some(first) = untold.first() {
        let more = if untold.len() > 1 { format!(" and {} more", untold.len() - 1) } else { String::new() };
        out.push(
            Diagnostic::warning(place(mark), format!("no route takes the alerts of `{first}`{more}"))
                .label("nobody is told of them")
                .help("a last [[routes]] without `match` takes what is left"),
        );
    }
    if whole {
        out.extend(check_matches(settings, journeys, location, file));
    }
    let reached = |id: &ReceiverId| {
        settings.routes.iter().any(|r| r.to.contains(id) || r.escalate.iter().any(|(_, to)| to.contains(id)))
            || settings.receivers.values().any(|r| r.fallback.as_ref() == Some(id))
    };
    for id in settings.receivers.keys().filter(|id| !reached(id)) {
        let name = format!("[receivers.{id}]");
        let span = file.text.find(&name).map_or(0..0, |at| at..at + name.len());
        out.push(
            Diagnostic::warning(place(span), format!("no route goes to the receiver `{id}`"))
                .label("it is never told anything")
                .help("name it in a route's `to`, or remove it"),
        );
    }
    out
}

/// Whether a route takes alerts of journeyd itself.
fn takes_own(route: &Route, location: &str) -> bool {
    let Some(journey) = crate::ids::JourneyId::new(crate::ids::OWN_JOURNEY) else { return false };
    let about = About::unknown(&JourneyKey { journey, variant: None }, location);
    ["impaired", "receiver_failing"]
        .iter()
        .any(|alert| route.fits(Subject { alert, severity: Severity::Critical.as_str(), journey: &about }))
}

/// Routes that take nothing: a value or key that no journey has, or a route above that takes all.
fn check_matches(
    settings: &NotifySettings,
    journeys: &[Arc<Journey>],
    location: &str,
    file: &Arc<SourceFile>,
) -> Vec<Diagnostic> {
    let header = "[[routes]]";
    let marks: Vec<Span> = file
        .text
        .match_indices(header)
        .filter(|(at, _)| file.text[..*at].rsplit('\n').next().is_some_and(|before| before.trim().is_empty()))
        .map(|(at, _)| at..at + header.len())
        .collect();
    let place = |index: usize| Place { file: Arc::clone(file), span: marks.get(index).cloned().unwrap_or(0..0) };
    let mut out = Vec::new();
    let mut closed = false;
    for (index, route) in settings.routes.iter().enumerate() {
        if closed {
            out.push(
                Diagnostic::warning(place(index), "no alert comes to this route")
                    .label("the ones above take everything")
                    .help("move it up, or give the one above `continue = true`"),
            );
            continue;
        }
        let of_journeys = journeys.iter().any(|journey| {
            journey.plans.iter().any(|plan| {
                let about = About::of(journey, &plan.key, location);
                journey.rules.iter().any(|rule| {
                    route.fits(Subject { alert: rule.id.as_str(), severity: rule.severity.as_str(), journey: &about })
                })
            })
        });
        let fits = of_journeys || takes_own(route, location);
        if !fits && !journeys.is_empty() {
            let labels = journeys.iter().flat_map(|j| j.labels.keys().map(String::as_str));
            let known: Vec<&str> = KEYS.into_iter().chain(labels).collect();
            let odd = route.matches.iter().find(|m| !known.contains(&m.key.as_str()));
            let help = match odd {
                Some(odd) => match nearest(&odd.key, known.iter().copied()) {
                    Some(near) => format!("no journey has a label `{}`; did you mean `{near}`?", odd.key),
                    None => format!("no journey has a label `{}`", odd.key),
                },
                None => "no rule of a journey or variant has all of these values".to_owned(),
            };
            out.push(
                Diagnostic::warning(place(index), "this route takes no journey")
                    .label("nothing fits its `match`")
                    .help(help),
            );
        }
        closed = route.matches.is_empty() && !route.and_on;
    }
    out
}
