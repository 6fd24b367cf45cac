//! Slack's incoming webhooks, in Block Kit. Also understood by what imitates them.
//!
//! Limits are those of Slack's reference (docs.slack.dev, Block Kit): header 150 characters, section text 3000,
//! field 2000; a longer text makes Slack refuse the whole message. Texts are cut first and escaped afterwards, with
//! room for what escaping adds.

use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::journey::Severity;
use crate::notify::message::{Because, Kind, Message, lasting};

const HEADER: usize = 150;
/// `&` becomes five characters, so a text of nothing else still fits a section of 3000.
const TEXT: usize = 500;
const CURL: usize = 1800;
const SECTION: usize = 3000;

pub fn render(message: &Message) -> Json {
    let headline = message.headline();
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(&title(message), HEADER), "emoji": false },
    })];
    blocks.push(section(&body(message)));
    if let Some(facts) = message.failure.as_ref().filter(|_| message.kind != Kind::Resolved)
        && let Some(curl) = &facts.curl
    {
        let rerun = message.rerun().unwrap_or_default();
        blocks.push(section(&format!("*Reproduce*\n{}or signed in anew: {}", block_of_code(curl), code(&rerun))));
    }
    let context = context(message);
    if !context.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": bounded(context, 2000) }] }));
    }
    json!({
        // What a phone's notification shows; the rest is for who opens the chat.
        "text": escape(&cut(&headline, TEXT)),
        "attachments": [{ "color": color(message), "fallback": escape(&cut(&headline, TEXT)), "blocks": blocks }],
    })
}

fn title(message: &Message) -> String {
    let word = match message.kind {
        Kind::Firing => "FIRING",
        Kind::Updated => "STILL FIRING",
        Kind::Resolved => "RESOLVED",
        Kind::Test => "TEST",
    };
    format!("{word}  {} ({})", message.journey.title, message.journey.key())
}

fn body(message: &Message) -> String {
    let mut lines = Vec::new();
    match message.kind {
        Kind::Test => {
            return format!(
                "This receiver works. journeyd at {} sent this because somebody asked it to.",
                code(&message.journey.location)
            );
        }
        Kind::Resolved => {
            let took = lasting(message.duration());
            lines.push(match message.because {
                Because::WasDown => format!(
                    "It *was down for {took}* and passes again. No alert reached this channel meanwhile: it healed \
                     before one was due, or could not be delivered."
                ),
                Because::Removed => {
                    format!("No longer watched after {took}: the journey or its rule was removed or disabled.")
                }
                _ => format!("Passes again. It was down for *{took}*."),
            });
            let until = message.resolved_at.map(|at| format!(" until {}", when(at))).unwrap_or_default();
            lines.push(format!("*Down* from {}{until}, {}", when(message.started_at), runs(message.failed_runs)));
            if let Some(facts) = &message.failure {
                lines.push(format!("*It was* {} {}", code(facts.step.as_str()), code(facts.failure.reason.as_str())));
            }
        }
        Kind::Firing | Kind::Updated => {
            if let Some(facts) = &message.failure {
                let status = facts.status.map(|s| format!(" {s}")).unwrap_or_default();
                lines.push(format!(
                    "*Step* {} failed: {}{status}",
                    code(facts.step.as_str()),
                    code(facts.failure.reason.as_str())
                ));
                lines.push(format!("*Request* {}", code(&format!("{} {}", facts.method, facts.url))));
                let subject = &facts.failure.subject;
                lines.push(format!("*Expected* {}", code(&facts.failure.expected)));
                lines.push(format!("*Got* {} (looked at: {})", code(&facts.failure.got), short_code(subject, 80)));
                if !facts.passed.is_empty() {
                    lines.push(format!("*Passed before it* {}", list(&facts.passed)));
                }
                if !facts.blocked.is_empty() {
                    lines.push(format!("*Blocked after it* {}", list(&facts.blocked)));
                }
            }
            if message.steps.len() > 1 {
                lines.push(format!("*Steps that failed so far* {}", list(&message.steps)));
            }
            if !message.works_for.is_empty() {
                lines.push(format!("*Works for* {}", list(&message.works_for)));
            }
            if !message.fails_for.is_empty() {
                lines.push(format!("*Fails also for* {}", list(&message.fails_for)));
            }
            lines.push(format!("*Since* {}, {}", when(message.started_at), runs(message.failed_runs)));
            lines.push(match message.last_good {
                Some(at) => format!("*Last good run* {}", when(at)),
                None => "*Last good run* none on record".to_owned(),
            });
        }
    }
    if let Some(runbook) = &message.journey.runbook {
        lines.push(format!("*Runbook* <{}>", link(runbook)));
    }
    lines.join("\n")
}

fn context(message: &Message) -> String {
    let mut parts = Vec::new();
    if let Some(facts) = message.failure.as_ref().filter(|_| message.kind != Kind::Resolved) {
        parts.push(format!("X-Request-ID {}", code(&facts.request_id)));
        parts.push(format!("trace {}", code(&facts.trace_id)));
        let told = |(_, value): &&(String, String)| *value != facts.request_id;
        for (name, value) in facts.response_ids.iter().filter(told).take(4) {
            parts.push(short_code(&format!("{name}: {value}"), 120));
        }
    }
    if message.kind != Kind::Test {
        parts.push(format!("severity {}", message.severity.as_str()));
        if let Some(owner) = &message.journey.owner {
            parts.push(format!("owner {}", escape(&cut(owner, 100))));
        }
        parts.push(format!("incident {}", message.incident));
    }
    parts.push(format!("journeyd at {}", escape(&message.journey.location)));
    parts.join(" · ")
}

fn color(message: &Message) -> &'static str {
    match (message.kind, message.severity) {
        (Kind::Resolved, _) => "#2E7D32",
        (Kind::Test, _) | (_, Severity::Info) => "#1976D2",
        (_, Severity::Warning) => "#F9A825",
        (_, Severity::Critical) => "#D32F2F",
    }
}

fn section(text: &str) -> Json {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": bounded(text.to_owned(), SECTION) } })
}

fn runs(count: u32) -> String {
    if count == 1 { "1 failed run".to_owned() } else { format!("{count} failed runs") }
}

/// Each reader's own time zone and language; the part after `|` is for clients that cannot.
fn when(at: Timestamp) -> String {
    let utc = at.to_utc().format("%Y-%m-%d %H:%M:%SZ");
    format!("<!date^{}^{{date_short_pretty}} {{time_secs}}|{utc}>", at.micros().div_euclid(1_000_000))
}

fn list<T: ToString>(ids: &[T]) -> String {
    let shown: Vec<String> = ids.iter().take(10).map(|id| code(&id.to_string())).collect();
    let more = if ids.len() > 10 { format!(" and {} more", ids.len() - 10) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Text of a target or a file as inline code: no markup works in it, and it cannot end it.
fn code(text: &str) -> String {
    short_code(text, TEXT)
}

fn short_code(text: &str, max: usize) -> String {
    // Characters that turn the direction of writing would show the rest of the message backwards.
    let keeps =
        |c: &char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(c) && !('\u{2066}'..='\u{2069}').contains(c);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "\u{2cb}");
    let line: String = line.chars().filter(keeps).collect();
    if line.is_empty() { "(nothing)".to_owned() } else { format!("`{}`", escape(&cut(&line, max))) }
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

fn link(url: &str) -> String {
    url.replace('|', "%7C").replace('<', "%3C").replace('>', "%3E").replace('&', "&amp;")
}

/// At most `max` characters, with an ellipsis where it was cut.
fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// The last line of defence: whole lines are dropped from the end, so that no markup is cut in two.
fn bounded(mut text: String, max: usize) -> String {
    while text.chars().count() > max {
        match text.rfind('\n') {
            Some(end) => text.truncate(end),
            None => return cut(&text, max),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::tests::message;
    use crate::notify::tests::golden;

    #[test]
    fn payloads_are_as_they_were_read() {
        for (name, kind, because) in [
            ("slack-firing", Kind::Firing, Because::First),
            ("slack-updated", Kind::Updated, Because::StepJoined),
            ("slack-resolved", Kind::Resolved, Because::Recovered),
            ("slack-was-down", Kind::Resolved, Because::WasDown),
            ("slack-removed", Kind::Resolved, Because::Removed),
        ] {
            golden(name, &render(&message(kind, because)));
        }
        golden("slack-test", &render(&Message::test("fra", Timestamp::from_secs(1_790_000_000)).unwrap()));
    }

    #[test]
    fn nothing_that_a_target_says_becomes_markup_or_breaks_a_limit() {
        let mut long = message(Kind::Firing, Because::First);
        long.journey.title = "T".repeat(500);
        let facts = long.failure.as_mut().unwrap();
        let hostile = "<!channel> & ``` *bold* <@U1|x> \u{202e}\n".repeat(200);
        facts.failure.got.clone_from(&hostile);
        facts.failure.expected.clone_from(&hostile);
        facts.failure.subject.clone_from(&hostile);
        facts.url.clone_from(&hostile);
        facts.curl = Some(format!("curl '{hostile}'"));
        facts.response_ids = vec![(hostile.clone(), hostile.clone()); 30];
        let payload = render(&long);
        let text = payload.to_string();
        assert!(!text.contains("<!channel>") && !text.contains("<@U1") && !text.contains('\u{202e}'), "{text}");
        for block in payload["attachments"][0]["blocks"].as_array().unwrap() {
            let texts = [&block["text"]["text"], &block["elements"][0]["text"]];
            for text in texts.into_iter().filter_map(Json::as_str) {
                let max = if block["type"] == "header" { 150 } else { 3000 };
                assert!(text.chars().count() <= max, "{}", text.chars().count());
                assert!(text.matches("```").count() % 2 == 0, "{text}");
            }
        }
    }
}
