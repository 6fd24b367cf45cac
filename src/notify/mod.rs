//! Telling people: who is told what, when, and in which words.
//!
//! ```text
//!  message.rs   one message as a value, for every dialect                       (pure)
//!  story.rs     its words, in pieces that dialects put into their markup        (pure)
//!  route.rs     which receivers an alert goes to                                (pure)
//!  backlog.rs   (state, decision or attempt's end, now) -> rows of the outbox   (pure)
//!  retry.rs     what an answer means; when to try again; when to give up        (pure)
//!  wire.rs      a message as the requests that carry it                         (pure)
//!  slack.rs, webhook.rs, …   a message in a receiver's words, a file each       (pure)
//!  outbox.rs    one sender for all dialects: HTTP, and SMTP for mail            (edge)
//! ```
//!
//! A message is a row of the outbox from the moment it is decided, in the transaction of the decision. It is
//! delivered at least once, in order per receiver and incident, always under the same id.

mod alertmanager;
pub mod backlog;
mod discord;
mod google_chat;
pub mod mail;
mod markdown;
mod mattermost;
pub mod message;
pub mod ntfy;
pub mod outbox;
mod pagerduty;
pub mod retry;
pub mod route;
mod slack;
mod story;
mod teams;
mod telegram;
pub mod template;
mod webhook;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;

use crate::ids::ReceiverId;
use crate::notify::backlog::Post;
use crate::notify::mail::Mailbox;
use crate::notify::route::Route;
use crate::notify::template::Body;
use crate::secret::Secret;

/// A destination of messages.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub dialect: Dialect,
    /// Where messages are sent; several only for Alertmanager, which is told instance by instance. Secret: whoever
    /// knows a chat webhook's URL may write there.
    pub urls: Vec<Secret>,
    /// A token of the receiver, or PagerDuty's routing key.
    pub token: Option<Secret>,
    /// Signs webhooks; raw key bytes.
    pub signing_key: Option<SigningKey>,
    /// The body of a webhook.
    pub body: Body,
    /// Telegram's chat and topic.
    pub chat: String,
    pub topic: Option<i64>,
    pub mailbox: Option<Arc<Mailbox>>,
    /// Times are written in it, where the dialect does not leave that to the reader.
    pub zone: Tz,
    pub proxy: Option<Secret>,
    /// Authorities to trust instead of the system's, in PEM.
    pub ca: Option<Arc<Vec<u8>>>,
    /// Messages in an hour; `None` without a limit.
    pub budget: Option<u32>,
    pub fallback: Option<ReceiverId>,
}

impl Receiver {
    pub fn new(dialect: Dialect, urls: Vec<Secret>) -> Self {
        Self {
            dialect,
            urls,
            token: None,
            signing_key: None,
            body: Body::Standard,
            chat: String::new(),
            topic: None,
            mailbox: None,
            zone: Tz::UTC,
            proxy: None,
            ca: None,
            budget: dialect.usual_budget(),
            fallback: None,
        }
    }

    pub fn post(&self) -> Post {
        Post { dialect: self.dialect, budget: self.budget, fallback: self.fallback.clone() }
    }
}

/// The key bytes of a Standard Webhooks secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(pub Vec<u8>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl SigningKey {
    /// From `whsec_<base64>`; other text is used as it is, as several receivers do.
    pub fn parse(secret: &str) -> Option<Self> {
        use base64::Engine as _;
        match secret.strip_prefix("whsec_") {
            Some(rest) => base64::engine::general_purpose::STANDARD.decode(rest).ok().map(Self),
            None => Some(Self(secret.as_bytes().to_vec())),
        }
        .filter(|key| !key.0.is_empty())
    }
}

/// How a receiver wants to be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Slack,
    Webhook,
    Teams,
    Discord,
    Mattermost,
    GoogleChat,
    Telegram,
    PagerDuty,
    Alertmanager,
    Email,
    Ntfy,
}

impl Dialect {
    pub const NAMES: [(&'static str, Self); 11] = [
        ("slack", Self::Slack),
        ("webhook", Self::Webhook),
        ("teams", Self::Teams),
        ("discord", Self::Discord),
        ("mattermost", Self::Mattermost),
        ("google_chat", Self::GoogleChat),
        ("telegram", Self::Telegram),
        ("pagerduty", Self::PagerDuty),
        ("alertmanager", Self::Alertmanager),
        ("email", Self::Email),
        ("ntfy", Self::Ntfy),
    ];

    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, dialect)| *dialect == self).map_or("", |(name, _)| name)
    }

    /// It forgets what it is not told again: state is sent, not news.
    pub fn resends(self) -> bool {
        self == Self::Alertmanager
    }

    /// People read a digest; what keeps an incident open until it is told of the end does not.
    pub fn takes_digests(self) -> bool {
        !matches!(self, Self::Alertmanager | Self::PagerDuty)
    }

    /// The least time between two messages. Slack, Google Chat: one a second (their rate limits); Telegram: twenty a
    /// minute in a group (bots FAQ); Discord: five in two seconds (its headers).
    pub fn gap(self) -> Option<Duration> {
        match self {
            Self::Slack | Self::GoogleChat | Self::Teams => Some(Duration::from_secs(1)),
            Self::Discord => Some(Duration::from_millis(500)),
            Self::Telegram => Some(Duration::from_secs(3)),
            _ => None,
        }
    }

    /// What people read is bounded; what machines sort is not.
    pub fn usual_budget(self) -> Option<u32> {
        match self {
            Self::Webhook | Self::PagerDuty | Self::Alertmanager => None,
            _ => Some(30),
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone, Default)]
pub struct NotifySettings {
    pub receivers: BTreeMap<ReceiverId, Receiver>,
    /// Named, but lacking something, such as the value of a secret.
    pub unusable: Vec<String>,
    pub routes: Vec<Route>,
}

#[cfg(test)]
mod tests;
