//! A message as a mail: subject, text and HTML, threaded by incident.

use std::time::Duration;

use chrono_tz::Tz;

use crate::notify::discord::Plain;
use crate::notify::google_chat::{Html, escape};
use crate::notify::message::Message;
use crate::notify::story::{Story, colour, cut, footer, lines, tame};
use crate::secret::Secret;

const SUBJECT: usize = 120;

/// How mail gets away.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// The submission server.
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub from: String,
    pub to: Vec<String>,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Port 587: plain first, then TLS or nothing.
    StartTls,
    /// Port 465: TLS from the first byte.
    Implicit,
    /// A relay on this machine.
    None,
}

impl Encryption {
    pub const NAMES: [(&'static str, Self); 3] =
        [("starttls", Self::StartTls), ("implicit", Self::Implicit), ("none", Self::None)];

    pub fn usual_port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// What is in a mail, besides whom it is from and to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub subject: String,
    pub text: String,
    pub html: String,
    /// Stable over retries.
    pub message_id: String,
    /// What all mails of an incident refer to: none of them has this id, and mail programs thread by it all the same.
    pub thread: String,
}

/// The longest that a delivery may take: SMTP servers greet slowly on purpose.
pub const TIMEOUT: Duration = Duration::from_secs(30);

pub fn compose(message: &Message, id: &str, zone: Tz) -> Mail {
    let story = Story::of(message);
    let markup = Html { zone, code: "code", links: true };
    let mut text = format!("{}\n\n", story.headline);
    text.push_str(&lines(&Plain { zone }, &story.lines).join("\n"));
    let mut html = format!(
        "<div style=\"border-left:4px solid {};padding-left:1em\"><h3>{}</h3><p>{}</p>",
        colour(story.tone),
        escape(&tame(&story.title)),
        lines(&markup, &story.lines).join("<br>\n")
    );
    if let Some((curl, rerun)) = &story.reproduce {
        text.push_str(&format!("\n\nReproduce:\n{curl}\nor signed in anew: {rerun}"));
        html.push_str(&format!(
            "<p><b>Reproduce</b></p><pre>{}</pre><p>or signed in anew: <code>{}</code></p>",
            escape(curl),
            escape(rerun)
        ));
    }
    text.push_str(&format!("\n\n{}\n", footer(&Plain { zone }, &story)));
    html.push_str(&format!("<p><small>{}</small></p></div>", footer(&markup, &story)));
    let began = message.started_at.micros().div_euclid(1_000_000);
    Mail {
        subject: cut(&tame(&story.headline), SUBJECT),
        text,
        html,
        message_id: format!("<{id}@journeyd>"),
        thread: format!("<incident-{}-{began}@journeyd>", message.incident),
    }
}
