//! ntfy: JSON to the server's root, the topic in it.
//!
//! Limit: a message of 4096 bytes; a longer one becomes an attachment (docs.ntfy.sh/publish).

use serde_json::{Value as Json, json};

use crate::journey::Severity;
use crate::notify::discord::Plain;
use crate::notify::message::{Because, Kind, Message};
use crate::notify::story::{Story, Tone, bounded, cut, footer, lines, tame};

/// Characters; four bytes each at most, and most are one.
const TEXT: usize = 2500;
const BYTES: usize = 4000;

pub fn render(message: &Message, zone: chrono_tz::Tz, topic: &str) -> Json {
    let story = Story::of(message);
    let plain = Plain { zone };
    let mut text = bounded(lines(&plain, &story.lines).join("\n"), TEXT);
    if let Some((_, rerun)) = &story.reproduce {
        text.push_str(&format!("\nReproduce: {}", cut(&tame(rerun), 300)));
    }
    text.push_str(&format!("\n{}", cut(&footer(&plain, &story), 400)));
    while text.len() > BYTES {
        text = bounded(text.clone(), text.chars().count() * 3 / 4);
    }
    let (priority, tag) = match (message.kind, story.tone) {
        (Kind::Resolved, _) => (3, "white_check_mark"),
        _ if message.because == Because::Acknowledged => (3, "eyes"),
        (_, Tone::Note | Tone::Good) => (2, "information_source"),
        (_, Tone::Warning) => (4, "warning"),
        (_, Tone::Bad) => (if message.severity == Severity::Critical { 5 } else { 4 }, "rotating_light"),
    };
    let mut post = json!({
        "topic": topic,
        "title": cut(&tame(&story.title), 200),
        "message": text,
        "priority": priority,
        "tags": [tag],
    });
    if let Some(runbook) = &message.journey.runbook {
        post["click"] = json!(runbook);
        post["actions"] = json!([{ "action": "view", "label": "Runbook", "url": runbook }]);
    }
    post
}

/// The server's root and the topic, of a topic's URL.
pub fn root_and_topic(url: &str) -> Option<(String, String)> {
    let (root, topic) = url.trim_end_matches('/').rsplit_once('/')?;
    (root.contains("://") && !root.ends_with('/') && !topic.is_empty()).then(|| (format!("{root}/"), topic.to_owned()))
}
