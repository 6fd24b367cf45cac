//! Lowering of what a step sends: body, credentials, and how often.

use std::time::Duration;

use http::Method;
use toml::Spanned;
use toml::de::DeValue;

use crate::diag::Diagnostic;
use crate::document::{Field, Source, TableReader, Text, as_integer, as_text};
use crate::journey::assertion::{Assertion, Subject};
use crate::journey::fields::{auth, basic, graphql, oauth2, part, poll, retry, step, until};
use crate::journey::parse::{read_json, read_json_table, read_scalar};
use crate::journey::parse_expect::read_expect;
use crate::journey::parse_step::read_scalars;
use crate::journey::request::{
    Attached, Auth, Body, Content, GraphQl, OAuth2, POLL_EVERY, POLL_FOR, POLL_LEAST, Part, Poll, RETRY_WAIT, Retry,
};
use crate::journey::template::Template;

/// Methods that do the same when they are sent twice (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method)
}

pub fn read_body(table: &TableReader<'_, '_, '_>, method: Option<&Method>, assertions: &[Assertion]) -> Body {
    let source = &table.source;
    let kinds: [&'static Field; 6] =
        [&step::FORM, &step::JSON, &step::BODY, &step::BODY_FILE, &step::MULTIPART, &step::GRAPHQL];
    let present: Vec<&'static Field> = kinds.into_iter().filter(|f| table.get(f).is_some()).collect();
    if let [first, second, ..] = present[..] {
        source.push(
            source
                .error(table.key_span(second), "a request has one body", format!("`{}` is the second", second.name))
                .other(table.key_span(first), "the first"),
        );
    }
    let Some(first) = present.first() else { return Body::None };
    if method.is_some_and(|m| [Method::GET, Method::HEAD].contains(m)) && first.name != "graphql" {
        let method = method.map(ToString::to_string).unwrap_or_default();
        source.push(
            Diagnostic::warning(source.place(table.key_span(first)), format!("a {method} request has a body"))
                .label("servers and proxies may ignore or refuse it (RFC 9110 §9.3.1)")
                .help("POST sends a body; `query` puts parameters behind the target"),
        );
    }
    let body = match first.name {
        "form" => Some(Body::Form(read_scalars(table, &step::FORM))),
        "json" => table.get(&step::JSON).and_then(|node| read_json(source, node)).map(Body::Json),
        "body" => table.text(&step::BODY).and_then(|text| Template::parse(source, &text)).map(Body::Text),
        "body_file" => table.text(&step::BODY_FILE).map(|path| Body::File(attached(source, path))),
        "multipart" => Some(Body::Multipart(read_parts(table))),
        _ => read_graphql(table, method, assertions).map(Body::GraphQl),
    };
    body.unwrap_or(Body::None)
}

pub fn attached(source: &Source<'_>, path: Text) -> Attached {
    Attached { place: source.place(path.span.clone()), path, bytes: bytes::Bytes::new() }
}

fn read_parts(table: &TableReader<'_, '_, '_>) -> Vec<Part> {
    let source = &table.source;
    let mut parts = Vec::new();
    for (key, node) in table.entries(&step::MULTIPART) {
        let name = key.value.clone();
        if !node.get_ref().is_table() {
            let content = read_scalar(source, node, &format!("`multipart.{name}`")).map(Content::Text);
            parts.extend(content.map(|content| Part { name, content, filename: None, media_type: None }));
            continue;
        }
        let Some(inner) = source.table(node, &part::TABLE) else { continue };
        let file = inner.text(&part::FILE).map(|path| Content::File(attached(source, path)));
        let text = inner.text(&part::TEXT).and_then(|text| Template::parse(source, &text)).map(Content::Text);
        if inner.get(&part::FILE).is_some() == inner.get(&part::TEXT).is_some() {
            let message = format!("the part `{name}` needs either `file` or `text`");
            source.push(source.error(key.span.clone(), message, "expected one of them"));
            continue;
        }
        let media_type = inner.text(&part::TYPE).and_then(|text| {
            let fine = text.value.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
                && http::HeaderValue::from_str(&text.value).is_ok();
            if !fine {
                source.push(source.error(
                    text.span.clone(),
                    format!("`{}` is not a media type", text.value),
                    format!("expected {}", part::TYPE.expects),
                ));
            }
            fine.then_some(text.value)
        });
        let filename = inner.text(&part::FILENAME).and_then(|text| Template::parse(source, &text));
        parts.extend(file.or(text).map(|content| Part { name, content, filename, media_type }));
    }
    if table.get(&step::MULTIPART).is_some_and(|n| n.get_ref().as_table().is_some_and(|t| t.is_empty())) {
        source.push(source.error(table.key_span(&step::MULTIPART), "`multipart` has no part", "expected at least one"));
    }
    parts
}

fn read_graphql(table: &TableReader<'_, '_, '_>, method: Option<&Method>, assertions: &[Assertion]) -> Option<GraphQl> {
    let source = &table.source;
    if method.is_some_and(|m| m != Method::POST) {
        source.push(source.error(
            table.key_span(&step::GRAPHQL),
            "a GraphQL step is a POST request",
            "expected request = \"POST …\"",
        ));
    }
    let inner = table.open(&step::GRAPHQL, &graphql::TABLE)?;
    if inner.get(&graphql::QUERY).is_none() {
        inner.missing(&graphql::QUERY, "`graphql`", "for example query = \"{ shop { name } }\"");
    }
    let query = inner.text(&graphql::QUERY).and_then(|text| Template::parse(source, &text));
    let variables = match inner.get(&graphql::VARIABLES) {
        None => Vec::new(),
        Some(node) => match node.get_ref() {
            DeValue::Table(variables) => read_json_table(source, variables)?,
            other => {
                source.wrong_type(node.span(), "`variables`", graphql::VARIABLES.expects, other);
                Vec::new()
            }
        },
    };
    let operation = inner.text(&graphql::OPERATION).and_then(|text| Template::parse(source, &text));
    let looks_at_errors =
        |a: &Assertion| matches!(&a.subject, Subject::Json(query) if query.text.starts_with("$.errors"));
    Some(GraphQl { query: query?, variables, operation, errors_asserted: assertions.iter().any(looks_at_errors) })
}

pub fn read_auth(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<Auth> {
    let node = table.get(field)?;
    let source = &table.source;
    if let Some(text) = as_text(source, node) {
        if text.value == "none" {
            return Some(Auth::None);
        }
        source.push(
            source
                .error(text.span, "`auth` is a table, or \"none\"", format!("expected {}", field.expects))
                .help("for example auth = { bearer = \"{{ secret.api_token }}\" }"),
        );
        return None;
    }
    if !node.get_ref().is_table() {
        source.wrong_type(node.span(), "`auth`", field.expects, node.get_ref());
        return None;
    }
    let inner = source.table(node, &auth::TABLE)?;
    let present: Vec<&'static Field> = auth::TABLE.known().filter(|f| inner.get(f).is_some()).collect();
    match present[..] {
        [] => {
            inner.missing(&auth::BEARER, "`auth`", "or `basic`, or `oauth2`");
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            source.push(
                source
                    .error(inner.key_span(second), "a request has one kind of credentials", "the second")
                    .other(inner.key_span(first), "the first"),
            );
            return None;
        }
    }
    let template = |t: &TableReader<'_, '_, '_>, field| t.text(field).and_then(|text| Template::parse(source, &text));
    let needed = |t: &TableReader<'_, '_, '_>, field: &'static Field, help: &str| {
        if t.get(field).is_none() {
            t.missing(field, t_name(present[0]), help);
        }
        template(t, field)
    };
    if let Some(t) = inner.get(&auth::BASIC).and_then(|_| inner.open(&auth::BASIC, &basic::TABLE)) {
        let user = needed(&t, &basic::USER, "user = \"probe\"");
        let password = needed(&t, &basic::PASSWORD, "password = \"{{ secret.probe_password }}\"");
        if let Some(user) = user.as_ref().filter(|u| u.as_literal().is_some_and(|text| text.contains(':'))) {
            let span = user.place.span.clone();
            source.push(source.error(
                span,
                "a user of HTTP Basic has no colon",
                "everything after it would be the password",
            ));
        }
        return Some(Auth::Basic { user: user?, password: password? });
    }
    if inner.get(&auth::BEARER).is_some() {
        let token = template(&inner, &auth::BEARER)?;
        if token.as_literal().is_some_and(str::is_empty) {
            source.push(source.error(
                token.place.span.clone(),
                "the token is empty",
                "expected one such as \"{{ token }}\"",
            ));
        }
        return Some(Auth::Bearer(token));
    }
    let t = inner.open(&auth::OAUTH2, &oauth2::TABLE)?;
    let token_url = needed(&t, &oauth2::TOKEN_URL, "token_url = \"https://login.example/oauth/token\"");
    let client_id = needed(&t, &oauth2::CLIENT_ID, "client_id = \"journeyd\"");
    let client_secret = needed(&t, &oauth2::CLIENT_SECRET, "client_secret = \"{{ secret.client_secret }}\"");
    let in_body = t.word(&oauth2::CREDENTIALS, &[("header", false), ("body", true)]).unwrap_or(false);
    let token_url = token_url?;
    if token_url
        .as_literal()
        .is_some_and(|url| !url::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https")))
    {
        let place = token_url.place.span.clone();
        source.push(source.error(
            place,
            "`token_url` is not a URL",
            "expected one that starts with https:// or http://",
        ));
    }
    Some(Auth::OAuth2(Box::new(OAuth2 {
        token_url,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: template(&t, &oauth2::SCOPE),
        audience: template(&t, &oauth2::AUDIENCE),
        in_body,
    })))
}

fn t_name(field: &'static Field) -> &'static str {
    match field.name {
        "basic" => "`basic`",
        _ => "`oauth2`",
    }
}

pub fn read_poll(table: &TableReader<'_, '_, '_>) -> Option<Poll> {
    let t = table.open(&step::POLL, &poll::TABLE)?;
    if t.get(&poll::UNTIL).is_none() {
        t.missing(&poll::UNTIL, "`poll`", "for example until.json.\"$.status\" = \"paid\"");
    }
    let every = t.duration(&poll::EVERY, POLL_LEAST).map_or(POLL_EVERY, Spanned::into_inner);
    let own = t.duration(&poll::FOR, Duration::from_millis(1)).map(Spanned::into_inner);
    let lasts = own.unwrap_or(POLL_FOR);
    let inner = t.open(&poll::UNTIL, &until::TABLE)?;
    if inner.table.is_empty() {
        let message = "`until` waits for nothing";
        table.source.push(table.source.error(t.key_span(&poll::UNTIL), message, "expected an assertion"));
    }
    if every >= lasts {
        table.source.push(
            Diagnostic::warning(table.source.place(t.key_span(&poll::EVERY)), "this poll asks only once")
                .label(format!("the whole poll lasts {}", crate::quantity::show_duration(lasts)))
                .help("`every` is to be shorter than `for`"),
        );
    }
    Some(Poll { every, lasts, lasts_is_own: own.is_some(), until: read_expect(&inner) })
}

pub fn read_retry(table: &TableReader<'_, '_, '_>, method: Option<&Method>) -> Option<Retry> {
    let node = table.get(&step::RETRY)?;
    let source = &table.source;
    let retry = match node.get_ref() {
        DeValue::Integer(_) => {
            let times = as_integer(node.get_ref()).filter(|n| (1..=10).contains(n));
            if times.is_none() {
                source.push(source.error(node.span(), "`retry` is out of range", "expected 1 to 10"));
            }
            Retry { times: u32::try_from(times?).ok()?, wait: RETRY_WAIT, any_method: false }
        }
        DeValue::Table(_) => {
            let t = source.table(node, &retry::TABLE)?;
            Retry {
                times: t.integer(&retry::TIMES, 1..=10).and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
                wait: t.duration(&retry::WAIT, Duration::ZERO).map_or(RETRY_WAIT, Spanned::into_inner),
                any_method: t.boolean(&retry::ANY_METHOD).unwrap_or(false),
            }
        }
        other => {
            source.wrong_type(node.span(), "`retry`", step::RETRY.expects, other);
            return None;
        }
    };
    if !retry.any_method
        && let Some(method) = method.filter(|m| !is_idempotent(m))
    {
        // Asked for and without effect: better refused than forgotten.
        source.push(
            source
                .error(node.span(), format!("a {method} request is not sent twice"), "it could do twice what it does")
                .help(format!(
                    "where that is fine (an idempotency key, a search by POST): retry = {{ times = {}, any_method = true }}",
                    retry.times
                )),
        );
    }
    Some(retry)
}
