//! Reading bodies: text, JSON and HTML, all within bounds.
//!
//! A hostile page can make an HTML parser quadratic and a JSON tree a hundred times its text. So JSON is
//! counted before it is parsed, and HTML is fed in pieces against a budget of this thread's CPU time (not
//! of the wall clock: a busy machine is our trouble, not the page's).

use std::time::Duration;

use encoding_rs::{Encoding, UTF_8};
use html5ever::tendril::{StrTendril, TendrilSink as _};
use html5ever::{ParseOpts, parse_document};
use http::HeaderMap;
use scraper::{ElementRef, Html, HtmlTreeSink, Selector};
use serde_json::Value as Json;

use crate::clock::thread_cpu_time;
use crate::journey::assertion::CssQuery;
use crate::report::Reason;

/// Bigger documents are not parsed (they can still be searched as text).
const MAX_PARSED: usize = 1 << 20;
/// serde_json needs up to 85 times the text for many small objects; this bounds a tree to some 20 MiB.
const MAX_JSON_NODES: usize = 200_000;
/// Ordinary pages of 1 MiB take 10 to 30 ms.
const PARSE_BUDGET: Duration = Duration::from_millis(250);
const SELECT_BUDGET: Duration = Duration::from_millis(100);
const PIECE: usize = 2048;
/// Documents up to this size are parsed where they are; bigger ones on a thread for blocking work.
pub const SMALL: usize = 4 << 10;

/// Why a body cannot be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub reason: Reason,
    pub kind: &'static str,
    pub text: String,
}

/// What a selector found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// Text or attribute of the first match.
    pub first: Option<String>,
    pub count: usize,
}

/// The body as text: BOM, then `charset=`, then `<meta>`, then UTF-8; what does not fit is replaced.
pub fn text_of(headers: &HeaderMap, body: &[u8]) -> String {
    let declared = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).and_then(charset_of);
    let encoding = declared
        .as_deref()
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .or_else(|| {
            let head = String::from_utf8_lossy(&body[..body.len().min(1024)]).to_ascii_lowercase();
            let meta = head.find("<meta").map(|i| head[i..].to_owned())?;
            Encoding::for_label(charset_of(&meta)?.as_bytes())
        })
        .unwrap_or(UTF_8);
    encoding.decode(body).0.into_owned()
}

fn charset_of(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let rest = &lower[lower.find("charset=")? + "charset=".len()..];
    let rest = rest.trim_start_matches(['"', '\'', ' ']);
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].to_owned())
}

/// Parses a JSON body.
pub fn json_of(body: &[u8]) -> Result<Json, Unreadable> {
    if body.len() > MAX_PARSED {
        let text = format!("the body is {}; JSON is parsed up to 1 MiB", crate::quantity::show_size(body.len() as u64));
        return Err(Unreadable { reason: Reason::TooLarge, kind: "json_too_large", text });
    }
    if json_nodes(body) > MAX_JSON_NODES {
        let text = format!("the JSON has more than {MAX_JSON_NODES} values");
        return Err(Unreadable { reason: Reason::TooLarge, kind: "json_too_large", text });
    }
    serde_json::from_slice(body).map_err(|error| Unreadable {
        reason: Reason::AssertionJson,
        kind: "json_invalid",
        text: format!("the body is not JSON ({error})"),
    })
}

/// An upper bound of the number of values: everything that starts one outside strings.
fn json_nodes(body: &[u8]) -> usize {
    let (mut nodes, mut in_string, mut escaped) = (1, false, false);
    for b in body {
        match (in_string, *b) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b',' | b'[' | b'{') => nodes += 1,
            _ => {}
        }
    }
    nodes
}

/// Parses a page within its budget of this thread's CPU time, counted from `started`.
fn parse(page: &str, started: Duration) -> Result<Html, Unreadable> {
    if page.len() > MAX_PARSED {
        let text = format!("the page is {}; HTML is parsed up to 1 MiB", crate::quantity::show_size(page.len() as u64));
        return Err(Unreadable { reason: Reason::TooLarge, kind: "html_too_large", text });
    }
    let over = |budget: Duration| thread_cpu_time().saturating_sub(started) > budget;
    let mut parser = parse_document(HtmlTreeSink::new(Html::new_document()), ParseOpts::default());
    let mut rest = page;
    while !rest.is_empty() {
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, tail) = rest.split_at(end);
        parser.process(StrTendril::from(piece));
        if over(PARSE_BUDGET) {
            return Err(too_complex());
        }
        rest = tail;
    }
    Ok(parser.finish())
}

fn too_complex() -> Unreadable {
    Unreadable {
        reason: Reason::TooLarge,
        kind: "html_too_complex",
        text: format!(
            "the page takes more than {} of CPU time to parse: it is nested too deeply",
            crate::quantity::show_duration(PARSE_BUDGET)
        ),
    }
}

/// Evaluates selectors on a page.
pub fn select(page: &str, queries: &[&CssQuery]) -> Result<Vec<Selected>, Unreadable> {
    let started = thread_cpu_time();
    let html = parse(page, started)?;
    let over = |budget: Duration| thread_cpu_time().saturating_sub(started) > budget;
    let mut out = Vec::with_capacity(queries.len());
    for query in queries {
        let mut selected = Selected::default();
        for (index, element) in html.tree.root().descendants().filter_map(ElementRef::wrap).enumerate() {
            if index % 64 == 0 && over(PARSE_BUDGET + SELECT_BUDGET) {
                return Err(too_complex());
            }
            if !query.selector.matches(&element) {
                continue;
            }
            selected.count += 1;
            if selected.count == 1 {
                selected.first = match &query.attr {
                    Some(attr) => element.value().attr(attr).map(str::to_owned),
                    None => Some(collapse(element.text())),
                };
            }
        }
        out.push(selected);
    }
    Ok(out)
}

/// Names and values of a page's input fields.
pub fn hidden_fields(page: &str) -> Vec<(String, String)> {
    if !page.trim_start().starts_with('<') {
        return Vec::new();
    }
    let (Ok(names), Ok(metas)) = (Selector::parse("input[name][value]"), Selector::parse("meta[name][content]")) else {
        return Vec::new();
    };
    let Ok(html) = parse(page, thread_cpu_time()) else { return Vec::new() };
    let pair = |element: ElementRef<'_>, value: &str| {
        Some((element.value().attr("name")?.to_owned(), element.value().attr(value)?.to_owned()))
    };
    let inputs = html.select(&names).filter_map(|e| pair(e, "value"));
    inputs.chain(html.select(&metas).filter_map(|e| pair(e, "content"))).collect()
}

/// The text of a page as a reader reads it, at most `max` bytes of it. Cheap and safe: tags are cut out, nothing is
/// parsed.
pub fn visible_text(page: &str, max: usize) -> String {
    // What a reader of the page does not read, or reads again in its heading.
    const UNREAD: [(&str, &str); 5] = [
        ("<style", "</style"),
        ("<script", "</script"),
        ("<title", "</title"),
        ("<noscript", "</noscript"),
        ("<!--", "-->"),
    ];
    let mut pieces: Vec<&str> = Vec::new();
    let mut length = 0;
    let mut rest = page;
    while length <= max {
        let Some(start) = rest.find('<') else {
            pieces.push(rest);
            break;
        };
        pieces.push(&rest[..start]);
        length += rest[..start].trim().len();
        rest = &rest[start..];
        let unread = UNREAD.iter().find(|(open, _)| starts_with_ignoring_case(rest, open));
        if let Some((_, close)) = unread {
            rest = find_ignoring_case(rest, close).map_or("", |at| &rest[at..]);
        }
        rest = rest.find('>').map_or("", |end| &rest[end + 1..]);
    }
    let text = collapse(pieces.iter().flat_map(|piece| [*piece, " "]));
    let text = if text.contains('&') { crate::secret::html_decoded(&text) } else { text };
    text[..text.floor_char_boundary(max)].to_owned()
}

pub fn starts_with_ignoring_case(text: &str, start: &str) -> bool {
    text.as_bytes().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

pub fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes().windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// Text as a reader sees it: runs of white space are one space.
fn collapse<'a>(pieces: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    let mut gap = false;
    for c in pieces.flat_map(str::chars) {
        if c.is_whitespace() {
            gap = true;
        } else {
            if gap && !out.is_empty() {
                out.push(' ');
            }
            gap = false;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(selector: &str, attr: Option<&str>) -> CssQuery {
        CssQuery { text: selector.into(), selector: Selector::parse(selector).unwrap(), attr: attr.map(str::to_owned) }
    }

    #[test]
    fn selectors_give_the_first_match_and_the_count() {
        let page = "<h1> Big\n <b>Mug</b> </h1><ul><li><a href='/p/1'>one</a><li><a href='/p/2'>two</a></ul>";
        let (h1, li, a, none) =
            (query("h1", None), query("ul li", None), query("li a", Some("href")), query(".x", None));
        let found = select(page, &[&h1, &li, &a, &none]).unwrap();
        assert_eq!(found[0], Selected { first: Some("Big Mug".into()), count: 1 });
        assert_eq!(found[1], Selected { first: Some("one".into()), count: 2 });
        assert_eq!(found[2], Selected { first: Some("/p/1".into()), count: 2 });
        assert_eq!(found[3], Selected::default());
    }

    #[test]
    fn a_page_nested_beyond_reason_is_given_up() {
        let bomb = "<div>".repeat(100_000);
        assert_eq!(select(&bomb, &[&query("div div", None)]).unwrap_err().kind, "html_too_complex");
    }

    #[test]
    fn json_is_counted_before_it_is_parsed() {
        assert_eq!(json_of(b"{\"a\": [1, 2]}").unwrap()["a"][1], 2);
        assert_eq!(json_of(b"<html>").unwrap_err().kind, "json_invalid");
        let many = format!("[{}]", vec!["1"; 250_000].join(","));
        assert_eq!(json_of(many.as_bytes()).unwrap_err().kind, "json_too_large");
        assert_eq!(json_nodes(br#"["a,b\",c", {"k": 1}]"#), 4);
    }

    #[test]
    fn text_follows_bom_charset_and_meta() {
        let headers = |v: &str| {
            let mut h = HeaderMap::new();
            h.insert(http::header::CONTENT_TYPE, v.parse().unwrap());
            h
        };
        assert_eq!(text_of(&headers("text/html; charset=ISO-8859-1"), b"caf\xe9"), "café");
        assert_eq!(
            text_of(&headers("text/html"), b"<meta charset=\"windows-1252\">caf\xe9"),
            "<meta charset=\"windows-1252\">café"
        );
        assert_eq!(text_of(&headers("text/html; charset=nonsense"), "café".as_bytes()), "café");
        assert_eq!(text_of(&HeaderMap::new(), b"\xff\xfea\0"), "a");
    }
}
