//! Reading HAR 1.2, as Chrome, Firefox, Safari and proxies write it: tolerant of what they leave out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::Url;

use crate::import::{Answer, ImportError, Recorded, RecordedBody, body_of, without_userinfo};

#[derive(Deserialize)]
struct Har {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Request,
    response: Option<Response>,
    /// Chrome's.
    #[serde(default, rename = "_resourceType")]
    kind: String,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Pair>,
    #[serde(default, rename = "postData")]
    post_data: Option<PostData>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response {
    status: i64,
    headers: Vec<Pair>,
    content: Content,
    #[serde(rename = "redirectURL")]
    redirect_url: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    #[serde(rename = "mimeType")]
    media_type: String,
    text: String,
    encoding: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct PostData {
    #[serde(rename = "mimeType")]
    media_type: String,
    text: String,
    params: Vec<Param>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Param {
    name: String,
    value: String,
    #[serde(rename = "fileName")]
    file_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pair {
    name: String,
    value: String,
}

/// Reads a HAR file. Requests to other schemes than http and https (`data:`, `blob:`, `ws:`) are left out.
pub fn read(text: &str) -> Result<Vec<Recorded>, ImportError> {
    // Some tools write a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let har: Har = serde_json::from_str(text).map_err(|error| ImportError::NotHar(error.to_string()))?;
    Ok(har.log.entries.into_iter().filter_map(recorded).collect())
}

fn recorded(entry: Entry) -> Option<Recorded> {
    let mut url = Url::parse(&entry.request.url).ok().filter(|u| matches!(u.scheme(), "http" | "https"))?;
    url.set_fragment(None);
    let pairs = |pairs: Vec<Pair>| pairs.into_iter().map(|p| (p.name, p.value)).collect::<Vec<_>>();
    let has_response = entry.response.is_some();
    let response = entry.response.unwrap_or_default();
    let mut headers = pairs(entry.request.headers);
    let url = without_userinfo(url, &mut headers);
    let status = u16::try_from(response.status).unwrap_or(0);
    let content = response.content;
    let body = match content.encoding.as_str() {
        "base64" => STANDARD.decode(content.text).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default(),
        _ => content.text,
    };
    // A status of 0 is a request that was blocked or given up.
    let given_up = response.status <= 0 && has_response;
    let answer = (status > 0).then(|| Answer {
        status,
        headers: pairs(response.headers),
        media_type: content.media_type.to_ascii_lowercase(),
        body,
        url: Some(&response.redirect_url)
            .filter(|to| matches!(status, 301 | 302 | 303 | 307 | 308) && !to.is_empty())
            .and_then(|to| url.join(to).ok()),
        redirects: 0,
    });
    Some(Recorded {
        method: entry.request.method.to_ascii_uppercase(),
        url,
        headers,
        body: entry.request.post_data.map(post_body).unwrap_or_default(),
        kind: if given_up { "given-up".to_owned() } else { entry.kind },
        answer,
    })
}

fn post_body(data: PostData) -> RecordedBody {
    let media_type = data.media_type.to_ascii_lowercase();
    if media_type.starts_with("multipart/form-data") {
        let parts = if data.params.is_empty() {
            multipart_parts(&data.media_type, &data.text)
        } else {
            data.params.into_iter().map(|p| (p.name, p.value, p.file_name)).collect()
        };
        return RecordedBody::Multipart(parts);
    }
    if data.text.is_empty() && !data.params.is_empty() {
        let decoded = |text: &str| {
            // Chrome writes params as they were sent, Firefox decoded.
            url::form_urlencoded::parse(format!("v={text}").as_bytes())
                .next()
                .map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
        };
        return RecordedBody::Form(data.params.iter().map(|p| (decoded(&p.name), decoded(&p.value))).collect());
    }
    body_of(&media_type, &data.text)
}

/// The parts of a multipart text: Chrome gives the text alone.
fn multipart_parts(media_type: &str, text: &str) -> Vec<(String, String, Option<String>)> {
    let Some(boundary) =
        media_type.split("boundary=").nth(1).map(|b| b.split(';').next().unwrap_or(b).trim_matches('"'))
    else {
        return Vec::new();
    };
    let attribute = |head: &str, name: &str| {
        let rest = head.split(&format!("{name}=\"")).nth(1)?;
        Some(rest.split('"').next()?.to_owned())
    };
    text.split(&format!("--{boundary}"))
        .filter_map(|part| {
            let (head, body) = part.split_once("\r\n\r\n")?;
            let name = attribute(head, "; name")?;
            Some((name, body.strip_suffix("\r\n").unwrap_or(body).to_owned(), attribute(head, "filename")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whatever_the_browser_left_out() {
        let har = r#"{"log": {"entries": [
            {"request": {"method": "get", "url": "https://a.example/x#top"}},
            {"request": {"method": "POST", "url": "https://a.example/y", "postData": {"mimeType": "application/x-www-form-urlencoded",
              "params": [{"name": "a%5B%5D", "value": "1+2"}]}}, "response": {"status": 302, "redirectURL": "/z"}},
            {"request": {"method": "POST", "url": "https://a.example/y", "postData": {"mimeType": "application/json", "text": "{\"a\": 1}"}},
             "response": {"status": 200, "content": {"mimeType": "text/html", "text": "aGk=", "encoding": "base64"}}},
            {"request": {"method": "GET", "url": "data:text/plain,x"}},
            {"request": {"method": "POST", "url": "https://a.example/u", "postData": {"mimeType": "multipart/form-data; boundary=B",
              "text": "--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nhi\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n..\r\n--B--\r\n"}}}
        ]}}"#;
        let entries = read(har).unwrap();
        assert_eq!(entries.len(), 4);
        assert_eq!((entries[0].method.as_str(), entries[0].url.as_str()), ("GET", "https://a.example/x"));
        assert!(entries[0].answer.is_none());
        assert_eq!(entries[1].body, RecordedBody::Form(vec![("a[]".into(), "1 2".into())]));
        assert_eq!(entries[1].answer.as_ref().unwrap().url.as_ref().unwrap().path(), "/z");
        assert_eq!(entries[2].answer.as_ref().unwrap().body, "hi");
        let parts = vec![("t".into(), "hi".into(), None), ("f".into(), "..".into(), Some("a.png".into()))];
        assert_eq!(entries[3].body, RecordedBody::Multipart(parts));
        assert!(matches!(read("<html>"), Err(ImportError::NotHar(_))));
        assert_eq!(read(r#"{"log": {}}"#).unwrap().len(), 0);
    }
}
