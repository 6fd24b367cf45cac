//! Slack's incoming webhooks, in Block Kit. Also understood by what imitates them.
//!
//! Limits are those of Slack's reference (docs.slack.dev, Block Kit): header 150 characters, section text 3000,
//! field 2000; a longer text makes Slack refuse the whole message. Texts are cut first and escaped afterwards, with
//! room for what escaping adds.

use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::notify::message::Message;
use crate::notify::story::{CODE, Markup, Story, bounded, colour, cut, footer, harmless, lines, tame};

const HEADER: usize = 150;
/// `&` becomes five characters, so a text of nothing else still fits a section of 3000.
const TEXT: usize = CODE;
const CURL: usize = 1800;
const SECTION: usize = 3000;

/// mrkdwn.
struct Mrkdwn;

impl Markup for Mrkdwn {
    fn text(&self, text: &str) -> String {
        escape(&harmless(text))
    }

    fn strong(&self, text: &str) -> String {
        format!("*{}*", escape(text))
    }

    /// No markup works in inline code, and the text cannot end it.
    fn code(&self, text: &str, max: usize) -> String {
        let line = tame(text).replace('`', "\u{2cb}");
        if line.is_empty() { "(nothing)".to_owned() } else { format!("`{}`", escape(&cut(&line, max))) }
    }

    /// Each reader's own time zone and language; the part after `|` is for clients that cannot.
    fn time(&self, at: Timestamp) -> String {
        let utc = at.to_utc().format("%Y-%m-%d %H:%M:%SZ");
        format!("<!date^{}^{{date_short_pretty}} {{time_secs}}|{utc}>", at.micros().div_euclid(1_000_000))
    }

    fn link(&self, url: &str) -> String {
        format!("<{}>", url.replace('|', "%7C").replace('<', "%3C").replace('>', "%3E").replace('&', "&amp;"))
    }
}

pub fn render(message: &Message) -> Json {
    let story = Story::of(message);
    let mut blocks = vec![
        json!({
            "type": "header",
            "text": { "type": "plain_text", "text": cut(&harmless(&story.title), HEADER), "emoji": false },
        }),
        section(&lines(&Mrkdwn, &story.lines).join("\n")),
    ];
    if let Some((curl, rerun)) = &story.reproduce {
        let rerun = Mrkdwn.code(rerun, TEXT);
        blocks.push(section(&format!("*Reproduce*\n{}or signed in anew: {rerun}", block_of_code(curl))));
    }
    let context = footer(&Mrkdwn, &story);
    if !context.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": bounded(context, 2000) }] }));
    }
    let headline = escape(&cut(&tame(&story.headline), TEXT));
    json!({
        // What a phone's notification shows; the rest is for who opens the chat.
        "text": headline,
        "attachments": [{ "color": colour(story.tone), "fallback": headline, "blocks": blocks }],
    })
}

fn section(text: &str) -> Json {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": bounded(text.to_owned(), SECTION) } })
}

/// A command to be copied: only the fence itself must not occur in it.
fn block_of_code(text: &str) -> String {
    let fenced: String = text.chars().filter(|c| !('\u{202a}'..='\u{202e}').contains(c)).collect();
    let fenced = escape(&fenced).replace("```", "`\u{200b}`\u{200b}`");
    if fenced.chars().count() > CURL {
        // Half a command is worse than none.
        return "The curl line is too long for this message; the log and the webhook have it.\n".to_owned();
    }
    format!("```\n{fenced}\n```\n")
}

/// Slack's three control characters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
