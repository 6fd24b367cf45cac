//! Markdown as chats speak it: Discord, Mattermost and Teams differ in what they allow, not in how they write it.

use chrono_tz::Tz;

use crate::clock::Timestamp;
use crate::notify::story::{Markup, clock_time, cut, tame};

/// With times in one zone.
pub struct Markdown {
    pub zone: Tz,
    /// `<t:…>`: each reader's own time.
    pub discord: bool,
}

impl Markup for Markdown {
    /// Nothing in it is markup, a mention or a link.
    fn text(&self, text: &str) -> String {
        escape(text)
    }

    fn strong(&self, text: &str) -> String {
        format!("**{}**", escape(text))
    }

    fn code(&self, text: &str, max: usize) -> String {
        let line = tame(text).replace('`', "\u{2cb}");
        if line.is_empty() { "(nothing)".to_owned() } else { format!("`{}`", cut(&line, max)) }
    }

    fn time(&self, at: Timestamp) -> String {
        if self.discord {
            return format!("<t:{}:f>", at.micros().div_euclid(1_000_000));
        }
        clock_time(at, self.zone)
    }

    fn link(&self, url: &str) -> String {
        url.replace(' ', "%20").replace('<', "%3C").replace('>', "%3E")
    }
}

/// Backslashes before everything that begins markup; mentions lose their sign.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in tame(text).chars() {
        match c {
            '*' | '_' | '~' | '`' | '|' | '[' | ']' | '<' | '>' | '\\' | '#' => {
                out.push('\\');
                out.push(c);
            }
            '@' => out.push_str("@\u{200b}"),
            c => out.push(c),
        }
    }
    // A space at an end belongs to the sentence.
    let lead = if text.starts_with(' ') { " " } else { "" };
    let tail = if text.len() > 1 && text.ends_with(' ') { " " } else { "" };
    format!("{lead}{out}{tail}")
}

/// A command to be copied: only the fence itself must not occur in it. `None` if it does not fit: half a command is
/// worse than none.
pub fn fenced(text: &str, max: usize) -> Option<String> {
    let safe: String = text.chars().filter(|c| !('\u{202a}'..='\u{202e}').contains(c)).collect();
    let safe = safe.replace("```", "`\u{200b}`\u{200b}`");
    (safe.chars().count() <= max).then(|| format!("```\n{safe}\n```"))
}
