//! Lowering of steps: requests and captures.

use std::str::FromStr as _;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::document::{Field, Node, Source, TableReader, Text, as_text};
use crate::ids::{StepId, VariantId, nearest};
use crate::journey::capture::{Capture, From, Kind};
use crate::journey::compile::{read_json_path, read_regex, read_selector};
use crate::journey::fields::{METHODS, capture, expect, step};
use crate::journey::model::{REDIRECTS, STEP_TIMEOUT, Step};
use crate::journey::parse::{StepEntry, check_name, read_scalar};
use crate::journey::parse_expect::read_expect;
use crate::journey::parse_request::{read_auth, read_body, read_poll, read_retry};
use crate::journey::parse_settings::read_headers;
use crate::journey::template::Template;

pub fn read_steps(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<StepEntry> {
    table.tables(field, &step::TABLE).iter().filter_map(read_step).collect()
}

fn read_only(table: &TableReader<'_, '_, '_>) -> Vec<VariantId> {
    let texts = table.texts(&step::ONLY).unwrap_or_default();
    if table.get(&step::ONLY).is_some_and(|n| n.get_ref().as_array().is_some_and(|a| a.is_empty())) {
        let key = table.key_span(&step::ONLY);
        table.source.push(table.source.error(key, "`only` names no variant", "this step never runs"));
    }
    texts
        .iter()
        .filter_map(|text| {
            let id = VariantId::new(&text.value);
            if id.is_none() {
                table.source.push(table.source.error(
                    text.span.clone(),
                    format!("`{}` is not a variant id", text.value),
                    "expected an id",
                ));
            }
            id
        })
        .collect()
}

fn read_step(table: &TableReader<'_, '_, '_>) -> Option<StepEntry> {
    let source = &table.source;
    let only = read_only(table);
    if let Some(path) = table.text(&step::USE) {
        for field in step::TABLE.fields.iter().filter(|f| !f.planned && !["use", "as", "only"].contains(&f.name)) {
            if table.table.contains_key(field.name) {
                source.push(source.error(
                    table.key_span(field),
                    format!("`{}` has no place beside `use`", field.name),
                    "the fragment brings its own steps",
                ));
            }
        }
        let alias = table.id(&step::AS).map(|t| t.value);
        return Some(StepEntry::Use { path, alias, only, place: source.place(table.key_span(&step::USE)) });
    }
    if table.get(&step::AS).is_some() {
        source.push(source.error(table.key_span(&step::AS), "`as` goes with `use`", "this step is not a fragment"));
    }
    let id = match table.get(&step::ID) {
        Some(_) => table.id(&step::ID),
        None => {
            table.missing(&step::ID, "the step", "a short name for metrics and messages, for example id = \"search\"");
            None
        }
    };
    if table.get(&step::REQUEST).is_none() {
        table.missing(&step::REQUEST, "the step", "for example request = \"GET /search\"");
    }
    let request = table.text(&step::REQUEST).and_then(|text| read_request(source, &text));
    let pause = table.duration(&step::PAUSE, Duration::from_millis(1)).map(Spanned::into_inner);
    let timeout = table.duration(&step::TIMEOUT, Duration::from_millis(1));
    let redirects = table.integer(&step::REDIRECTS, 0..=20).and_then(|n| u8::try_from(n).ok());
    let expected = table.open(&step::EXPECT, &expect::TABLE);
    let assertions = expected.as_ref().map(read_expect).unwrap_or_default();
    let error_pages = expected.as_ref().and_then(|t| t.boolean(&expect::NO_ERROR_PAGE));
    let captures = read_captures(table);
    let query = read_scalars(table, &step::QUERY);
    let headers = read_headers(table, &step::HEADERS);
    refuse_swallowed(table);
    let method = request.as_ref().map(|(method, _)| method);
    let body = read_body(table, method, &assertions);
    let poll = read_poll(table);
    let retry = read_retry(table, method);
    let auth = read_auth(table, &step::AUTH);
    refuse_two_authorities(table);
    let (method, target) = request?;
    let id = id?;
    Some(StepEntry::Own(Box::new(Step {
        id: StepId::new(&id.value)?,
        place: source.place(id.span),
        method,
        target,
        query,
        headers,
        body,
        timeout_is_own: timeout.is_some(),
        timeout: timeout.map_or(STEP_TIMEOUT, Spanned::into_inner),
        redirects: redirects.unwrap_or(REDIRECTS),
        pause,
        poll,
        retry,
        auth,
        error_pages,
        assertions,
        captures,
        only,
    })))
}

/// `auth` writes the header that `headers` writes too.
fn refuse_two_authorities(table: &TableReader<'_, '_, '_>) {
    let headers = table.get(&step::HEADERS).and_then(|node| node.get_ref().as_table());
    let written = headers.and_then(|t| t.iter().find(|(key, _)| key.get_ref().eq_ignore_ascii_case("authorization")));
    let auth = table.get(&step::AUTH).is_some_and(|node| node.get_ref().is_table());
    if let Some((key, _)) = written.filter(|_| auth) {
        table.source.push(
            table
                .source
                .error(key.span(), "this step says twice who it is", "the header `Authorization`")
                .other(table.key_span(&step::AUTH), "and `auth`, which writes it"),
        );
    }
}

fn read_request(source: &Source<'_>, text: &Text) -> Option<(http::Method, Template)> {
    let value = text.value.as_str();
    let Some((method, target)) = value.split_once(' ').filter(|(m, t)| !m.is_empty() && !t.trim().is_empty()) else {
        let help = if value.starts_with('/') || value.starts_with("http") {
            format!("write \"GET {value}\"")
        } else {
            "for example \"GET /search\" or \"POST https://api.example/orders\"".to_owned()
        };
        source.push(
            source.error(text.span.clone(), "`request` needs a method and a target", "expected two words").help(help),
        );
        return None;
    };
    if !METHODS.contains(&method) {
        let upper = method.to_ascii_uppercase();
        let near = nearest(&upper, METHODS);
        source.push(
            source
                .error(
                    text.part(0..method.len()),
                    format!("there is no method `{method}`"),
                    format!("expected one of {}", METHODS.join(", ")),
                )
                .help_if(near.map(|m| format!("did you mean `{m}`?"))),
        );
        return None;
    }
    let offset = method.len() + 1 + (target.len() - target.trim_start().len());
    let target = target.trim();
    let part = Text {
        value: target.to_owned(),
        span: text.part(offset..offset + target.len()),
        origin: text.origin.map(|o| o + offset),
    };
    let literal = target.split("{{").next().unwrap_or("");
    if !target.starts_with("{{")
        && !literal.starts_with('/')
        && !literal.starts_with("http://")
        && !literal.starts_with("https://")
    {
        source.push(source.error(
            part.span,
            "the target is neither a path nor a URL",
            "expected one that starts with / or http:// or https://",
        ));
        return None;
    }
    if literal == target
        && literal.starts_with("http")
        && let Err(error) = url::Url::parse(target)
    {
        source.push(source.error(part.span, "the target is not a URL", error.to_string()));
        return None;
    }
    if literal.contains(' ') {
        source.push(
            source
                .error(part.span, "the target has a space in it", "expected one word")
                .help("put parameters into `query`"),
        );
        return None;
    }
    Some((http::Method::from_str(method).ok()?, Template::parse(source, &part)?))
}

/// A table of names and scalars; a list gives its name several times.
pub fn read_scalars(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<(String, Template)> {
    let mut out = Vec::new();
    for (key, node) in table.entries(field) {
        let what = format!("`{}.{}`", field.name, key.value);
        let nodes: Vec<&Node<'_>> = match node.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![node],
        };
        for node in nodes {
            if let Some(template) = read_scalar(&table.source, node, &what) {
                out.push((key.value.clone(), template));
            }
        }
    }
    out
}

/// `[steps.json]` swallows every key that follows it: what looks like a step's own key in there is one.
fn refuse_swallowed(table: &TableReader<'_, '_, '_>) {
    let source = &table.source;
    for field in [&step::JSON, &step::FORM, &step::QUERY, &step::HEADERS, &step::MULTIPART] {
        let Some(node) = table.get(field) else { continue };
        let Some(inner) = node.get_ref().as_table() else { continue };
        // An inline table ends where it is seen to end.
        if source.file.text.get(node.span()).is_some_and(|t| t.starts_with('{')) {
            continue;
        }
        for key in ["expect", "capture", "id", "request"] {
            if let Some((key, _)) = inner.get_key_value(key) {
                let name = key.get_ref();
                source.push(
                    source
                        .error(key.span(), format!("`{name}` stands in the `{}` table", field.name), "TOML put it into this table")
                        .help(format!(
                            "every key after a [steps.{0}] header belongs to it: move `{name}` above the header, or write {0} = {{ … }} on one line",
                            field.name
                        )),
                );
            }
        }
        // These may name fields too.
        source.warn_of_swallowed(
            inner,
            field.name,
            &["timeout", "redirects", "retry", "poll", "pause", "only", "headers", "query"],
        );
    }
}

fn read_captures(table: &TableReader<'_, '_, '_>) -> Vec<Capture> {
    let mut out = Vec::new();
    for (key, node) in table.entries(&step::CAPTURE) {
        if !check_name(&table.source, &key, "capture") {
            continue;
        }
        if let Some(text) = as_text(&table.source, node) {
            let place = if text.value.starts_with('$') { "json" } else { "css" };
            table.source.push(
                table
                    .source
                    .error(
                        node.span(),
                        format!("the capture `{}` does not say where to look", key.value),
                        "expected a table",
                    )
                    .help(format!("for example {{ {place} = {:?} }}", text.value)),
            );
            continue;
        }
        if let Some(inner) = table.source.table(node, &capture::TABLE) {
            out.extend(read_capture(&key, &inner));
        }
    }
    out
}

fn read_capture(key: &Text, table: &TableReader<'_, '_, '_>) -> Option<Capture> {
    let source = &table.source;
    let sources = [&capture::JSON, &capture::CSS, &capture::HEADER, &capture::COOKIE, &capture::URL];
    let named: Vec<&'static Field> = sources.into_iter().filter(|f| table.get(f).is_some()).collect();
    if let [first, second, ..] = named[..] {
        source.push(
            source
                .error(table.key_span(second), "a capture has one source", format!("`{}` is the second", second.name))
                .other(table.key_span(first), "the first"),
        );
        return None;
    }
    if table.get(&capture::ATTR).is_some() && table.get(&capture::CSS).is_none() {
        source.push(source.error(
            table.key_span(&capture::ATTR),
            "`attr` goes with `css`",
            "only elements have attributes",
        ));
    }
    let regex = table.text(&capture::REGEX).and_then(|text| read_regex(source, &text));
    let from = if let Some(text) = table.text(&capture::JSON) {
        From::Json(read_json_path(source, &text)?)
    } else if let Some(text) = table.text(&capture::CSS) {
        From::Css(read_selector(source, &text, table.string(&capture::ATTR))?)
    } else if let Some(text) = table.text(&capture::HEADER) {
        let Ok(name) = http::HeaderName::from_bytes(text.value.as_bytes()) else {
            source.push(source.error(
                text.span,
                format!("`{}` is not a header name", text.value),
                "expected letters, digits and hyphens",
            ));
            return None;
        };
        From::Header(name)
    } else if let Some(text) = table.text(&capture::COOKIE) {
        From::Cookie(text.value)
    } else if let Some(url) = table.boolean(&capture::URL) {
        if !url {
            source.push(source.error(table.key_span(&capture::URL), "`url = false` captures nothing", "expected true"));
            return None;
        }
        From::Url
    } else if regex.is_some() {
        From::Body
    } else {
        if named.is_empty() && table.get(&capture::REGEX).is_none() {
            source.push(
                source
                    .error(
                        key.span.clone(),
                        format!("the capture `{}` does not say where to look", key.value),
                        "no source",
                    )
                    .help("one of json, css, regex, header, cookie, url; for example { css = \"h1\" }"),
            );
        }
        return None;
    };
    let secret = table.boolean(&capture::SECRET).unwrap_or(false) || Capture::is_secret_place(&key.value, &from);
    let kind = table.word(&capture::TYPE, &Kind::NAMES);
    Some(Capture { name: key.value.clone(), from, regex, kind, secret, place: source.place(key.span.clone()) })
}
