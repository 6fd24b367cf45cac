//! Every dialect: payloads as they were read and found good, limits, and nothing of a target becoming markup.

use serde_json::Value as Json;

use super::*;
use crate::clock::Timestamp;
use crate::notify::message::tests::{large, message};
use crate::notify::message::{Because, Kind, Message};
use crate::notify::template::BodyTemplate;
use crate::notify::wire::wires;

/// Compares a payload with the file that holds what was read and found good; `UPDATE_GOLDEN=1` writes it.
#[expect(clippy::disallowed_methods, reason = "a test's switch, not the daemon's")]
pub fn golden(name: &str, payload: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/messages/{name}"));
    let text = payload.to_owned() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

fn receiver(dialect: Dialect) -> Receiver {
    let mut receiver = Receiver::new(dialect, vec![Secret::new("https://hook.example/T0/very-secret-path")]);
    receiver.token = Some(Secret::new("very-secret-token"));
    receiver.chat = "-1001234".into();
    receiver.topic = Some(7);
    receiver.zone = Tz::Europe__Berlin;
    receiver
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_790_000_300)
}

fn body(dialect: Dialect, message: &Message) -> Json {
    let wires = wires(&receiver(dialect), "ops", "msg_1", message, now()).unwrap();
    serde_json::from_str(&wires[0].body).unwrap()
}

fn digest() -> Message {
    let lines = vec!["FIRING a: step x failed".to_owned(), "RESOLVED b: passes again after 4m".to_owned()];
    Message::digest("fra", lines, Timestamp::from_secs(1_790_000_000)).unwrap()
}

fn every_kind() -> Vec<(&'static str, Message)> {
    let test = Message::test("fra", Timestamp::from_secs(1_790_000_000)).unwrap();
    let mut acknowledged = large(Kind::Updated, Because::Acknowledged);
    acknowledged.alerts.truncate(1);
    vec![
        ("firing", message(Kind::Firing, Because::First)),
        ("updated", message(Kind::Updated, Because::StepJoined)),
        ("resolved", message(Kind::Resolved, Because::Recovered)),
        ("was-down", message(Kind::Resolved, Because::WasDown)),
        ("removed", message(Kind::Resolved, Because::Removed)),
        ("outage", large(Kind::Firing, Because::First)),
        ("outage-over", large(Kind::Resolved, Because::Recovered)),
        ("reminder", large(Kind::Reminder, Because::StillFiring)),
        ("acknowledged", acknowledged),
        ("flapping", message(Kind::Flapping, Because::FlappingStarted)),
        ("digest", digest()),
        ("test", test),
    ]
}

const HTTP: [Dialect; 10] = [
    Dialect::Slack,
    Dialect::Webhook,
    Dialect::Teams,
    Dialect::Discord,
    Dialect::Mattermost,
    Dialect::GoogleChat,
    Dialect::Telegram,
    Dialect::PagerDuty,
    Dialect::Alertmanager,
    Dialect::Ntfy,
];

#[test]
fn payloads_are_as_they_were_read() {
    for dialect in HTTP {
        for (name, message) in every_kind() {
            let payload = serde_json::to_string_pretty(&body(dialect, &message)).unwrap();
            golden(&format!("{}-{name}.json", dialect.as_str().replace('_', "-")), &payload);
        }
    }
    for (name, message) in every_kind() {
        let mail = mail::compose(&message, "msg_1", Tz::Europe__Berlin);
        golden(
            &format!("email-{name}.txt"),
            &format!(
                "Subject: {}\nMessage-ID: {}\nReferences: {}\n\n{}\n-----\n{}",
                mail.subject, mail.message_id, mail.thread, mail.text, mail.html
            ),
        );
    }
    let own = alertmanager::webhook(&large(Kind::Firing, Because::First), "ops");
    golden("webhook-alertmanager-format.json", &serde_json::to_string_pretty(&own).unwrap());
    let watchdog = alertmanager::watchdog("fra", Timestamp::from_secs(1_790_000_000), now());
    golden("alertmanager-watchdog.json", &serde_json::to_string_pretty(&watchdog).unwrap());
}

/// Everything that a target or a file can put into a message, as bad as it gets.
fn hostile() -> Message {
    let mut message = large(Kind::Firing, Because::First);
    let text =
        "<!channel> & ``` *bold* _x_ <@U1|x> @everyone [a](http://evil) <b>x</b> \u{202e}\r\nSubject: y\n".repeat(200);
    message.journey.title = text.clone();
    message.journey.owner = Some(text.clone());
    let facts = message.failure.as_mut().unwrap();
    facts.failure.got.clone_from(&text);
    facts.failure.expected.clone_from(&text);
    facts.failure.subject.clone_from(&text);
    facts.url.clone_from(&text);
    facts.curl = Some(format!("curl '{text}'"));
    facts.response_ids = vec![(text.clone(), text.clone()); 30];
    let fact = message.alerts[1].clone();
    message.alerts.extend(std::iter::repeat_n(fact, 500));
    for fact in &mut message.alerts {
        fact.detail.clone_from(&text);
        fact.detail.truncate(300);
    }
    if let Some(ack) = &mut message.acknowledged {
        ack.note = text;
    }
    message
}

fn chars(value: &Json) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

#[test]
fn no_limit_of_a_receiver_is_broken() {
    let hostile = hostile();
    let slack = body(Dialect::Slack, &hostile);
    for block in slack["attachments"][0]["blocks"].as_array().unwrap() {
        assert!(chars(&block["text"]["text"]) <= if block["type"] == "header" { 150 } else { 3000 });
        assert!(chars(&block["elements"][0]["text"]) <= 2000);
    }
    let discord = body(Dialect::Discord, &hostile);
    let embed = &discord["embeds"][0];
    assert!(chars(&embed["title"]) <= 256 && chars(&embed["description"]) <= 4096, "{embed}");
    assert!(chars(&discord["content"]) <= 2000 && chars(&embed["footer"]["text"]) <= 2048);
    assert!(chars(&embed["title"]) + chars(&embed["description"]) + chars(&embed["footer"]["text"]) <= 6000);
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    assert!(body(Dialect::Teams, &hostile).to_string().len() <= 28 * 1024);
    assert!(body(Dialect::GoogleChat, &hostile).to_string().len() <= 32_000);
    assert!(chars(&body(Dialect::Telegram, &hostile)["text"]) <= 4096);
    assert!(chars(&body(Dialect::Mattermost, &hostile)["attachments"][0]["text"]) <= 16_383);
    assert!(body(Dialect::Ntfy, &hostile)["message"].as_str().unwrap().len() <= 4096);
    let event = body(Dialect::PagerDuty, &hostile);
    assert!(chars(&event["payload"]["summary"]) <= 1024 && chars(&event["dedup_key"]) <= 255);
    assert!(event.to_string().len() <= 512 * 1024);
    let mail = mail::compose(&hostile, "msg_1", Tz::UTC);
    assert!(mail.subject.chars().count() <= 120 && !mail.subject.contains(['\r', '\n']));
}

#[test]
fn nothing_that_a_target_says_becomes_markup() {
    let hostile = hostile();
    let text = |dialect| body(dialect, &hostile).to_string();
    for dialect in
        [Dialect::Slack, Dialect::Discord, Dialect::Mattermost, Dialect::Teams, Dialect::GoogleChat, Dialect::Telegram]
    {
        assert!(!text(dialect).contains('\u{202e}'), "{dialect:?} turns the direction of writing");
    }
    let mut slack = body(Dialect::Slack, &hostile);
    // A header is plain text by its type.
    assert_eq!(slack["attachments"][0]["blocks"][0]["text"]["type"], "plain_text");
    slack["attachments"][0]["blocks"][0] = Json::Null;
    let slack = slack.to_string();
    assert!(!slack.contains("<!channel>") && !slack.contains("<@U1"), "{slack}");
    for block in body(Dialect::Slack, &hostile)["attachments"][0]["blocks"].as_array().unwrap() {
        assert!(block["text"]["text"].as_str().unwrap_or("").matches("```").count() % 2 == 0);
    }
    for dialect in [Dialect::GoogleChat, Dialect::Telegram] {
        assert!(!text(dialect).contains("<b>x</b>"), "{dialect:?}");
    }
    let mail = mail::compose(&hostile, "msg_1", Tz::UTC);
    assert!(!mail.html.contains("<b>x</b>") && !mail.html.contains("<!channel>"));
    // In a headline there is no code to hide in: what begins markup is escaped there.
    let discord = body(Dialect::Discord, &hostile);
    let content = discord["content"].as_str().unwrap();
    assert!(!content.contains("@everyone") && !content.contains(" *bold*"), "{content}");
}

#[test]
fn no_secret_of_a_receiver_is_in_its_payload_unless_that_is_where_it_belongs() {
    for dialect in HTTP {
        let wire = wires(&receiver(dialect), "ops", "msg_1", &message(Kind::Firing, Because::First), now()).unwrap();
        let debug = format!("{wire:?} {:?}", receiver(dialect));
        // PagerDuty takes its key in the body, ntfy its topic; nothing else does.
        let allowed = usize::from(matches!(dialect, Dialect::PagerDuty | Dialect::Ntfy));
        assert_eq!(debug.matches("very-secret").count(), allowed, "{dialect:?}: {debug}");
    }
}

#[test]
fn requests_go_where_each_service_wants_them() {
    let wire =
        |dialect| wires(&receiver(dialect), "ops", "msg_1", &message(Kind::Firing, Because::First), now()).unwrap();
    let url = |dialect| wire(dialect)[0].url.expose().to_owned();
    assert_eq!(url(Dialect::Discord), "https://hook.example/T0/very-secret-path?wait=true");
    assert!(url(Dialect::GoogleChat).contains("messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"));
    assert!(url(Dialect::Telegram).ends_with("/botvery-secret-token/sendMessage"));
    assert_eq!(url(Dialect::Ntfy), "https://hook.example/T0/");
    assert_eq!(body(Dialect::Ntfy, &message(Kind::Firing, Because::First))["topic"], "very-secret-path");
    let mut cluster = receiver(Dialect::Alertmanager);
    cluster.urls = vec![Secret::new("http://a:9093"), Secret::new("http://b:9093/")];
    let sent = wires(&cluster, "ops", "msg_1", &message(Kind::Firing, Because::First), now()).unwrap();
    let urls: Vec<&str> = sent.iter().map(|wire| wire.url.expose()).collect();
    assert_eq!(urls, ["http://a:9093/api/v2/alerts", "http://b:9093/api/v2/alerts"]);
}

#[test]
fn an_own_template_sees_the_standard_body_and_is_tried_at_load() {
    let sample = large(Kind::Firing, Because::First);
    let good = "{\"text\": {{ headline | tojson }}, \"journeys\": [{% for a in alerts %}{{ a.journey.id | tojson }}{% if not loop.last %},{% endif %}{% endfor %}]}";
    let rendered = BodyTemplate::parse(good, &sample).unwrap().render(&sample).unwrap();
    let parsed: Json = serde_json::from_str(&rendered).unwrap();
    assert_eq!(parsed["journeys"], serde_json::json!(["checkout", "login", "search"]));
    for (bad, what) in [
        ("{{ headlin }}", "undefined"),
        ("{% for %}", "line 1"),
        ("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}", ""),
    ] {
        let error = BodyTemplate::parse(bad, &sample).unwrap_err();
        assert!(error.contains(what), "{bad}: {error}");
    }
}

#[test]
fn telegram_gets_the_text_without_markup_when_it_cannot_parse_it_and_follows_a_chat_that_moved() {
    let telegram = receiver(Dialect::Telegram);
    let sample = message(Kind::Firing, Because::First);
    let again = |answer: &str| {
        wire::second_try(&telegram, &sample, answer).map(|w| serde_json::from_str::<Json>(&w.body).unwrap())
    };
    let plain = again(r#"{"ok":false,"error_code":400,"description":"Bad Request: can't parse entities: x"}"#).unwrap();
    assert!(plain.get("parse_mode").is_none() && plain["text"].as_str().unwrap().contains("checkout"));
    let moved = again(r#"{"ok":false,"error_code":400,"parameters":{"migrate_to_chat_id":-100999}}"#).unwrap();
    assert_eq!(moved["chat_id"], -100_999);
    assert!(again(r#"{"ok":false,"error_code":403,"description":"Forbidden"}"#).is_none());
}
