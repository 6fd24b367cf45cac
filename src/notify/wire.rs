//! A message as the HTTP requests that carry it. Pure: what is secret stays a secret until it is sent.

use chrono_tz::Tz;
use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::notify::message::Message;
use crate::notify::template::Body;
use crate::notify::{
    Dialect, Receiver, alertmanager, discord, google_chat, mattermost, ntfy, pagerduty, slack, teams, telegram, webhook,
};
use crate::secret::Secret;

/// One POST.
#[derive(Debug)]
pub struct Wire {
    pub url: Secret,
    pub headers: Vec<(&'static str, Secret)>,
    pub content_type: String,
    pub body: String,
}

/// The requests of a message; more than one only where every instance is told.
pub fn wires(
    receiver: &Receiver,
    name: &str,
    id: &str,
    message: &Message,
    now: Timestamp,
) -> Result<Vec<Wire>, String> {
    let first = receiver.urls.first().cloned().unwrap_or_else(|| Secret::new(""));
    let mut content_type = "application/json".to_owned();
    let mut headers = Vec::new();
    let bearer = |headers: &mut Vec<(&'static str, Secret)>| {
        if let Some(token) = &receiver.token {
            headers.push(("authorization", Secret::new(&format!("Bearer {}", token.expose()))));
        }
    };
    let token = || receiver.token.as_ref().map_or("", Secret::expose);
    let zone: Tz = receiver.zone;
    let mut url = first;
    let body: Json = match receiver.dialect {
        Dialect::Slack => slack::render(message),
        Dialect::Teams => teams::render(message, zone),
        Dialect::Mattermost => mattermost::render(message, zone),
        Dialect::Discord => {
            // Without it a message that cannot be saved is answered like one that was.
            url = with_query(&url, "wait", "true");
            discord::render(message, zone)
        }
        Dialect::GoogleChat => {
            url = with_query(&url, "messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
            google_chat::render(message, zone)
        }
        Dialect::Telegram => {
            url = Secret::new(&format!("{}/bot{}/sendMessage", url.expose().trim_end_matches('/'), token()));
            telegram::render(message, zone, &receiver.chat, receiver.topic)
        }
        Dialect::PagerDuty => pagerduty::render(message, token()),
        Dialect::Ntfy => {
            bearer(&mut headers);
            let (root, topic) = ntfy::root_and_topic(url.expose()).ok_or("the URL names no topic")?;
            url = Secret::new(&root);
            ntfy::render(message, zone, &topic)
        }
        Dialect::Alertmanager => {
            bearer(&mut headers);
            let body = alertmanager::render(message, now).to_string();
            return Ok(to_every_instance(receiver, &headers, &body));
        }
        Dialect::Webhook => {
            bearer(&mut headers);
            let body = match &receiver.body {
                Body::Standard => webhook::render(message).to_string(),
                Body::Alertmanager => alertmanager::webhook(message, name).to_string(),
                Body::Own { template, content_type: own } => {
                    content_type.clone_from(own);
                    template.render(message)?
                }
            };
            headers.push(("webhook-id", Secret::new(id)));
            headers.push(("webhook-timestamp", Secret::new(&now.micros().div_euclid(1_000_000).to_string())));
            let signature = receiver.signing_key.as_ref().and_then(|key| webhook::signature(key, id, now, &body));
            if let Some(signature) = signature {
                headers.push(("webhook-signature", Secret::new(&signature)));
            }
            return Ok(vec![Wire { url, headers, content_type, body }]);
        }
        Dialect::Email => return Err("mail does not go over HTTP".to_owned()),
    };
    Ok(vec![Wire { url, headers, content_type, body: body.to_string() }])
}

/// The alert that always fires.
pub fn watchdog(receiver: &Receiver, location: &str, started: Timestamp, now: Timestamp) -> Vec<Wire> {
    let mut headers = Vec::new();
    if let Some(token) = &receiver.token {
        headers.push(("authorization", Secret::new(&format!("Bearer {}", token.expose()))));
    }
    to_every_instance(receiver, &headers, &alertmanager::watchdog(location, started, now).to_string())
}

fn to_every_instance(receiver: &Receiver, headers: &[(&'static str, Secret)], body: &str) -> Vec<Wire> {
    let api = |url: &Secret| Secret::new(&format!("{}/api/v2/alerts", url.expose().trim_end_matches('/')));
    let wire = |url| Wire {
        url: api(url),
        headers: headers.to_vec(),
        content_type: "application/json".to_owned(),
        body: body.to_owned(),
    };
    receiver.urls.iter().map(wire).collect()
}

/// The message again without markup, where the receiver could not parse it; or to where its chat has moved.
pub fn second_try(receiver: &Receiver, message: &Message, answer: &str) -> Option<Wire> {
    if receiver.dialect != Dialect::Telegram {
        return None;
    }
    let answer: Json = serde_json::from_str(answer).ok()?;
    let moved = answer["parameters"]["migrate_to_chat_id"].as_i64().map(|chat| chat.to_string());
    let unparsed = answer["description"].as_str().is_some_and(|text| text.contains("can't parse entities"));
    let chat = moved.as_deref().unwrap_or(&receiver.chat);
    let body = match (unparsed, &moved) {
        (true, _) => telegram::plain(message, chat, receiver.topic),
        (false, Some(_)) => telegram::render(message, receiver.zone, chat, receiver.topic),
        (false, None) => return None,
    };
    let wires = wires(receiver, "", "", message, message.at).ok()?;
    wires.into_iter().next().map(|wire| Wire { body: body.to_string(), ..wire })
}

fn with_query(url: &Secret, name: &str, value: &str) -> Secret {
    let Ok(mut parsed) = url::Url::parse(url.expose()) else { return url.clone() };
    if !parsed.query_pairs().any(|(known, _)| known == name) {
        parsed.query_pairs_mut().append_pair(name, value);
    }
    Secret::new(parsed.as_str())
}
