//! Discord's webhooks: one embed, mentions off.
//!
//! Limits are those of Discord's reference (Webhook and Message resources): content 2000, title 256, description 4096,
//! footer 2048, 6000 characters over all of an embed.

use serde_json::{Value as Json, json};

use chrono_tz::Tz;

use crate::notify::markdown::{Markdown, escape, fenced};
use crate::notify::message::Message;
use crate::notify::story::{Markup as _, Story, Tone, bounded, clock_time, cut, footer, harmless, lines, tame};

const TITLE: usize = 256;
const DESCRIPTION: usize = 4000;
const FOOTER: usize = 1000;
const CURL: usize = 1500;
const CONTENT: usize = 500;

pub fn render(message: &Message, zone: Tz) -> Json {
    let story = Story::of(message);
    let markup = Markdown { zone, discord: true };
    let command = story.reproduce.as_ref().and_then(|(curl, _)| fenced(curl, CURL));
    let room = DESCRIPTION - command.as_ref().map_or(0, |text| text.chars().count() + 20) - 130;
    let mut description = bounded(lines(&markup, &story.lines).join("\n"), room);
    if let Some(command) = command {
        description = format!("{description}\n**Reproduce**\n{command}");
    }
    if let Some((_, rerun)) = &story.reproduce {
        description = format!("{description}\nor signed in anew: {}", markup.code(rerun, 90));
    }
    // A footer shows no markup.
    let plain = Plain { zone };
    json!({
        "username": "journeyd",
        // What a phone's notification shows.
        "content": escape(&cut(&story.headline, CONTENT)),
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": cut(&tame(&story.title), TITLE),
            "description": description,
            "color": colour(story.tone),
            "timestamp": message.at,
            "footer": { "text": cut(&footer(&plain, &story), FOOTER) },
        }],
    })
}

/// Text without any markup, times in one zone.
pub struct Plain {
    pub zone: Tz,
}

impl crate::notify::story::Markup for Plain {
    fn text(&self, text: &str) -> String {
        harmless(text)
    }

    fn strong(&self, text: &str) -> String {
        text.to_owned()
    }

    fn code(&self, text: &str, max: usize) -> String {
        cut(&tame(text), max)
    }

    fn time(&self, at: crate::clock::Timestamp) -> String {
        clock_time(at, self.zone)
    }

    fn link(&self, url: &str) -> String {
        tame(url)
    }
}

/// Discord wants the number.
fn colour(tone: Tone) -> u32 {
    match tone {
        Tone::Bad => 0x00D3_2F2F,
        Tone::Warning => 0x00F9_A825,
        Tone::Good => 0x002E_7D32,
        Tone::Note => 0x0019_76D2,
    }
}
