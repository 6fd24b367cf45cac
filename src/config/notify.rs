//! `[receivers]` and `[[routes]]`: who is told, and of what.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use url::Url;

use crate::config::fields::{receiver, reference, route};
use crate::config::secrets::Secrets;
use crate::diag::{Diagnostic, Gravity, Place, SourceFile, Span};
use crate::document::{Node, Source, TableReader, as_text, in_file_order, type_name};
use crate::ids::{ID_RULE, JourneyKey, ReceiverId, nearest};
use crate::journey::{Journey, Severity};
use crate::notify::message::About;
use crate::notify::route::{GROUP_INTERVAL, GROUP_WAIT, KEYS, Match, Pace, Route, Subject, receivers_of};
use crate::notify::{Dialect, NotifySettings, Receiver, SigningKey};
use crate::secret::Secret;

/// The alert rules of this version.
const RULE: &str = "down";

/// Reads `[receivers]`. `unset` is how grave a secret without a value is.
pub fn receivers(table: &TableReader<'_, '_, '_>, secrets: &Secrets, unset: Gravity) -> BTreeMap<ReceiverId, Receiver> {
    let mut out = BTreeMap::new();
    for (key, node) in in_file_order(&table.source, table.table) {
        let id = ReceiverId::new(&key.value);
        if id.is_none() {
            let message = format!("`{}` is not a valid receiver id", key.value);
            table.source.push(table.source.error(key.span.clone(), message, format!("expected {ID_RULE}")));
        }
        let Some(entry) = table.source.table(node, &receiver::TABLE) else { continue };
        let dialect = read_type(&entry);
        if entry.get(&receiver::URL).is_none() {
            entry.missing(&receiver::URL, "the receiver", "for example url = { secret = \"slack_url\" }");
        }
        let url = entry.get(&receiver::URL).and_then(|node| read_url(&entry.source, node, dialect, secrets, unset));
        let signing_key = entry.get(&receiver::SIGNING_SECRET).and_then(|node| {
            let (secret, span) = read_reference(&entry.source, node, "`signing_secret`", secrets, unset)?;
            let key = SigningKey::parse(secret.expose());
            if key.is_none() {
                let message = "this secret is not a signing key";
                entry.source.push(entry.source.error(span, message, "expected whsec_ and base64, or any other text"));
            }
            key
        });
        if dialect == Some(Dialect::Slack) && entry.get(&receiver::SIGNING_SECRET).is_some() {
            let span = entry.key_span(&receiver::SIGNING_SECRET);
            entry.source.push(entry.source.error(
                span,
                "Slack does not check signatures",
                "only for type = \"webhook\"",
            ));
        }
        // Without its key a signed receiver is not usable: unsigned messages are not what was asked for.
        let usable = signing_key.is_some() || entry.get(&receiver::SIGNING_SECRET).is_none();
        if let (Some(id), Some(dialect), Some(url), true) = (id, dialect, url, usable) {
            out.insert(id, Receiver { dialect, url, signing_key });
        }
    }
    out
}

fn read_type(table: &TableReader<'_, '_, '_>) -> Option<Dialect> {
    if table.get(&receiver::TYPE).is_none() {
        table.missing(&receiver::TYPE, "the receiver", "for example type = \"slack\"");
    }
    let text = table.text(&receiver::TYPE)?;
    let found = Dialect::NAMES.iter().find(|(name, _)| *name == text.value).map(|(_, dialect)| *dialect);
    if found.is_none() {
        let near = nearest(&text.value, Dialect::NAMES.iter().map(|(name, _)| *name));
        table.source.push(
            table
                .source
                .error(
                    text.span,
                    format!("there is no receiver type `{}`", text.value),
                    format!("expected {}", receiver::TYPE.expects),
                )
                .help_if(near.map(|n| format!("did you mean \"{n}\"?"))),
        );
    }
    found
}

fn read_url(
    source: &Source<'_>,
    node: &Node<'_>,
    dialect: Option<Dialect>,
    secrets: &Secrets,
    unset: Gravity,
) -> Option<Secret> {
    let (secret, span) = match as_text(source, node) {
        Some(text) => {
            let bare = Url::parse(&text.value)
                .is_ok_and(|url| url.query().is_none() && url.password().is_none() && url.username().is_empty());
            if dialect != Some(Dialect::Webhook) || !bare {
                // Who knows the URL may write to the channel.
                source.file.hide(std::slice::from_ref(&text.span));
            }
            (Secret::new(&text.value), text.span)
        }
        None => read_reference(source, node, "`url`", secrets, unset)?,
    };
    let fits = Url::parse(secret.expose()).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !fits {
        source.push(source.error(span, "this is not a URL to send to", "expected http:// or https:// and a host"));
        return None;
    }
    Some(secret)
}

fn read_reference(
    source: &Source<'_>,
    node: &Node<'_>,
    what: &str,
    secrets: &Secrets,
    unset: Gravity,
) -> Option<(Secret, Span)> {
    if node.get_ref().as_table().is_none() {
        let found = type_name(node.get_ref());
        source.file.hide(&[node.span()]);
        source.push(
            source
                .error(
                    node.span(),
                    format!("{what} has the wrong type"),
                    format!(
                        "expected {}{{ secret = \"name\" }}, found {found}",
                        if what == "`url`" { "a URL or " } else { "" }
                    ),
                )
                .help("the value itself comes from the environment or a file, by way of [secrets]"),
        );
        return None;
    }
    let table = source.table(node, &reference::TABLE)?;
    if table.get(&reference::SECRET).is_none() {
        table.missing(&reference::SECRET, what, "for example { secret = \"slack_url\" }, with slack_url in [secrets]");
    }
    let name = table.text(&reference::SECRET)?;
    if let Some(secret) = secrets.values.get(&name.value) {
        return Some((secret.value.clone(), name.span));
    }
    if secrets.known.contains_key(&name.value) {
        let mut unset_one = Diagnostic::error(
            source.place(name.span),
            format!("the secret `{}` has no value, and a receiver needs it", name.value),
        )
        .label("not set")
        .help("set what [secrets] names for it");
        unset_one.gravity = unset;
        source.push(unset_one);
    } else {
        let near = nearest(&name.value, secrets.known.keys().map(String::as_str));
        source.push(
            source
                .error(name.span, format!("there is no secret `{}`", name.value), "not in [secrets]")
                .help_if(near.map(|n| format!("did you mean `{n}`?"))),
        );
    }
    None
}

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
            let mut to = Vec::new();
            for name in table.texts(&route::TO).unwrap_or_default() {
                if !names.contains(&name.value) {
                    let near = nearest(&name.value, names.iter().map(String::as_str));
                    let message = format!("there is no receiver `{}`", name.value);
                    let diagnostic = table.source.error(name.span, message, "not in [receivers]");
                    table.source.push(diagnostic.help_if(near.map(|n| format!("did you mean `{n}`?"))));
                } else if let Some(id) = ReceiverId::new(&name.value) {
                    to.push(id);
                }
            }
            Route { matches: read_match(table), to, and_on: table.boolean(&route::CONTINUE).unwrap_or(false), pace }
        })
        .collect()
}

fn read_match(table: &TableReader<'_, '_, '_>) -> Vec<Match> {
    let mut out = Vec::new();
    for (key, node) in table.entries(&route::MATCH) {
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
                "alert" => &[RULE],
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

/// `whole`: these are all journeys of the configuration. Journeys whose alerts go nowhere though there are receivers, and receivers that nothing goes to.
pub fn check_routes(
    settings: &NotifySettings,
    journeys: &[Arc<Journey>],
    location: &str,
    file: &Arc<SourceFile>,
    whole: bool,
) -> Vec<Diagnostic> {
    let mut out = Vec::new();
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
    for id in settings.receivers.keys().filter(|id| !settings.routes.iter().any(|r| r.to.contains(id))) {
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
        let fits = journeys.iter().any(|journey| {
            journey.plans.iter().any(|plan| {
                let about = About::of(journey, &plan.key, location);
                route.fits(Subject { alert: RULE, severity: journey.severity.as_str(), journey: &about })
            })
        });
        if !fits && !journeys.is_empty() {
            let labels = journeys.iter().flat_map(|j| j.labels.keys().map(String::as_str));
            let known: Vec<&str> = KEYS.into_iter().chain(labels).collect();
            let odd = route.matches.iter().find(|m| !known.contains(&m.key.as_str()));
            let help = match odd {
                Some(odd) => match nearest(&odd.key, known.iter().copied()) {
                    Some(near) => format!("no journey has a label `{}`; did you mean `{near}`?", odd.key),
                    None => format!("no journey has a label `{}`", odd.key),
                },
                None => "no journey or variant has all of these values".to_owned(),
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
