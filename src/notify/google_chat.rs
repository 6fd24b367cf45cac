//! Google Chat's webhooks: a card, all messages of an incident in one thread.
//!
//! Limit: 32,000 bytes of text and cards (developers.google.com/workspace/chat, "Create a message"). Text of a card
//! takes a small part of HTML.

use chrono_tz::Tz;
use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::notify::message::Message;
use crate::notify::story::{Markup, Story, bounded, clock_time, cut, footer, harmless, lines, tame};

const TITLE: usize = 200;
/// A character can take six bytes once it is escaped twice.
const TEXT: usize = 3500;
const CURL: usize = 3000;

/// The HTML that cards, Telegram and mails share.
pub struct Html {
    pub zone: Tz,
    /// The element for what came from a target.
    pub code: &'static str,
    /// Telegram and mails take links as they are.
    pub links: bool,
}

impl Markup for Html {
    fn text(&self, text: &str) -> String {
        escape(&harmless(text))
    }

    fn strong(&self, text: &str) -> String {
        format!("<b>{}</b>", escape(text))
    }

    fn code(&self, text: &str, max: usize) -> String {
        let line = tame(text);
        let line = if line.is_empty() { "(nothing)".to_owned() } else { escape(&cut(&line, max)) };
        format!("<{0}>{line}</{0}>", self.code)
    }

    fn time(&self, at: Timestamp) -> String {
        clock_time(at, self.zone)
    }

    fn link(&self, url: &str) -> String {
        let url = escape(&tame(url)).replace('"', "%22");
        if self.links { format!("<a href=\"{url}\">{url}</a>") } else { url }
    }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `<users/all>` would call everybody, and there is no way to escape it.
fn plain(text: &str) -> String {
    tame(text).replace('<', "\u{2039}").replace('>', "\u{203a}")
}

pub fn render(message: &Message, zone: Tz) -> Json {
    let story = Story::of(message);
    let markup = Html { zone, code: "i", links: true };
    let text = |text: String| json!({ "textParagraph": { "text": text } });
    let mut widgets = vec![text(bounded(lines(&markup, &story.lines).join("\n"), TEXT).replace('\n', "<br>"))];
    if let Some((curl, rerun)) = &story.reproduce {
        let rerun = escape(&tame(rerun));
        if curl.chars().count() <= CURL {
            widgets.push(text(format!("<b>Reproduce</b><br>{}<br>or signed in anew: {rerun}", escape(&tame(curl)))));
        }
    }
    widgets.push(text(format!("<i>{}</i>", bounded(footer(&markup, &story), 1000))));
    json!({
        // What a phone's notification shows.
        "text": cut(&plain(&story.headline), TITLE * 2),
        "thread": { "threadKey": format!("journeyd-incident-{}", message.incident) },
        "cardsV2": [{
            "cardId": format!("incident-{}", message.incident),
            "card": {
                "header": { "title": cut(&plain(&story.title), TITLE), "subtitle": clock_time(message.at, zone) },
                "sections": [{ "widgets": widgets }],
            },
        }],
    })
}
