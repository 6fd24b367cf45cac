//! Telling people: who is told what, when, and in which words.
//!
//! ```text
//!  message.rs   one message as a value, for every dialect                       (pure)
//!  route.rs     which receivers an alert goes to                                (pure)
//!  backlog.rs   (state, decision or attempt's end, now) -> rows of the outbox   (pure)
//!  retry.rs     what an answer means; when to try again; when to give up        (pure)
//!  slack.rs, webhook.rs   a message in a receiver's words                       (pure)
//!  outbox.rs    one HTTP sender for all dialects                                (edge)
//! ```
//!
//! A message is a row of the outbox from the moment it is decided, in the transaction of the decision. It is
//! delivered at least once, in order per receiver and incident, always under the same id.

pub mod backlog;
pub mod message;
pub mod outbox;
pub mod retry;
pub mod route;
mod slack;
mod webhook;

use std::collections::BTreeMap;

use crate::ids::ReceiverId;
use crate::notify::message::Message;
use crate::notify::route::Route;
use crate::secret::Secret;

/// A destination of messages.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub dialect: Dialect,
    /// A secret: whoever knows a chat webhook's URL may write there.
    pub url: Secret,
    /// Signs webhooks; raw key bytes.
    pub signing_key: Option<SigningKey>,
}

/// The key bytes of a Standard Webhooks secret.
#[derive(Clone)]
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
}

impl Dialect {
    pub const NAMES: [(&'static str, Self); 2] = [("slack", Self::Slack), ("webhook", Self::Webhook)];

    /// The body for `message`, as JSON text.
    pub fn render(self, message: &Message) -> String {
        match self {
            Self::Slack => slack::render(message).to_string(),
            Self::Webhook => webhook::render(message).to_string(),
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
mod tests {
    /// Compares a payload with the file that holds what was read and found good; `UPDATE_GOLDEN=1` writes it.
    #[expect(clippy::disallowed_methods, reason = "a test's switch, not the daemon's")]
    pub fn golden(name: &str, payload: &serde_json::Value) {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/messages/{name}.json"));
        let text = serde_json::to_string_pretty(payload).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    }
}
