//! Microsoft Teams by way of Workflows (Power Automate): an Adaptive Card.
//!
//! Version 1.4 is what Teams shows; a message has 28 KB (learn.microsoft.com, "Create and send messages"). A 202 says
//! that the flow was started, not that the card was posted.

use chrono_tz::Tz;
use serde_json::{Value as Json, json};

use crate::notify::markdown::Markdown;
use crate::notify::message::Message;
use crate::notify::story::{CODE, Markup as _, Story, Tone, cut, footer, lines, tame};

const TITLE: usize = 300;
/// Lines of a card; each is at most a few hundred characters.
const MOST_LINES: usize = 40;
const CURL: usize = 4000;
const TEXT: usize = 16_000;

pub fn render(message: &Message, zone: Tz) -> Json {
    let story = Story::of(message);
    let markup = Markdown { zone, discord: false };
    let mut body = vec![block(
        &cut(&tame(&story.title), TITLE),
        json!({
            "weight": "Bolder", "size": "Medium", "color": colour(story.tone), "style": "heading",
        }),
    )];
    let mut left = TEXT;
    for text in lines(&markup, &story.lines).into_iter().take(MOST_LINES) {
        let length = text.chars().count();
        if length > left {
            break;
        }
        left -= length;
        body.push(block(&text, json!({ "spacing": "Small" })));
    }
    if let Some((curl, rerun)) = &story.reproduce {
        if curl.chars().count() <= CURL {
            body.push(block(&tame(curl), json!({ "fontType": "Monospace" })));
        }
        body.push(block(&format!("Or signed in anew: {}", markup.code(rerun, CODE)), json!({ "spacing": "Small" })));
    }
    body.push(block(&footer(&markup, &story), json!({ "isSubtle": true, "size": "Small" })));
    let mut content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        // What a notification shows.
        "fallbackText": cut(&tame(&story.headline), TITLE),
        "msteams": { "width": "Full" },
        "body": body,
    });
    if let Some(runbook) = &message.journey.runbook {
        content["actions"] = json!([{ "type": "Action.OpenUrl", "title": "Runbook", "url": runbook }]);
    }
    json!({
        "type": "message",
        "summary": cut(&tame(&story.headline), TITLE),
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": content,
        }],
    })
}

fn block(text: &str, more: Json) -> Json {
    let mut block = json!({ "type": "TextBlock", "text": text, "wrap": true });
    if let (Some(block), Json::Object(more)) = (block.as_object_mut(), more) {
        block.extend(more);
    }
    block
}

fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "Attention",
        Tone::Warning => "Warning",
        Tone::Good => "Good",
        Tone::Note => "Accent",
    }
}
