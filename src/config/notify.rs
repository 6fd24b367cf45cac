//! `[receivers]`: who is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use crate::config::fields::{receiver, reference};
use crate::config::files::normalise;
use crate::config::load::Request;
use crate::config::quiet;
use crate::config::secrets::Secrets;
use crate::diag::{Gravity, Span};
use crate::document::{Field, Node, Source, TableReader, Text, as_text, in_file_order, type_name};
use crate::ids::{ID_RULE, ReceiverId, nearest};
use crate::notify::mail::{Encryption, Mailbox};
use crate::notify::message::Message;
use crate::notify::template::{Body, BodyTemplate};
use crate::notify::{Dialect, Receiver, SigningKey};
use crate::secret::Secret;

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
