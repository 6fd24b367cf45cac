//! Lowering of steps: requests, assertions, captures.

use std::str::FromStr as _;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use scraper::Selector;
use serde_json::Value as Json;
use serde_json_path::JsonPath;
use toml::Spanned;
use toml::de::DeValue;

use crate::document::{Field, Node, Source, TableReader, Text, as_integer, as_text, fields};
use crate::ids::{StepId, VariantId, nearest};
use crate::journey::assertion::{Assertion, Condition, CssQuery, JsonQuery, JsonType, Order, Subject};
use crate::journey::capture::{Capture, From};
use crate::journey::model::{Body, JsonTemplate, REDIRECTS, STEP_TIMEOUT, Step};
use crate::journey::parse::{StepEntry, check_name, journey, read_headers, read_json, read_scalar};
use crate::journey::template::Template;
use crate::quantity::{DURATION_RULE, parse_duration};

fields!(step, "a step" {
    ID: "id", "an id";
    USE: "use", "the path of a fragment file";
    AS: "as", "an id";
    ONLY: "only", "a list of variant ids";
    REQUEST: "request", "a method and a target, such as \"GET /search\"";
    QUERY: "query", "a table";
    HEADERS: "headers", "a table of strings";
    FORM: "form", "a table";
    JSON: "json", "a JSON value";
    BODY: "body", "a string";
    TIMEOUT: "timeout", "a duration";
    REDIRECTS: "redirects", "a number from 0 to 20";
    EXPECT: "expect", "a table of assertions";
    CAPTURE: "capture", "a table of captures";
} planned { "auth", "body_file", "graphql", "multipart", "pause", "poll", "retry" }
misplaced super::belongs_to_journey);

fields!(expect, "`expect`" {
    STATUS: "status", "a status code, a list of them, or a table such as { ge = 200, lt = 300 }";
    WITHIN: "within", "a duration";
    HEADER: "header", "a table of header names";
    COOKIE: "cookie", "a table of cookie names";
    BODY: "body", "a string or a table such as { contains = \"Welcome\" }";
    JSON: "json", "a table of JSONPaths";
    CSS: "css", "a table of CSS selectors";
    URL: "url", "a string or a table such as { ends_with = \"/account\" }";
    REDIRECTS: "redirects", "a number";
    SIZE: "size", "a number of bytes or a table such as { gt = 0 }";
} planned { "tls_days_left", "no_error_page" });

fields!(predicate, "an assertion" {
    EQUALS: "equals", "a value";
    NOT_EQUALS: "not_equals", "a value";
    CONTAINS: "contains", "a value or a list of values";
    NOT_CONTAINS: "not_contains", "a value or a list of values";
    STARTS_WITH: "starts_with", "a string";
    ENDS_WITH: "ends_with", "a string";
    MATCHES: "matches", "a regular expression or a list of them";
    LT: "lt", "a number";
    LE: "le", "a number";
    GT: "gt", "a number";
    GE: "ge", "a number";
    IN: "in", "a list of values";
    EXISTS: "exists", "a boolean";
    COUNT: "count", "a number or a table such as { ge = 1 }";
    TYPE: "type", "\"string\", \"number\", \"integer\", \"boolean\", \"list\", \"object\" or \"null\"";
    ATTR: "attr", "the name of an attribute (css only)";
} planned {});

fields!(count, "`count`" {
    EQUALS: "equals", "a number";
    LT: "lt", "a number";
    LE: "le", "a number";
    GT: "gt", "a number";
    GE: "ge", "a number";
} planned {});

fields!(capture, "a capture" {
    JSON: "json", "a JSONPath";
    CSS: "css", "a CSS selector";
    ATTR: "attr", "the name of an attribute";
    REGEX: "regex", "a regular expression";
    HEADER: "header", "a header name";
    COOKIE: "cookie", "a cookie name";
    URL: "url", "true";
    SECRET: "secret", "a boolean";
} planned { "type" });

fn belongs_to_journey(key: &str) -> Option<String> {
    if step::TABLE.fields.iter().any(|f| f.name == key) {
        return None;
    }
    journey::TABLE.fields.iter().any(|f| f.name == key).then(|| {
        format!("`{key}` belongs to the journey: move it above the first [[steps]], where the top-level keys stand")
    })
}

/// Limits on a regular expression: ten thousand journeys must not eat the memory, and no request can.
const REGEX_SIZE: usize = 1 << 20;
const REGEX_LENGTH: usize = 4096;

pub fn read_steps(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<StepEntry> {
    table.tables(field, &step::TABLE).iter().filter_map(read_step).collect()
}

fn read_only(table: &TableReader<'_, '_, '_>) -> Vec<VariantId> {
    let texts = table.texts(&step::ONLY).unwrap_or_default();
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
    let body = read_body(table);
    let timeout = table.duration(&step::TIMEOUT, Duration::from_millis(1));
    let redirects = table.integer(&step::REDIRECTS, 0..=20).and_then(|n| u8::try_from(n).ok());
    let mut assertions = table.open(&step::EXPECT, &expect::TABLE).map(|t| read_expect(&t)).unwrap_or_default();
    assertions.sort_by_key(|a| a.place.span.start);
    let captures = read_captures(table);
    let query = read_scalars(table, &step::QUERY);
    let headers = read_headers(table, &step::HEADERS);
    refuse_swallowed(table);
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
        timeout: timeout.map_or(STEP_TIMEOUT, Spanned::into_inner),
        redirects: redirects.unwrap_or(REDIRECTS),
        assertions,
        captures,
        only,
    })))
}

fn read_request(source: &Source<'_>, text: &Text) -> Option<(http::Method, Template)> {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
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

fn read_body(table: &TableReader<'_, '_, '_>) -> Body {
    let source = &table.source;
    let present: Vec<&'static Field> =
        [&step::FORM, &step::JSON, &step::BODY].into_iter().filter(|f| table.get(f).is_some()).collect();
    if let [first, second, ..] = present[..] {
        source.push(
            source
                .error(table.key_span(second), "a request has one body", format!("`{}` is the second", second.name))
                .other(table.key_span(first), "the first"),
        );
    }
    if table.get(&step::FORM).is_some() {
        return Body::Form(read_scalars(table, &step::FORM));
    }
    if let Some(node) = table.get(&step::JSON) {
        return read_json(source, node).map_or(Body::None, Body::Json);
    }
    match table.text(&step::BODY).and_then(|text| Template::parse(source, &text)) {
        Some(template) => Body::Text(template),
        None => Body::None,
    }
}

/// A table of names and scalars; a list gives its name several times.
fn read_scalars(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<(String, Template)> {
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
    for field in [&step::JSON, &step::FORM, &step::QUERY, &step::HEADERS] {
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
    }
}

fn read_expect(table: &TableReader<'_, '_, '_>) -> Vec<Assertion> {
    let source = &table.source;
    let mut out = Vec::new();
    let mut push = |subject: Subject, key: std::ops::Range<usize>, node: &Node<'_>| {
        if let Some(assertion) = read_assertion(source, subject, key, node) {
            out.push(assertion);
        }
    };
    for (field, subject) in [
        (&expect::STATUS, Subject::Status),
        (&expect::WITHIN, Subject::Within),
        (&expect::BODY, Subject::Body),
        (&expect::URL, Subject::Url),
        (&expect::REDIRECTS, Subject::Redirects),
        (&expect::SIZE, Subject::Size),
    ] {
        if let Some(node) = table.get(field) {
            push(subject, table.key_span(field), node);
        }
    }
    for (key, node) in table.entries(&expect::HEADER) {
        match http::HeaderName::from_bytes(key.value.as_bytes()) {
            Ok(name) => push(Subject::Header(name), key.span, node),
            Err(_) => source.push(source.error(
                key.span,
                format!("`{}` is not a header name", key.value),
                "expected letters, digits and hyphens",
            )),
        }
    }
    for (key, node) in table.entries(&expect::COOKIE) {
        push(Subject::Cookie(key.value), key.span, node);
    }
    for (key, node) in table.entries(&expect::JSON) {
        if let Some(query) = read_json_path(source, &key) {
            push(Subject::Json(query), key.span, node);
        }
    }
    for (key, node) in table.entries(&expect::CSS) {
        let attr = node.get_ref().as_table().and_then(|t| t.get("attr")).and_then(|a| a.get_ref().as_str());
        if let Some(query) = read_selector(source, &key, attr.map(str::to_owned)) {
            push(Subject::Css(query), key.span, node);
        }
    }
    out
}

fn read_assertion(
    source: &Source<'_>,
    subject: Subject,
    key: std::ops::Range<usize>,
    node: &Node<'_>,
) -> Option<Assertion> {
    let place = source.place(key.start..node.span().end.max(key.end));
    let conditions = match (&subject, node.get_ref()) {
        (Subject::Within, value) => {
            let limit = value.as_str().and_then(parse_duration);
            let Some(limit) = limit else {
                source.push(source.error(
                    node.span(),
                    "`within` is not a duration",
                    format!("expected {DURATION_RULE}"),
                ));
                return None;
            };
            let seconds = serde_json::Number::from_f64(limit.as_secs_f64())?;
            vec![Condition::Compare(Order::Le, JsonTemplate::Plain(Json::Number(seconds)))]
        }
        (subject, DeValue::Table(_)) => {
            let table = source.table(node, &predicate::TABLE)?;
            if !matches!(subject, Subject::Css(_)) && table.get(&predicate::ATTR).is_some() {
                source.push(source.error(
                    table.key_span(&predicate::ATTR),
                    "`attr` goes with css",
                    "only elements have attributes",
                ));
            }
            let conditions = read_conditions(&table);
            if conditions.is_empty() && table.table.iter().all(|(key, _)| key.get_ref() == "attr") {
                source.push(
                    source
                        .error(node.span(), "this assertion asserts nothing", "expected a predicate")
                        .help("for example { exists = true } or { contains = \"Welcome\" }"),
                );
            }
            conditions
        }
        (Subject::Status, DeValue::Array(items)) => {
            let codes: Vec<_> = items.iter().filter_map(|item| read_json(source, item)).collect();
            items.iter().for_each(|item| check_status(source, item));
            vec![Condition::In(codes)]
        }
        (Subject::Status, DeValue::Integer(_)) => {
            check_status(source, node);
            vec![Condition::Equals(read_json(source, node)?)]
        }
        (Subject::Status | Subject::Redirects | Subject::Size, value) if !matches!(value, DeValue::Integer(_)) => {
            let expects = match subject {
                Subject::Status => expect::STATUS.expects,
                _ => "a number",
            };
            source.wrong_type(node.span(), &format!("`{subject}`"), expects, value);
            return None;
        }
        _ => vec![Condition::Equals(read_json(source, node)?)],
    };
    Some(Assertion { subject, conditions, place })
}

fn check_status(source: &Source<'_>, node: &Node<'_>) {
    if !as_integer(node.get_ref()).is_some_and(|code| (100..=599).contains(&code)) {
        source.push(source.error(node.span(), "this is not a status code", "expected a number from 100 to 599"));
    }
}

fn read_conditions(table: &TableReader<'_, '_, '_>) -> Vec<Condition> {
    let source = &table.source;
    let value = |field: &'static Field| table.get(field).and_then(|node| read_json(source, node));
    let list = |field: &'static Field| match value(field)? {
        JsonTemplate::List(items) => Some(items),
        one => Some(vec![one]),
    };
    let mut out = Vec::new();
    out.extend(value(&predicate::EQUALS).map(Condition::Equals));
    out.extend(value(&predicate::NOT_EQUALS).map(Condition::NotEquals));
    out.extend(list(&predicate::CONTAINS).map(Condition::Contains));
    out.extend(list(&predicate::NOT_CONTAINS).map(Condition::NotContains));
    out.extend(value(&predicate::STARTS_WITH).map(Condition::StartsWith));
    out.extend(value(&predicate::ENDS_WITH).map(Condition::EndsWith));
    if let Some(texts) = table.texts(&predicate::MATCHES) {
        let all: Vec<Regex> = texts.iter().filter_map(|text| read_regex(source, text)).collect();
        out.push(Condition::Matches(all));
    }
    for (field, order) in [
        (&predicate::LT, Order::Lt),
        (&predicate::LE, Order::Le),
        (&predicate::GT, Order::Gt),
        (&predicate::GE, Order::Ge),
    ] {
        let Some(node) = table.get(field) else { continue };
        if matches!(node.get_ref(), DeValue::Integer(_) | DeValue::Float(_) | DeValue::String(_)) {
            out.extend(read_json(source, node).map(|v| Condition::Compare(order, v)));
        } else {
            source.wrong_type(node.span(), &format!("`{}`", field.name), "a number", node.get_ref());
        }
    }
    if table.get(&predicate::IN).is_some() {
        match value(&predicate::IN) {
            Some(JsonTemplate::List(items)) => out.push(Condition::In(items)),
            Some(JsonTemplate::Plain(Json::Array(items))) => {
                out.push(Condition::In(items.into_iter().map(JsonTemplate::Plain).collect()));
            }
            Some(_) => source.push(source.error(
                table.key_span(&predicate::IN),
                "`in` needs a list",
                "for example in = [\"paid\", \"shipped\"]",
            )),
            None => {}
        }
    }
    out.extend(table.boolean(&predicate::EXISTS).map(Condition::Exists));
    out.extend(read_count(table).map(Condition::Count));
    out.extend(read_type(table).map(Condition::Type));
    out
}

fn read_count(table: &TableReader<'_, '_, '_>) -> Option<Vec<(Order, u64)>> {
    let node = table.get(&predicate::COUNT)?;
    if node.get_ref().is_table() {
        let inner = table.source.table(node, &count::TABLE)?;
        let mut out = Vec::new();
        for (field, order) in [
            (&count::EQUALS, Order::Eq),
            (&count::LT, Order::Lt),
            (&count::LE, Order::Le),
            (&count::GT, Order::Gt),
            (&count::GE, Order::Ge),
        ] {
            out.extend(inner.integer(field, 0..=i64::MAX).and_then(|n| u64::try_from(n).ok()).map(|n| (order, n)));
        }
        return Some(out);
    }
    let n = table.integer(&predicate::COUNT, 0..=i64::MAX)?;
    Some(vec![(Order::Eq, u64::try_from(n).ok()?)])
}

fn read_type(table: &TableReader<'_, '_, '_>) -> Option<JsonType> {
    let text = table.text(&predicate::TYPE)?;
    let found = JsonType::NAMES.iter().find(|(name, _)| *name == text.value).map(|(_, t)| *t);
    if found.is_none() {
        table.source.push(table.source.error(
            text.span,
            format!("there is no type `{}`", text.value),
            format!("expected {}", predicate::TYPE.expects),
        ));
    }
    found
}

fn read_regex(source: &Source<'_>, text: &Text) -> Option<Regex> {
    if text.value.len() > REGEX_LENGTH {
        source.push(source.error(
            text.span.clone(),
            "this regular expression is too long",
            format!("at most {REGEX_LENGTH} bytes"),
        ));
        return None;
    }
    match RegexBuilder::new(&text.value).size_limit(REGEX_SIZE).dfa_size_limit(2 * REGEX_SIZE).build() {
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(limit)) => {
            source.push(
                source
                    .error(
                        text.span.clone(),
                        "this regular expression is too large",
                        format!("more than {limit} bytes when compiled"),
                    )
                    .help("large repetitions such as {1000} multiply: lower them"),
            );
            None
        }
        Err(error) => {
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            source.push(
                source
                    .error(text.span.clone(), "this regular expression is not valid", reason)
                    .help("in TOML, 'single quotes' keep backslashes as they are"),
            );
            None
        }
    }
}

fn read_json_path(source: &Source<'_>, text: &Text) -> Option<JsonQuery> {
    let written = text.value.as_str();
    if written.matches("..").count() > 1 {
        source.push(source.error(
            text.span.clone(),
            "this JSONPath descends twice",
            "at most one `..`: two can visit every node many times",
        ));
        return None;
    }
    match JsonPath::parse(written) {
        // RFC 9535 admits only singular queries in comparisons, so the parser itself can tell.
        Ok(path) => Some(JsonQuery {
            singular: JsonPath::parse(&format!("$[?{written}==1]")).is_ok(),
            text: written.to_owned(),
            path,
        }),
        Err(error) => {
            let at = error.position().min(written.len());
            let span = if written.is_char_boundary(at) && at < written.len() {
                text.part(at..written.len())
            } else {
                text.span.clone()
            };
            let help = if written.starts_with('$') {
                "RFC 9535, for example \"$.items[0].name\" or \"$.items[?@.price > 10]\"".to_owned()
            } else {
                format!("a JSONPath starts with $: \"$.{written}\"")
            };
            source.push(source.error(span, "this JSONPath is not valid", "cannot be understood from here").help(help));
            None
        }
    }
}

fn read_selector(source: &Source<'_>, text: &Text, attr: Option<String>) -> Option<CssQuery> {
    match Selector::parse(&text.value) {
        Ok(selector) => Some(CssQuery { text: text.value.clone(), selector, attr }),
        Err(_) => {
            source.push(
                source
                    .error(text.span.clone(), "this CSS selector is not valid", "this is not a selector that journeyd knows")
                    .help("CSS 4 without pseudo-elements; a selector with spaces or dots needs quotes as a key: expect.css.\"ul.results li\""),
            );
            None
        }
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
    Some(Capture { name: key.value.clone(), from, regex, secret, place: source.place(key.span.clone()) })
}
