//! Mattermost's incoming webhooks: an attachment, which also Rocket.Chat understands.
//!
//! Limit: a post of 16383 characters (docs.mattermost.com, incoming webhooks).

use chrono_tz::Tz;
use serde_json::{Value as Json, json};

use crate::journey::Severity;
use crate::notify::markdown::{Markdown, fenced};
use crate::notify::message::{Kind, Message};
use crate::notify::story::{Story, bounded, colour, cut, footer, lines, tame};

const TEXT: usize = 8000;
const CURL: usize = 6000;
const TITLE: usize = 300;

pub fn render(message: &Message, zone: Tz) -> Json {
    let story = Story::of(message);
    let markup = Markdown { zone, discord: false };
    let mut text = bounded(lines(&markup, &story.lines).join("\n"), TEXT);
    if let Some(command) = story.reproduce.as_ref().and_then(|(curl, _)| fenced(curl, CURL)) {
        text = format!("{text}\n\n**Reproduce**\n{command}");
    }
    let headline = cut(&tame(&story.headline), TITLE);
    let mut post = json!({
        "username": "journeyd",
        "text": "",
        "attachments": [{
            "fallback": headline,
            "color": colour(story.tone),
            "title": cut(&tame(&story.title), TITLE),
            "text": text,
            "footer": cut(&footer(&crate::notify::discord::Plain { zone: chrono_tz::Tz::UTC }, &story), TITLE),
        }],
    });
    if message.severity == Severity::Critical && message.kind == Kind::Firing {
        post["priority"] = json!({ "priority": "urgent" });
    }
    post
}
