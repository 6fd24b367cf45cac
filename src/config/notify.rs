//! `[receivers]` and `[[routes]]`: who is told, and of what.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use url::Url;

use crate::config::fields::{escalation, receiver, reference, route};
use crate::config::files::normalise;
use crate::config::load::Request;
use crate::config::quiet;
use crate::config::secrets::Secrets;
use crate::diag::{Diagnostic, Gravity, Place, SourceFile, Span};
use crate::document::{Field, Node, Source, TableReader, Text, as_text, in_file_order, type_name};
use crate::ids::{ID_RULE, JourneyKey, ReceiverId, nearest};
use crate::journey::{Journey, Severity};
use crate::notify::mail::{Encryption, Mailbox};
use crate::notify::message::{About, Message};
use crate::notify::route::{GROUP_INTERVAL, GROUP_WAIT, KEYS, Match, Pace, Route, Subject, receivers_of};
use crate::notify::template::{Body, BodyTemplate};
use crate::notify::{Dialect, NotifySettings, Receiver, SigningKey};
use crate::secret::Secret;

/// The rule that every journey has.
const RULE: &str = "down";

/// Reads `[receivers]`; `names` are all of them. Paths are relative to `base`.
pub fn receivers(
    table: &TableReader<'_, '_, '_>,
    names: &[String],
    secrets: &Secrets,
    request: &Request,
    base: &Path,
) -> BTreeMap<ReceiverId, Receiver> {
    let mut out = BTreeMap::new();
    for (key, node) in in_file_order(&table.source, table.table) {
        let id = ReceiverId::new(&key.value);
        if id.is_none() {
            let message = format!("`{}` is not a valid receiver id", key.value);
            table.source.push(table.source.error(key.span.clone(), message, format!("expected {ID_RULE}")));
        }
        let Some(entry) = table.source.table(node, &receiver::TABLE) else { continue };
        let read = Reading { table: entry, id: key.value, names, secrets, unset: request.unset };
        if let (Some(receiver), Some(id)) = (read.receiver(request, base), id) {
            out.insert(id, receiver);
        }
    }
    out
}

/// A receiver being read.
struct Reading<'a, 'f, 'i, 't> {
    table: TableReader<'f, 'i, 't>,
    id: String,
    names: &'a [String],
    secrets: &'a Secrets,
    unset: Gravity,
}

impl Reading<'_, '_, '_, '_> {
    fn receiver(&self, request: &Request, base: &Path) -> Option<Receiver> {
        let table = &self.table;
        let dialect = read_type(table);
        if let Some(dialect) = dialect {
            self.tell_strangers(dialect);
        }
        let urls = self.urls(dialect);
        let (mut usable, signing_key) = self.signing_key();
        let token = self.token(dialect, &mut usable);
        let mailbox = (dialect == Some(Dialect::Email)).then(|| self.mailbox(&mut usable)).flatten();
        let body = self.body();
        // Everything is read before anything is missed: all mistakes are told at once.
        let telegram = dialect == Some(Dialect::Telegram);
        let chat = if telegram { self.chat() } else { Some(String::new()) };
        let topic = if telegram { table.integer(&receiver::TOPIC, 1..=i64::MAX) } else { None };
        let zone = quiet::zone(table, &receiver::TIMEZONE).unwrap_or(chrono_tz::Tz::UTC);
        let proxy =
            table.get(&receiver::PROXY).map(|_| read_one_url(table, &receiver::PROXY, self.secrets, self.unset));
        let ca = table.text(&receiver::CA_FILE).map(|text| self.authorities(&text, request, base));
        let budget = table.integer(&receiver::BUDGET, 0..=100_000);
        let fallback = self.fallback();
        let mut receiver = Receiver::new(dialect?, urls?);
        receiver.chat = chat?;
        receiver.topic = topic;
        receiver.signing_key = signing_key;
        receiver.token = token;
        receiver.mailbox = mailbox.map(Arc::new);
        receiver.body = body?;
        receiver.zone = zone;
        if let Some(proxy) = proxy {
            receiver.proxy = Some(proxy?);
        }
        if let Some(ca) = ca {
            receiver.ca = Some(ca?);
        }
        if let Some(budget) = budget {
            receiver.budget = u32::try_from(budget).ok().filter(|n| *n > 0);
        }
        receiver.fallback = fallback;
        let complete = receiver.dialect != Dialect::Email || receiver.mailbox.is_some();
        // Without its key a signed receiver is not usable: unsigned messages are not what was asked for.
        (usable && complete).then_some(receiver)
    }

    /// Keys that mean nothing to this kind of receiver.
    fn tell_strangers(&self, dialect: Dialect) {
        use Dialect::{Alertmanager, Email, Ntfy, PagerDuty, Telegram, Webhook};
        let table = &self.table;
        for (field, takers) in [
            (&receiver::SIGNING_SECRET, &[Webhook][..]),
            (&receiver::TOKEN, &[Telegram, Ntfy, Webhook, Alertmanager]),
            (&receiver::ROUTING_KEY, &[PagerDuty]),
            (&receiver::CHAT, &[Telegram]),
            (&receiver::TOPIC, &[Telegram]),
            (&receiver::FORMAT, &[Webhook]),
            (&receiver::TEMPLATE, &[Webhook]),
            (&receiver::CONTENT_TYPE, &[Webhook]),
            (&receiver::SMARTHOST, &[Email]),
            (&receiver::ENCRYPTION, &[Email]),
            (&receiver::FROM, &[Email]),
            (&receiver::MAIL_TO, &[Email]),
            (&receiver::USER, &[Email]),
            (&receiver::PASSWORD, &[Email]),
        ] {
            if table.get(field).is_some() && !takers.contains(&dialect) {
                let names: Vec<String> = takers.iter().map(|d| format!("\"{}\"", d.as_str())).collect();
                let span = table.key_span(field);
                let message = if *field.name == *receiver::SIGNING_SECRET.name && dialect == Dialect::Slack {
                    "Slack does not check signatures".to_owned()
                } else {
                    format!("`{}` means nothing to a receiver of type {}", field.name, dialect.as_str())
                };
                table.source.push(table.source.error(span, message, format!("only for type = {}", names.join(", "))));
            }
        }
        if dialect == Email && table.get(&receiver::URL).is_some() {
            let span = table.key_span(&receiver::URL);
            let message = "mail has no `url`";
            table.source.push(table.source.error(span, message, "the server is `smarthost`"));
        }
        if dialect == Email && table.get(&receiver::PROXY).is_some() {
            let span = table.key_span(&receiver::PROXY);
            table.source.push(table.source.error(span, "mail does not go through a proxy", "no effect"));
        }
    }

    fn urls(&self, dialect: Option<Dialect>) -> Option<Vec<Secret>> {
        let table = &self.table;
        let default = match dialect {
            Some(Dialect::Email) => return Some(Vec::new()),
            Some(Dialect::Telegram) => "https://api.telegram.org",
            Some(Dialect::PagerDuty) => "https://events.pagerduty.com/v2/enqueue",
            _ => "",
        };
        let Some(node) = table.get(&receiver::URL) else {
            if !default.is_empty() {
                return Some(vec![Secret::new(default)]);
            }
            table.missing(&receiver::URL, "the receiver", "for example url = { secret = \"slack_url\" }");
            return None;
        };
        let nodes: Vec<&Node<'_>> = match node.get_ref().as_array() {
            Some(list) if dialect == Some(Dialect::Alertmanager) && !list.is_empty() => list.iter().collect(),
            _ => vec![node],
        };
        let read = |node: &&Node<'_>| {
            let url = read_url(&table.source, node, dialect, self.secrets, self.unset)?;
            if dialect == Some(Dialect::Ntfy) && crate::notify::ntfy::root_and_topic(url.expose()).is_none() {
                let message = "this URL names no topic";
                let label = "expected for example https://ntfy.sh/shop-alerts";
                table.source.push(table.source.error(node.span(), message, label));
                return None;
            }
            Some(url)
        };
        nodes.iter().map(read).collect()
    }

    fn secret(&self, field: &'static Field) -> Option<(Secret, Span)> {
        let node = self.table.get(field)?;
        read_reference(&self.table.source, node, &format!("`{}`", field.name), self.secrets, self.unset)
    }

    fn signing_key(&self) -> (bool, Option<SigningKey>) {
        if self.table.get(&receiver::SIGNING_SECRET).is_none() {
            return (true, None);
        }
        let Some((secret, span)) = self.secret(&receiver::SIGNING_SECRET) else { return (false, None) };
        let key = SigningKey::parse(secret.expose());
        if key.is_none() {
            let message = "this secret is not a signing key";
            let source = &self.table.source;
            source.push(source.error(span, message, "expected whsec_ and base64, or any other text"));
        }
        (key.is_some(), key)
    }

    fn token(&self, dialect: Option<Dialect>, usable: &mut bool) -> Option<Secret> {
        let (field, needed, example) = match dialect {
            Some(Dialect::PagerDuty) => {
                (&receiver::ROUTING_KEY, true, "for example routing_key = { secret = \"pagerduty_key\" }")
            }
            Some(Dialect::Telegram) => (&receiver::TOKEN, true, "for example token = { secret = \"bot_token\" }"),
            _ => (&receiver::TOKEN, false, ""),
        };
        if self.table.get(field).is_none() {
            if needed {
                self.table.missing(field, "the receiver", example);
                *usable = false;
            }
            return None;
        }
        let secret = self.secret(field).map(|(secret, _)| secret);
        *usable &= secret.is_some();
        secret
    }

    fn chat(&self) -> Option<String> {
        let Some(node) = self.table.get(&receiver::CHAT) else {
            self.table.missing(&receiver::CHAT, "the receiver", "for example chat = -1001234567890, or \"@channel\"");
            return None;
        };
        let number = crate::document::as_integer(node.get_ref()).map(|n| n.to_string());
        number.or_else(|| self.table.string(&receiver::CHAT))
    }

    fn body(&self) -> Option<Body> {
        let table = &self.table;
        let format = table.word(&receiver::FORMAT, &[("standard", false), ("alertmanager", true)]);
        let content_type = table.string(&receiver::CONTENT_TYPE);
        let Some(text) = table.text(&receiver::TEMPLATE) else {
            if content_type.is_some() {
                let span = table.key_span(&receiver::CONTENT_TYPE);
                table.source.push(table.source.error(span, "`content_type` is for an own body", "without `template`"));
            }
            return Some(if format == Some(true) { Body::Alertmanager } else { Body::Standard });
        };
        if format.is_some() {
            table.source.push(
                table
                    .source
                    .error(table.key_span(&receiver::FORMAT), "a body has a `format` or a `template`, not both", "one")
                    .other(table.key_span(&receiver::TEMPLATE), "the other"),
            );
        }
        let template = Message::sample().map(|sample| BodyTemplate::parse(&text.value, &sample));
        match template {
            Some(Ok(template)) => Some(Body::Own {
                template,
                content_type: content_type.unwrap_or_else(|| "application/json".to_owned()),
            }),
            Some(Err(problem)) => {
                table.source.push(table.source.error(text.span, "this template cannot be rendered", problem).help(
                    "it was tried on a sample; it sees type, timestamp, incident, alerts, alert, headline, title, text",
                ));
                None
            }
            None => None,
        }
    }

    fn mailbox(&self, usable: &mut bool) -> Option<Mailbox> {
        let table = &self.table;
        for (field, example) in [
            (&receiver::SMARTHOST, "for example smarthost = \"smtp.example:587\""),
            (&receiver::FROM, "for example from = \"journeyd@example.org\""),
            (&receiver::MAIL_TO, "for example to = [\"ops@example.org\"]"),
        ] {
            if table.get(field).is_none() {
                table.missing(field, "the receiver", example);
            }
        }
        let encryption = table.word(&receiver::ENCRYPTION, &Encryption::NAMES).unwrap_or(Encryption::StartTls);
        let smarthost = table.text(&receiver::SMARTHOST);
        let address = |text: &Text| {
            let good = text.value.parse::<lettre::message::Mailbox>().is_ok();
            if !good {
                let message = format!("`{}` is not a mail address", text.value);
                table.source.push(table.source.error(
                    text.span.clone(),
                    message,
                    "expected name@host, or Name <name@host>",
                ));
            }
            good
        };
        let from = table.text(&receiver::FROM).filter(&address);
        let to: Vec<Text> = table.texts(&receiver::MAIL_TO).unwrap_or_default();
        let good = to.iter().filter(|text| address(text)).count() == to.len();
        let user = table.string(&receiver::USER);
        let password =
            table.get(&receiver::PASSWORD).map(|_| self.secret(&receiver::PASSWORD).map(|(secret, _)| secret));
        if let Some(None) = password {
            *usable = false;
        }
        if user.is_some() != password.is_some() {
            let field = if user.is_some() { &receiver::USER } else { &receiver::PASSWORD };
            table.source.push(table.source.error(
                table.key_span(field),
                "AUTH takes `user` and `password`",
                "one of two",
            ));
        }
        if encryption == Encryption::None && password.is_some() {
            let span = table.key_span(&receiver::PASSWORD);
            let message = "a password is never sent without TLS";
            table.source.push(table.source.error(span, message, "encryption is \"none\""));
        }
        let smarthost = smarthost?;
        let (host, port) = match smarthost.value.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host.to_owned(), port.parse().ok()),
            _ => (smarthost.value.clone(), Some(encryption.usual_port())),
        };
        let Some(port) = port.filter(|_| !host.is_empty() && !host.contains('/')) else {
            let message = format!("`{}` is not a server", smarthost.value);
            table.source.push(table.source.error(smarthost.span, message, "expected a host, or host:port"));
            return None;
        };
        (good && !to.is_empty()).then_some(())?;
        Some(Mailbox {
            host,
            port,
            encryption,
            user,
            password: password.flatten(),
            from: from?.value,
            to: to.into_iter().map(|text| text.value).collect(),
        })
    }

    fn authorities(&self, text: &Text, request: &Request, base: &Path) -> Option<Arc<Vec<u8>>> {
        use rustls::pki_types::pem::PemObject as _;
        let path = normalise(&base.join(&text.value));
        let wrong = |message: String, label: &str| {
            self.table.source.push(self.table.source.error(text.span.clone(), message, label.to_owned()));
        };
        let pem = match request.files.read(&path) {
            Ok(pem) => pem,
            Err(error) => {
                wrong(format!("cannot read {}: {error}", path.display()), "this file");
                return None;
            }
        };
        let good = rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()).any(|found| found.is_ok());
        if !good {
            wrong(format!("{} cannot be used", path.display()), "it holds no certificate in PEM form");
        }
        good.then(|| Arc::new(pem.into_bytes()))
    }

    fn fallback(&self) -> Option<ReceiverId> {
        let text = self.table.text(&receiver::FALLBACK)?;
        let source = &self.table.source;
        if text.value == self.id {
            source.push(source.error(text.span, "a receiver cannot be its own fallback", "this receiver"));
            return None;
        }
        if !self.names.contains(&text.value) {
            let near = nearest(&text.value, self.names.iter().map(String::as_str));
            let message = format!("there is no receiver `{}`", text.value);
            let diagnostic = source.error(text.span, message, "not in [receivers]");
            source.push(diagnostic.help_if(near.map(|n| format!("did you mean `{n}`?"))));
            return None;
        }
        ReceiverId::new(&text.value)
    }
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

/// A URL that may be a secret.
pub fn read_one_url(
    table: &TableReader<'_, '_, '_>,
    field: &'static Field,
    secrets: &Secrets,
    unset: Gravity,
) -> Option<Secret> {
    read_url(&table.source, table.get(field)?, None, secrets, unset)
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
            // Who knows the URL may write to the channel.
            let open =
                [Some(Dialect::Webhook), Some(Dialect::Alertmanager), Some(Dialect::PagerDuty), Some(Dialect::Ntfy)];
            if !open.contains(&dialect) || !bare {
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

pub fn read_reference(
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
    secrets.named(source, &table.text(&reference::SECRET)?, what, unset)
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
