//! What of a recording belongs to the journey: the site's own pages and calls, in order, redirects folded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use url::Url;

use crate::import::{Answer, ImportError, Recorded};
use crate::journey::fields::METHODS;

/// What is left of a recording.
pub struct Kept {
    /// Scheme, host and port that paths stand behind.
    pub origin: Url,
    pub requests: Vec<Recorded>,
    pub notes: Vec<String>,
}

/// Keeps what a user did on the site. `hosts` names the hosts to keep; without any, the first page's site.
pub fn keep(all: Vec<Recorded>, hosts: &[String]) -> Result<Kept, ImportError> {
    let leads = |a: &Answer| a.is_html() || (300..400).contains(&a.status);
    let is_page = |r: &&Recorded| r.kind == "document" || r.answer.as_ref().is_some_and(leads);
    let named = |r: &&Recorded| hosts.iter().any(|host| r.url.host_str() == Some(host));
    let first = if hosts.is_empty() { all.iter().find(is_page).or(all.first()) } else { all.iter().find(named) };
    let Some(first) = first else {
        let what = if hosts.is_empty() { "the recording has no request" } else { "no request goes to that host" };
        return Err(ImportError::Nothing(what.to_owned()));
    };
    let origin = first.url.join("/").map_err(|error| ImportError::Nothing(error.to_string()))?;
    let ours = |url: &Url| {
        if hosts.is_empty() { same_site(&origin, url) } else { hosts.iter().any(|h| url.host_str() == Some(h)) }
    };
    let mut dropped: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hosts_dropped: Vec<String> = Vec::new();
    let mut drop = |why| *dropped.entry(why).or_default() += 1;
    let mut waiting: std::collections::VecDeque<Recorded> = all.into();
    let mut requests: Vec<Recorded> = Vec::new();
    while let Some(mut request) = waiting.pop_front() {
        if !ours(&request.url) {
            let host = request.url.host_str().unwrap_or_default().to_owned();
            if !hosts_dropped.contains(&host) {
                hosts_dropped.push(host);
            }
            drop("third parties");
            continue;
        }
        if ["OPTIONS", "CONNECT", "TRACE"].contains(&request.method.as_str()) {
            drop("preflights");
            continue;
        }
        if !METHODS.contains(&request.method.as_str()) {
            drop("requests with methods that journeyd does not send");
            continue;
        }
        if is_asset(&request) {
            drop("static files");
            continue;
        }
        fold_redirects(&mut request, &mut waiting);
        match &request.answer {
            Some(answer) if answer.status >= 400 => {
                drop("requests that failed");
                continue;
            }
            None if !request.kind.is_empty() => {
                drop("requests without an answer");
                continue;
            }
            _ => {}
        }
        let repeats = |last: &Recorded| {
            last.method == "GET" && request.method == "GET" && last.url == request.url && last.body == request.body
        };
        if requests.last().is_some_and(repeats) {
            drop("repeats");
            continue;
        }
        requests.push(request);
    }
    if requests.is_empty() {
        return Err(ImportError::Nothing(
            "nothing is left: only static files, third parties or failed requests".into(),
        ));
    }
    let left_out: Vec<String> = dropped.iter().map(|(why, count)| format!("{why} ({count})")).collect();
    let mut notes = Vec::new();
    if !left_out.is_empty() {
        notes.push(format!("left out: {}", left_out.join(", ")));
    }
    if !hosts_dropped.is_empty() {
        notes.push(format!("hosts left out: {} (--host keeps one)", hosts_dropped.join(", ")));
    }
    Ok(Kept { origin, requests, notes })
}

/// Takes in the hops that follow a redirect: a step follows them by itself.
fn fold_redirects(request: &mut Recorded, waiting: &mut std::collections::VecDeque<Recorded>) {
    let mut hops = 0;
    while let Some(next) = request.answer.as_ref().and_then(|a| a.url.clone()).filter(|_| hops < 20) {
        let mut plain = next.clone();
        plain.set_fragment(None);
        // A redirect is followed by asking, or by doing the same again: another POST is the user's own.
        let again = matches!(request.answer.as_ref().map(|a| a.status), Some(307 | 308));
        let follows = |w: &Recorded| w.url == plain && (w.method == "GET" || (again && w.method == request.method));
        let Some(at) = waiting.iter().position(follows) else { break };
        let Some(hop) = waiting.remove(at) else { break };
        hops += 1;
        let cookies = request.answer.take().map(|a| a.headers).unwrap_or_default();
        let Some(mut answer) = hop.answer else { break };
        // Cookies of every hop count; the rest is the last one's.
        let set = cookies.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        answer.headers.extend(set);
        answer.redirects = hops;
        let end = answer.url.is_none();
        if end {
            answer.url = Some(plain);
            request.answer = Some(answer);
            return;
        }
        request.answer = Some(answer);
    }
    if let Some(answer) = &mut request.answer {
        // A redirect whose end was not recorded says where it led.
        answer.redirects = hops + usize::from(answer.url.is_some());
    }
}

fn is_asset(request: &Recorded) -> bool {
    const KINDS: [&str; 9] =
        ["image", "stylesheet", "font", "script", "media", "manifest", "ping", "websocket", "texttrack"];
    const ENDINGS: [&str; 21] = [
        "css",
        "js",
        "mjs",
        "map",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "avif",
        "ico",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "eot",
        "mp4",
        "webm",
        "mp3",
        "webmanifest",
    ];
    if KINDS.contains(&request.kind.as_str()) {
        return true;
    }
    if request.method != "GET" {
        return false;
    }
    let ending = request.url.path().rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, e)| e);
    let media = request.answer.as_ref().map_or("", |a| a.media_type.as_str());
    let by_media = ["image/", "font/", "audio/", "video/", "text/css", "javascript"].iter().any(|m| media.contains(m));
    by_media || ending.is_some_and(|e| ENDINGS.contains(&e.to_ascii_lowercase().as_str()))
}

/// The same registered domain, as far as that can be told without the public suffix list; addresses and single words
/// must be the same with their port.
fn same_site(origin: &Url, url: &Url) -> bool {
    let (Some(a), Some(b)) = (origin.host_str(), url.host_str()) else { return false };
    let plain = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || !host.contains('.');
    if plain(a) || plain(b) {
        return a == b && origin.port_or_known_default() == url.port_or_known_default();
    }
    registered(a) == registered(b)
}

fn registered(host: &str) -> String {
    let labels: Vec<&str> = host.rsplit('.').collect();
    // shop.co.uk: a short second level under a country is no site of its own.
    let three = labels.len() > 2 && labels[0].len() == 2 && labels[1].len() <= 3;
    labels.iter().take(if three { 3 } else { 2 }).rev().copied().collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_its_registered_domain() {
        for (a, b, same) in [
            ("https://shop.example/", "https://api.shop.example/", true),
            ("https://www.shop.co.uk/", "https://shop.co.uk/", true),
            ("https://shop.co.uk/", "https://tracker.co.uk/", false),
            ("https://shop.example/", "https://cdn.other.example2/", false),
            ("http://127.0.0.1:15770/", "http://127.0.0.1:15769/", false),
            ("http://localhost:8000/", "http://localhost:8000/", true),
        ] {
            assert_eq!(same_site(&Url::parse(a).unwrap(), &Url::parse(b).unwrap()), same, "{a} {b}");
        }
    }
}
