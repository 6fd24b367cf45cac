//! Telegram's Bot API: `sendMessage` in its HTML.
//!
//! Limit: 4096 characters after entities are parsed (core.telegram.org/bots/api#sendmessage).

use chrono_tz::Tz;
use serde_json::{Value as Json, json};

use crate::notify::google_chat::{Html, escape};
use crate::notify::message::{Kind, Message};
use crate::notify::story::{Story, bounded, cut, footer, lines, tame};

const TEXT: usize = 2400;
const CURL: usize = 900;
const TITLE: usize = 200;

pub fn render(message: &Message, zone: Tz, chat: &str, topic: Option<i64>) -> Json {
    let story = Story::of(message);
    let markup = Html { zone, code: "code", links: true };
    let mut text = format!("<b>{}</b>\n", escape(&cut(&tame(&story.title), TITLE)));
    text.push_str(&bounded(lines(&markup, &story.lines).join("\n"), TEXT));
    if let Some((curl, _)) = story.reproduce.as_ref().filter(|(curl, _)| curl.chars().count() <= CURL) {
        text.push_str(&format!("\n<b>Reproduce</b>\n<pre>{}</pre>", escape(curl)));
    }
    if let Some((_, rerun)) = &story.reproduce {
        text.push_str(&format!("\nor signed in anew: <code>{}</code>", escape(&cut(rerun, 120))));
    }
    text.push_str(&format!("\n<i>{}</i>", bounded(footer(&Html { zone, code: "code", links: true }, &story), 400)));
    // A group has a number, a channel a name.
    let chat: Json = chat.parse::<i64>().map_or_else(|_| json!(chat), |number| json!(number));
    let mut post = json!({
        "chat_id": chat,
        "text": text,
        "parse_mode": "HTML",
        "disable_notification": message.kind == Kind::Resolved,
        "link_preview_options": { "is_disabled": true },
    });
    if let Some(topic) = topic {
        post["message_thread_id"] = json!(topic);
    }
    post
}

/// The same without markup, for when Telegram could not parse it.
pub fn plain(message: &Message, chat: &str, topic: Option<i64>) -> Json {
    let mut post = render(message, Tz::UTC, chat, topic);
    let story = Story::of(message);
    let lines = lines(&crate::notify::discord::Plain { zone: chrono_tz::Tz::UTC }, &story.lines).join("\n");
    post["text"] = json!(cut(&format!("{}\n{lines}", story.title), 4000));
    if let Some(post) = post.as_object_mut() {
        post.remove("parse_mode");
    }
    post
}
