//! Lowering of assertions.

use regex::Regex;
use serde_json::Value as Json;
use toml::de::DeValue;

use crate::document::{Field, Node, Source, TableReader, as_integer};
use crate::journey::assertion::{Assertion, Condition, JsonType, Order, Subject};
use crate::journey::compile::{read_json_path, read_regex, read_selector};
use crate::journey::fields::{count, expect, predicate};
use crate::journey::json_template::JsonTemplate;
use crate::journey::parse::read_json;
use crate::quantity::{DURATION_RULE, parse_duration};

/// The assertions of an `expect` table.
pub fn read_expect(table: &TableReader<'_, '_, '_>) -> Vec<Assertion> {
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
        (&expect::TLS_DAYS_LEFT, Subject::TlsDaysLeft),
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
    // They are judged, and the first that fails is told, in the order in which they were written.
    out.sort_by_key(|a| a.place.span.start);
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
            let Some(limit) = limit.filter(|l| !l.is_zero()) else {
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
            if matches!(subject, Subject::Status | Subject::Redirects | Subject::Size | Subject::TlsDaysLeft) {
                refuse_texts(&table, &conditions);
            }
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
        (Subject::TlsDaysLeft, DeValue::Integer(_)) => {
            vec![Condition::Compare(Order::Ge, read_json(source, node)?)]
        }
        (Subject::Status | Subject::Redirects | Subject::Size | Subject::TlsDaysLeft, value)
            if !matches!(value, DeValue::Integer(_)) =>
        {
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

/// A text is neither more nor less than a number: such an assertion could never hold.
fn refuse_texts(table: &TableReader<'_, '_, '_>, conditions: &[Condition]) {
    let is_text = |operand: &&JsonTemplate| matches!(operand, JsonTemplate::Plain(Json::String(_)));
    if conditions.iter().flat_map(Condition::operands).any(|operand| is_text(&operand)) {
        table.source.push(table.source.error(
            table.span.clone(),
            "this can never hold",
            "expected a number, found a text",
        ));
    }
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
    out.extend(table.word(&predicate::TYPE, &JsonType::NAMES).map(Condition::Type));
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
