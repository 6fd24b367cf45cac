//! Reading "Copy as cURL": one command or several, quoted as bash does.

use url::Url;

use crate::import::{ImportError, Recorded, RecordedBody, body_of, form_of, without_userinfo};

/// Flags that take a value and say nothing of the request; those that have a key of their own in a journey are named
/// to the user.
const VALUES: [&str; 60] = [
    "--output",
    "--max-time",
    "--connect-timeout",
    "--write-out",
    "--retry",
    "--retry-delay",
    "--retry-max-time",
    "--resolve",
    "--cacert",
    "--capath",
    "--cert",
    "--cert-type",
    "--key",
    "--key-type",
    "--pass",
    "--proxy",
    "--proxy-user",
    "--noproxy",
    "--cookie-jar",
    "--limit-rate",
    "--max-redirs",
    "--interface",
    "--tls-max",
    "--ciphers",
    "--tls13-ciphers",
    "--curves",
    "--connect-to",
    "--aws-sigv4",
    "--upload-file",
    "--range",
    "--speed-limit",
    "--speed-time",
    "--max-filesize",
    "--dns-servers",
    "--doh-url",
    "--keepalive-time",
    "--local-port",
    "--output-dir",
    "--crlfile",
    "--pinnedpubkey",
    "--proto",
    "--proto-default",
    "--proto-redir",
    "--request-target",
    "--socks4",
    "--socks4a",
    "--socks5",
    "--socks5-hostname",
    "--stderr",
    "--trace",
    "--trace-ascii",
    "--unix-socket",
    "--url-query",
    "--variable",
    "--hsts",
    "--etag-save",
    "--etag-compare",
    "--engine",
    "--config",
    "--dump-header",
];
/// Which of them have a key in a journey.
const KEYS: [(&str, &str); 8] = [
    ("--resolve", "resolve"),
    ("--cacert", "tls.ca_file"),
    ("--cert", "tls.cert_file"),
    ("--key", "tls.key_file"),
    ("--proxy", "proxy"),
    ("--max-time", "timeout"),
    ("--max-redirs", "redirects"),
    ("--retry", "retry"),
];
/// Short flags that take a value, and their long names.
const SHORT: [(char, &str); 22] = [
    ('X', "--request"),
    ('H', "--header"),
    ('d', "--data"),
    ('F', "--form"),
    ('u', "--user"),
    ('b', "--cookie"),
    ('A', "--user-agent"),
    ('e', "--referer"),
    ('o', "--output"),
    ('m', "--max-time"),
    ('w', "--write-out"),
    ('x', "--proxy"),
    ('c', "--cookie-jar"),
    ('E', "--cert"),
    ('T', "--upload-file"),
    ('U', "--proxy-user"),
    ('r', "--range"),
    ('D', "--dump-header"),
    ('K', "--config"),
    ('Y', "--speed-limit"),
    ('y', "--speed-time"),
    ('C', "--range"),
];

/// What was read, and what was left out.
pub struct Commands {
    pub requests: Vec<Recorded>,
    pub notes: Vec<String>,
}

/// Reads curl commands.
pub fn read(text: &str) -> Result<Commands, ImportError> {
    let mut out = Commands { requests: Vec::new(), notes: Vec::new() };
    for words in commands(text)? {
        out.requests.push(command(&words, &mut out.notes)?);
    }
    if out.requests.is_empty() {
        return Err(ImportError::NotCurl("it is empty".to_owned()));
    }
    out.notes.dedup();
    Ok(out)
}

fn command(words: &[String], notes: &mut Vec<String>) -> Result<Recorded, ImportError> {
    let Some(("curl", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
        let first = words.first().map_or("", String::as_str);
        return Err(ImportError::NotCurl(format!("it begins with {first:?}, not with curl")));
    };
    let (mut method, mut url, mut headers) = (None, None, Vec::new());
    let (mut data, mut parts, mut json, mut get) = (Vec::new(), Vec::new(), false, false);
    let mut words = rest.iter().flat_map(|word| split_flag(word)).collect::<Vec<_>>().into_iter();
    while let Some(word) = words.next() {
        let flag = word.as_str();
        if !flag.starts_with('-') || flag == "-" {
            url = url.or(Some(word));
            continue;
        }
        if VALUES.contains(&flag) {
            words.next();
            if let Some((_, key)) = KEYS.iter().find(|(name, _)| *name == flag) {
                notes.push(format!("{flag} is not taken over; in a journey it is `{key}`"));
            }
            continue;
        }
        let takes_value = matches!(
            flag,
            "--request"
                | "--header"
                | "--data"
                | "--data-raw"
                | "--data-binary"
                | "--data-ascii"
                | "--data-urlencode"
                | "--json"
                | "--form"
                | "--form-string"
                | "--user"
                | "--cookie"
                | "--user-agent"
                | "--referer"
                | "--url"
                | "--oauth2-bearer"
        );
        let value = match takes_value {
            true => words.next().ok_or_else(|| ImportError::NotCurl(format!("{flag} has no value")))?,
            false => String::new(),
        };
        match flag {
            "--request" => method = Some(value.to_ascii_uppercase()),
            "--header" => {
                if let Some((name, value)) = value.split_once(':') {
                    headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
            "--data" | "--data-raw" | "--data-binary" | "--data-ascii" => data.push(value),
            "--data-urlencode" => data.push(urlencoded(&value)),
            "--json" => {
                json = true;
                data.push(value);
            }
            "--form" | "--form-string" => {
                let (name, content) = value.split_once('=').unwrap_or((&value, ""));
                let file = content.strip_prefix('@').filter(|_| flag != "--form-string");
                parts.push(match file {
                    Some(path) => {
                        let path = path.split(';').next().unwrap_or(path).trim_matches('"');
                        (name.to_owned(), String::new(), Some(path.to_owned()))
                    }
                    None => (name.to_owned(), content.to_owned(), None),
                });
            }
            "--user" => {
                use base64::Engine as _;
                let encoded = base64::engine::general_purpose::STANDARD.encode(&value);
                headers.push(("Authorization".to_owned(), format!("Basic {encoded}")));
            }
            "--oauth2-bearer" => headers.push(("Authorization".to_owned(), format!("Bearer {value}"))),
            "--cookie" => headers.push(("Cookie".to_owned(), value)),
            "--user-agent" => headers.push(("User-Agent".to_owned(), value)),
            "--referer" => headers.push(("Referer".to_owned(), value)),
            "--url" => url = Some(value),
            "--get" => get = true,
            "--head" => method = Some("HEAD".to_owned()),
            "--insecure" => notes.push(
                "-k is not taken over: certificates are verified; see `tls` for an authority of your own".to_owned(),
            ),
            "--http1.1" | "--http2" => {
                notes.push(format!("{flag} is not taken over; in a journey it is `http_version`"));
            }
            "--ipv4" | "--ipv6" => notes.push(format!("{flag} is not taken over; in a journey it is `ip_family`")),
            // What curl does by itself or shows: nothing of the request.
            _ => {}
        }
    }
    let text = url.ok_or_else(|| ImportError::NotCurl("there is no URL".to_owned()))?;
    let whole = if text.contains("://") { text.clone() } else { format!("http://{text}") };
    let mut url = Url::parse(&whole)
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
        .ok_or_else(|| {
            // Whatever stands there may be a header with a token, put where the URL belongs.
            let shown = text.split("://").next().filter(|_| text.contains("://")).map(|s| format!("{s}://…"));
            let shown = shown.unwrap_or_else(|| "what stands in its place".to_owned());
            let cmd =
                if text.contains('^') { " (\"Copy as cURL (bash)\" is understood, not the one for cmd)" } else { "" };
            ImportError::NotCurl(format!("{shown} is not an http or https URL{cmd}"))
        })?;
    url.set_fragment(None);
    let mut url = without_userinfo(url, &mut headers);
    if json {
        for (name, value) in [("Content-Type", "application/json"), ("Accept", "application/json")] {
            if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    let joined = data.join(if json { "" } else { "&" });
    let media_type =
        headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-type")).map(|(_, v)| v.to_lowercase());
    let body = if get {
        url.query_pairs_mut().extend_pairs(form_of(&joined));
        RecordedBody::None
    } else if !parts.is_empty() {
        RecordedBody::Multipart(parts)
    } else {
        if joined.starts_with('@') {
            notes.push(
                "a body from a file (@…) is left out; use `body_file`, with a file below the journeys' folder"
                    .to_owned(),
            );
            method = method.or(Some("POST".to_owned()));
        }
        let joined = if joined.starts_with('@') { String::new() } else { joined };
        let is_json = serde_json::from_str::<serde_json::Value>(&joined).is_ok_and(|v| v.is_object() || v.is_array());
        let usual = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
        body_of(media_type.as_deref().unwrap_or(usual), &joined)
    };
    let method = method.unwrap_or_else(|| if body == RecordedBody::None { "GET" } else { "POST" }.to_owned());
    Ok(Recorded { method, url, headers, body, kind: String::new(), answer: None })
}

/// `-sXPOST` and `--request=POST` in words of their own, all flags by their long names.
fn split_flag(word: &str) -> Vec<String> {
    if let Some((flag, value)) = word.split_once('=').filter(|(flag, _)| flag.starts_with("--")) {
        return vec![flag.to_owned(), value.to_owned()];
    }
    let Some(cluster) = word.strip_prefix('-').filter(|c| !c.is_empty() && !c.starts_with('-')) else {
        return vec![word.to_owned()];
    };
    let mut out = Vec::new();
    for (at, flag) in cluster.char_indices() {
        if let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == flag) {
            out.push((*long).to_owned());
            let value = &cluster[at + flag.len_utf8()..];
            out.extend((!value.is_empty()).then(|| value.to_owned()));
            return out;
        }
        out.push(match flag {
            'G' => "--get".to_owned(),
            'I' => "--head".to_owned(),
            'k' => "--insecure".to_owned(),
            '4' => "--ipv4".to_owned(),
            '6' => "--ipv6".to_owned(),
            other => format!("-{other}"),
        });
    }
    out
}

/// `name=value` with the value encoded, as `--data-urlencode` does.
fn urlencoded(text: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    match text.split_once('=') {
        Some(("", value)) => encode(value),
        Some((name, value)) => format!("{name}={}", encode(value)),
        None => encode(text),
    }
}

/// Words of each command, as bash splits them: quotes of all three kinds, escapes, line continuations. Variables stay
/// as they stand.
fn commands(text: &str) -> Result<Vec<Vec<String>>, ImportError> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = text.trim_start_matches('\u{feff}').chars().peekable();
    let unclosed = |quote: char| ImportError::NotCurl(format!("a {quote} is not closed"));
    fn end(word: &mut Option<String>, all: &mut [Vec<String>]) {
        if let (Some(word), Some(command)) = (word.take(), all.last_mut()) {
            command.push(word);
        }
    }
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A line goes on; also with Windows line ends.
                Some('\r') if chars.peek() == Some(&'\n') => drop(chars.next()),
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(|| unclosed('\''))? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(|| unclosed('"'))? {
                        '"' => break,
                        '\\' => match chars.next().ok_or_else(|| unclosed('"'))? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            '\n' => {}
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(|| unclosed('\''))? {
                        '\'' => break,
                        '\\' => word.push(escaped(&mut chars).ok_or_else(|| unclosed('\''))?),
                        c => word.push(c),
                    }
                }
            }
            ';' | '&' | '\n' => {
                end(&mut word, &mut all);
                if all.last().is_some_and(|command| !command.is_empty()) {
                    all.push(Vec::new());
                }
            }
            c if c.is_whitespace() => end(&mut word, &mut all),
            c => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut all);
    all.retain(|command| !command.is_empty());
    Ok(all)
}

/// What follows a backslash within `$'…'`.
fn escaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'x' => hex_of(chars, 2)?,
        'u' => hex_of(chars, 4)?,
        'U' => hex_of(chars, 8)?,
        c => c,
    })
}

fn hex_of(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, most: usize) -> Option<char> {
    let mut code = 0;
    for _ in 0..most {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
        code = code * 16 + digit;
        chars.next();
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Recorded {
        let mut commands = read(text).unwrap();
        assert_eq!(commands.requests.len(), 1);
        commands.requests.remove(0)
    }

    #[test]
    fn what_browsers_copy_is_read() {
        let chrome = "curl 'https://shop.example/api/orders?x=1' \\\n  -H 'accept: application/json' \\\n  \
                      -H 'authorization: Bearer abc' \\\n  --data-raw $'{\"note\":\"it\\'s \\u0021\"}' \\\n  -H 'content-type: application/json' ;";
        let request = one(chrome);
        assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://shop.example/api/orders?x=1"));
        assert_eq!(request.body, RecordedBody::Json(serde_json::json!({"note": "it's !"})));
        assert_eq!(request.headers[1], ("authorization".to_owned(), "Bearer abc".to_owned()));
        let firefox = "curl 'https://shop.example/login' --compressed -X POST -H 'Content-Type: application/x-www-form-urlencoded' --data-raw 'user=a%20b&password=x'";
        let form = vec![("user".to_owned(), "a b".to_owned()), ("password".to_owned(), "x".to_owned())];
        assert_eq!(one(firefox).body, RecordedBody::Form(form));
    }

    #[test]
    fn flags_mean_what_they_mean_to_curl() {
        for (text, method, url, body) in [
            ("curl shop.example", "GET", "http://shop.example/", RecordedBody::None),
            ("curl -XDELETE \"http://h/a b\"", "DELETE", "http://h/a%20b", RecordedBody::None),
            (
                "curl --request=PUT http://h/ -d a=1 -d b=2",
                "PUT",
                "http://h/",
                RecordedBody::Form(vec![("a".into(), "1".into()), ("b".into(), "2".into())]),
            ),
            ("curl -G http://h/s --data-urlencode 'q=a&b'", "GET", "http://h/s?q=a%26b", RecordedBody::None),
            ("curl -sXPUT http://h/", "PUT", "http://h/", RecordedBody::None),
            ("curl -sd a=1 http://h/", "POST", "http://h/", RecordedBody::Form(vec![("a".into(), "1".into())])),
            ("curl --tls-max 1.2 -kLsS http://h/", "GET", "http://h/", RecordedBody::None),
            ("curl http://h/ -d '{\"a\": 1}'", "POST", "http://h/", RecordedBody::Json(serde_json::json!({"a": 1}))),
            ("curl -I http://h/", "HEAD", "http://h/", RecordedBody::None),
            ("curl http://h/ --json '[1]'", "POST", "http://h/", RecordedBody::Json(serde_json::json!([1]))),
            (
                "curl http://h/ -F 'f=@a.png;type=image/png' -F t=x -o /dev/null -sSL",
                "POST",
                "http://h/",
                RecordedBody::Multipart(vec![
                    ("f".into(), String::new(), Some("a.png".into())),
                    ("t".into(), "x".into(), None),
                ]),
            ),
        ] {
            let request = one(text);
            assert_eq!((request.method.as_str(), request.url.as_str(), request.body), (method, url, body), "{text}");
        }
        assert_eq!(read("curl http://h/a;\ncurl http://h/b &\ncurl http://h/c").unwrap().requests.len(), 3);
    }

    #[test]
    fn what_is_no_curl_command_is_told_as_such() {
        for (text, why) in [
            ("", "it is empty"),
            ("wget http://h/", "it begins with \"wget\", not with curl"),
            ("curl 'http://h/", "a ' is not closed"),
            ("curl -H", "--header has no value"),
            ("curl -s", "there is no URL"),
            ("curl file:///etc/passwd", "file://… is not an http or https URL"),
            ("curl 'Authorization: Bearer x'", "what stands in its place is not an http or https URL"),
        ] {
            let error = read(text).map(|c| c.requests.len()).unwrap_err();
            assert_eq!(error.to_string(), format!("this is not a curl command: {why}"), "{text}");
        }
    }
}
