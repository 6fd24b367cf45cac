//! Routes: which receivers an alert goes to. Pure.

use std::time::Duration;

use crate::ids::ReceiverId;
use crate::notify::message::About;

/// How long the first message of an incident waits: what heals meanwhile is told as one message.
pub const GROUP_WAIT: Duration = Duration::from_secs(15);
/// The least time between two messages of one incident; never delays the resolve.
pub const GROUP_INTERVAL: Duration = Duration::from_secs(120);

/// One of `[[routes]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// All must hold.
    pub matches: Vec<Match>,
    pub to: Vec<ReceiverId>,
    /// Goes on with the routes below.
    pub and_on: bool,
    pub pace: Pace,
    /// Who is told as well when nobody has acknowledged for so long.
    pub escalate: Vec<(Duration, Vec<ReceiverId>)>,
}

/// A key and the values that fit it.
#[derive(Debug, Clone)]
pub struct Match {
    pub key: String,
    pub values: Vec<String>,
}

/// How fast the messages of an incident may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub group_wait: Duration,
    pub group_interval: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { group_wait: GROUP_WAIT, group_interval: GROUP_INTERVAL }
    }
}

/// Keys of `match` that are not labels.
pub const KEYS: [&str; 6] = ["alert", "journey", "variant", "severity", "owner", "location"];

/// An alert as routes see it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub alert: &'a str,
    pub severity: &'a str,
    pub journey: &'a About,
}

impl Subject<'_> {
    /// The value of a key or label. A missing value is the empty text, so that `owner = ""` means "without an owner".
    pub fn value(&self, key: &str) -> &str {
        match key {
            "alert" => self.alert,
            "severity" => self.severity,
            "journey" => self.journey.id.as_str(),
            "variant" => self.journey.variant.as_ref().map_or("", |v| v.as_str()),
            "owner" => self.journey.owner.as_deref().unwrap_or(""),
            "location" => &self.journey.location,
            label => self.journey.labels.get(label).map_or("", String::as_str),
        }
    }
}

impl Route {
    /// Whether it takes an alert.
    pub fn fits(&self, subject: Subject<'_>) -> bool {
        self.matches.iter().all(|m| m.values.iter().any(|value| value == subject.value(&m.key)))
    }
}

/// The receivers of an alert, each once, with the pace of the first route that names it. Without any routes every
/// receiver gets everything.
pub fn receivers_of(
    routes: &[Route],
    all: impl IntoIterator<Item = ReceiverId>,
    subject: Subject<'_>,
) -> Vec<(ReceiverId, Pace)> {
    if routes.is_empty() {
        return all.into_iter().map(|id| (id, Pace::default())).collect();
    }
    let mut out: Vec<(ReceiverId, Pace)> = Vec::new();
    for route in routes {
        if !route.fits(subject) {
            continue;
        }
        for id in &route.to {
            if !out.iter().any(|(known, _)| known == id) {
                out.push((id.clone(), route.pace));
            }
        }
        if !route.and_on {
            break;
        }
    }
    out
}

/// The steps of the routes that take an alert, by their time.
pub fn escalations_of(routes: &[Route], subject: Subject<'_>) -> Vec<(Duration, ReceiverId, Pace)> {
    let mut out = Vec::new();
    for route in routes.iter().filter(|route| route.fits(subject)) {
        for (after, to) in &route.escalate {
            out.extend(to.iter().map(|receiver| (*after, receiver.clone(), route.pace)));
        }
        if !route.and_on {
            break;
        }
    }
    out.sort_by_key(|(after, _, _)| *after);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::{Because, Kind, tests::message};

    fn id(text: &str) -> ReceiverId {
        ReceiverId::new(text).unwrap()
    }

    fn route(matches: &[(&str, &[&str])], to: &[&str], and_on: bool) -> Route {
        let matches = matches
            .iter()
            .map(|(key, values)| Match {
                key: (*key).to_owned(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            })
            .collect();
        Route { matches, to: to.iter().map(|r| id(r)).collect(), and_on, pace: Pace::default(), escalate: Vec::new() }
    }

    #[test]
    fn the_first_match_wins_unless_it_goes_on() {
        let about = message(Kind::Firing, Because::First).journey;
        let subject = Subject { alert: "down", severity: "critical", journey: &about };
        let all = [id("a"), id("b")];
        type Row = (&'static str, Vec<Route>, &'static [&'static str]);
        let table: Vec<Row> = vec![
            ("no routes: everybody", vec![], &["a", "b"]),
            ("no match: everything", vec![route(&[], &["b"], false)], &["b"]),
            ("first wins", vec![route(&[], &["a"], false), route(&[], &["b"], false)], &["a"]),
            ("continue", vec![route(&[], &["a"], true), route(&[], &["b"], false)], &["a", "b"]),
            ("each once", vec![route(&[], &["a"], true), route(&[], &["a", "b"], false)], &["a", "b"]),
            ("severity", vec![route(&[("severity", &["warning"])], &["a"], false)], &[]),
            ("a list", vec![route(&[("severity", &["warning", "critical"])], &["a"], false)], &["a"]),
            ("label", vec![route(&[("service", &["shop"])], &["a"], false)], &["a"]),
            ("all must hold", vec![route(&[("service", &["shop"]), ("journey", &["login"])], &["a"], false)], &[]),
            (
                "variant, owner, location, alert",
                vec![route(
                    &[
                        ("variant", &["member"]),
                        ("owner", &["team-payments"]),
                        ("location", &["fra"]),
                        ("alert", &["down"]),
                    ],
                    &["a"],
                    false,
                )],
                &["a"],
            ),
            ("a label that is not there", vec![route(&[("team", &[""])], &["a"], false)], &["a"]),
        ];
        for (name, routes, want) in table {
            let got: Vec<String> =
                receivers_of(&routes, all.clone(), subject).into_iter().map(|(id, _)| id.to_string()).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
