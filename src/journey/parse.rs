//! From one file's TOML to a journey or fragment whose names are not yet resolved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diag::{Diagnostic, Findings, Place, SourceFile};
use crate::document::{
    Field, Node, Source, TableKind, TableReader, Text, as_float, as_integer, as_text, fields, in_file_order, type_name,
};
use crate::ids::{VariantId, is_name, nearest};
use crate::journey::functions;
use crate::journey::model::{JsonTemplate, SLO_WINDOW, Severity, Slo, Step};
use crate::journey::parse_step;
use crate::journey::template::Template;
use crate::timetable::{CronLine, SHORTEST, Timetable};

fields!(
    /// Keys of a journey file.
    journey, "a journey" {
        TITLE: "title", "a string";
        OWNER: "owner", "a string";
        SEVERITY: "severity", "\"critical\", \"warning\" or \"info\"";
        RUNBOOK: "runbook", "a URL";
        LABELS: "labels", "a table of strings";
        ENABLED: "enabled", "a boolean";
        BASE_URL: "base_url", "an http or https URL";
        TIMEOUT: "timeout", "a duration";
        HEADERS: "headers", "a table of strings";
        USER_AGENT: "user_agent", "a string";
        SCHEDULE: "schedule", "a table with `every` or `cron`";
        SLO: "slo", "a table";
        ALERT: "alert", "a table";
        VARS: "vars", "a table";
        VARIANTS: "variants", "[[variants]]";
        STEPS: "steps", "[[steps]]";
        CLEANUP: "cleanup", "[[cleanup]]";
    } planned { "alerts", "auth", "dependencies", "http_version", "insecure_skip_verify", "ip_family", "proxy", "resolve", "tls" }
);
/// `[defaults]` of the configuration: the journey's own keys, but for those that make it this journey.
pub static DEFAULTS: TableKind = TableKind {
    what: "`[defaults]`",
    fields: &[
        &journey::OWNER,
        &journey::SEVERITY,
        &journey::RUNBOOK,
        &journey::LABELS,
        &journey::ENABLED,
        &journey::BASE_URL,
        &journey::TIMEOUT,
        &journey::HEADERS,
        &journey::USER_AGENT,
        &journey::SCHEDULE,
        &journey::SLO,
        &journey::ALERT,
    ],
    misplaced: planned_in_journeys,
};
fields!(
    /// Keys of a fragment file.
    fragment, "a fragment" {
        VARS: "vars", "a table";
        STEPS: "steps", "[[steps]]";
    } planned {}
    misplaced super::not_in_fragments
);
fields!(schedule, "`[schedule]`" {
    EVERY: "every", "a duration of at least 1 s";
    CRON: "cron", "a cron line such as \"*/5 8-20 * * Mon-Fri\"";
    TIMEZONE: "timezone", "an IANA time zone such as \"Europe/Berlin\"";
} planned {});
fields!(slo, "`[slo]`" {
    OBJECTIVE: "objective", "a percentage such as 99.5";
    WINDOW: "window", "a duration";
    LATENCY: "latency", "a duration";
} planned {});
fields!(alert, "`[alert]`" {
    FAIL_AFTER: "fail_after", "a number of failed runs in a row";
    RECOVER_AFTER: "recover_after", "a number of passed runs in a row";
} planned { "depends_on", "fail_when", "for", "keep_firing_for", "max_reminders", "quorum", "repeat_every" });
fields!(variant, "a variant" {
    ID: "id", "an id";
    VARS: "vars", "a table";
} planned {});

fn planned_in_journeys(key: &str) -> Option<String> {
    let planned = journey::TABLE.fields.iter().any(|f| f.planned && f.name == key);
    let own = journey::TABLE.fields.iter().any(|f| f.name == key);
    if planned {
        Some("it is not available in this version of journeyd".to_owned())
    } else {
        own.then(|| "each journey has its own".to_owned())
    }
}

fn not_in_fragments(key: &str) -> Option<String> {
    let journey_key = journey::TABLE.fields.iter().any(|f| f.name == key);
    journey_key.then(|| "a fragment holds [[steps]] and [vars]; this belongs into the journeys that use it".to_owned())
}

/// Counts are kept for the longest window, by the minute.
const LONGEST_WINDOW: Duration = Duration::from_secs(90 * 24 * 3600);

/// Journey-level settings that `[defaults]` can also give.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub owner: Option<String>,
    pub severity: Option<Severity>,
    pub runbook: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub enabled: Option<bool>,
    pub base_url: Option<Template>,
    pub timeout: Option<Spanned<Duration>>,
    pub headers: Vec<(http::HeaderName, Template)>,
    pub user_agent: Option<Template>,
    pub schedule: Option<Timetable>,
    pub slo: Option<Slo>,
    pub alert: AlertOptions,
}

/// `[alert]` as written; what is absent comes from the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlertOptions {
    pub fail_after: Option<u32>,
    pub recover_after: Option<u32>,
}

/// A var as written.
#[derive(Debug, Clone)]
pub struct Var {
    pub name: String,
    pub value: JsonTemplate,
    pub place: Place,
}

/// A step as written: its own, or a fragment's.
#[derive(Debug, Clone)]
pub enum StepEntry {
    Own(Box<Step>),
    Use { path: Text, alias: Option<String>, only: Vec<VariantId>, place: Place },
}

#[derive(Debug, Clone)]
pub struct Variant {
    pub id: VariantId,
    pub place: Place,
    pub vars: Vec<Var>,
}

/// A journey file after its first pass.
#[derive(Debug)]
pub struct JourneyFile {
    pub file: Arc<SourceFile>,
    pub title: Option<String>,
    pub settings: Settings,
    pub vars: Vec<Var>,
    pub variants: Vec<Variant>,
    pub steps: Vec<StepEntry>,
    pub cleanup: Vec<StepEntry>,
}

/// A fragment file after its first pass.
#[derive(Debug)]
pub struct FragmentFile {
    pub file: Arc<SourceFile>,
    pub vars: Vec<Var>,
    pub steps: Vec<StepEntry>,
}

/// Parses a journey file. What cannot be read is told and left out.
pub fn parse_journey(file: &Arc<SourceFile>, findings: &Findings) -> JourneyFile {
    let source = Source { file: Arc::clone(file), findings };
    let document = source.parse(&file.text);
    let table = source.open(document.get_ref(), 0..0, &journey::TABLE);
    let variants = table.tables(&journey::VARIANTS, &variant::TABLE).iter().filter_map(read_variant).collect();
    let parsed = JourneyFile {
        file: Arc::clone(file),
        title: table.string(&journey::TITLE),
        settings: read_settings(&table),
        vars: read_vars(&table, &journey::VARS),
        variants,
        steps: parse_step::read_steps(&table, &journey::STEPS),
        cleanup: parse_step::read_steps(&table, &journey::CLEANUP),
    };
    let no_steps = table.get(&journey::STEPS).is_none_or(|n| n.get_ref().as_array().is_some_and(|a| a.is_empty()));
    if no_steps && !source.findings.has_errors() {
        table.missing(&journey::STEPS, "the journey", "add at least:\n[[steps]]\nid = \"home\"\nrequest = \"GET /\"");
    }
    parsed
}

/// Parses a fragment file.
pub fn parse_fragment(file: &Arc<SourceFile>, findings: &Findings) -> FragmentFile {
    let source = Source { file: Arc::clone(file), findings };
    let document = source.parse(&file.text);
    let table = source.open(document.get_ref(), 0..0, &fragment::TABLE);
    FragmentFile {
        file: Arc::clone(file),
        vars: read_vars(&table, &fragment::VARS),
        steps: parse_step::read_steps(&table, &fragment::STEPS),
    }
}

/// Parses `[defaults]` of the daemon's configuration.
pub fn parse_defaults(source: &Source<'_>, node: &Node<'_>) -> Settings {
    source.table(node, &DEFAULTS).map(|table| read_settings(&table)).unwrap_or_default()
}

fn read_settings(table: &TableReader<'_, '_, '_>) -> Settings {
    Settings {
        owner: table.string(&journey::OWNER),
        severity: read_severity(table),
        runbook: read_url(table, &journey::RUNBOOK),
        labels: read_labels(table),
        enabled: table.boolean(&journey::ENABLED),
        base_url: read_base_url(table),
        timeout: table.duration(&journey::TIMEOUT, Duration::from_millis(1)),
        headers: read_headers(table, &journey::HEADERS),
        user_agent: table.text(&journey::USER_AGENT).and_then(|t| Template::parse(&table.source, &t)),
        schedule: table.open(&journey::SCHEDULE, &schedule::TABLE).and_then(|t| read_schedule(&t)),
        slo: table.open(&journey::SLO, &slo::TABLE).map(|t| read_slo(&t)),
        alert: table.open(&journey::ALERT, &alert::TABLE).map(|t| read_alert(&t)).unwrap_or_default(),
    }
}

fn read_slo(table: &TableReader<'_, '_, '_>) -> Slo {
    let window = table.duration(&slo::WINDOW, Duration::from_secs(3600)).map(Spanned::into_inner);
    if window.is_some_and(|w| w > LONGEST_WINDOW) {
        let span = table.key_span(&slo::WINDOW);
        table.source.push(table.source.error(span, "`window` is too long", "expected at most 90d"));
    }
    if window.is_some() && table.get(&slo::OBJECTIVE).is_none() {
        let span = table.key_span(&slo::WINDOW);
        table.source.push(
            Diagnostic::warning(table.source.place(span), "a window without an objective does nothing")
                .label("of what?")
                .help("for example objective = 99.5, the percentage of runs that are to pass"),
        );
    }
    Slo {
        objective: read_objective(table),
        window: window.unwrap_or(SLO_WINDOW),
        latency: table.duration(&slo::LATENCY, Duration::from_millis(1)).map(Spanned::into_inner),
    }
}

fn read_objective(table: &TableReader<'_, '_, '_>) -> Option<f64> {
    let node = table.get(&slo::OBJECTIVE)?;
    let value = node.get_ref();
    let whole = as_integer(value).and_then(|n| i32::try_from(n).ok()).map(f64::from);
    let Some(percent) = as_float(value).or(whole) else {
        table.source.wrong_type(node.span(), "`objective`", slo::OBJECTIVE.expects, value);
        return None;
    };
    if percent > 0.0 && percent < 100.0 {
        if percent < 1.0 {
            table.source.push(
                Diagnostic::warning(table.source.place(node.span()), "`objective` is a percentage")
                    .label(format!("of a hundred runs {percent} are to pass"))
                    .help(format!("perhaps objective = {}", percent * 100.0)),
            );
        }
        return Some(percent / 100.0);
    }
    table.source.push(
        table
            .source
            .error(node.span(), "`objective` is out of range", "expected more than 0 and less than 100 percent")
            .help_if(
                (percent >= 100.0).then(|| "100 leaves no error budget: the first failure would break it".to_owned()),
            ),
    );
    None
}

fn read_alert(table: &TableReader<'_, '_, '_>) -> AlertOptions {
    let count = |field| table.integer(field, 1..=1000).and_then(|n| u32::try_from(n).ok());
    AlertOptions { fail_after: count(&alert::FAIL_AFTER), recover_after: count(&alert::RECOVER_AFTER) }
}

fn read_severity(table: &TableReader<'_, '_, '_>) -> Option<Severity> {
    let text = table.text(&journey::SEVERITY)?;
    let found = Severity::NAMES.iter().find(|(name, _)| *name == text.value).map(|(_, s)| *s);
    if found.is_none() {
        let near = nearest(&text.value, Severity::NAMES.iter().map(|(name, _)| *name));
        table.source.push(
            table
                .source
                .error(
                    text.span,
                    format!("there is no severity `{}`", text.value),
                    format!("expected {}", journey::SEVERITY.expects),
                )
                .help_if(near.map(|n| format!("did you mean \"{n}\"?"))),
        );
    }
    found
}

fn read_url(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<String> {
    let text = table.text(field)?;
    match url::Url::parse(&text.value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Some(text.value),
        _ => {
            table.source.push(table.source.error(
                text.span,
                format!("`{}` is not a URL", field.name),
                "expected one that starts with http:// or https://",
            ));
            None
        }
    }
}

fn read_base_url(table: &TableReader<'_, '_, '_>) -> Option<Template> {
    let text = table.text(&journey::BASE_URL)?;
    let template = Template::parse(&table.source, &text)?;
    if let Some(literal) = template.as_literal()
        && literal.contains(['?', '#'])
    {
        table.source.push(table.source.error(
            text.span,
            "`base_url` has a query or fragment",
            "targets are put behind it: scheme, host and path only",
        ));
    } else if let Some(literal) = template.as_literal()
        && !url::Url::parse(literal).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
    {
        table.source.push(table.source.error(
            text.span,
            "`base_url` is not a URL",
            "expected one that starts with http:// or https://",
        ));
    }
    Some(template)
}

fn read_labels(table: &TableReader<'_, '_, '_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, node) in table.entries(&journey::LABELS) {
        let plain = key.value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && key.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            table.source.push(table.source.error(
                key.span.clone(),
                format!("`{}` is not a label name", key.value),
                "expected lower-case letters, digits and _",
            ));
            continue;
        }
        match as_text(&table.source, node) {
            Some(text) => {
                labels.insert(key.value, text.value);
            }
            None => table.source.wrong_type(node.span(), &format!("label `{}`", key.value), "a string", node.get_ref()),
        }
    }
    labels
}

/// A table of header names and templates.
pub fn read_headers(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<(http::HeaderName, Template)> {
    let mut headers = Vec::new();
    for (key, node) in table.entries(field) {
        let name = http::HeaderName::from_bytes(key.value.as_bytes());
        let Ok(name) = name else {
            table.source.push(table.source.error(
                key.span,
                format!("`{}` is not a header name", key.value),
                "expected letters, digits and hyphens",
            ));
            continue;
        };
        const OURS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "cookie"];
        if OURS.contains(&name.as_str()) {
            table.source.push(
                table
                    .source
                    .error(key.span, format!("the header `{}` cannot be set", key.value), "set by journeyd")
                    .help(match name.as_str() {
                        "host" => "the host comes from the URL",
                        "cookie" => "cookies come from the jar: what responses set is sent again",
                        _ => "it follows from the body and the connection",
                    }),
            );
            continue;
        }
        match as_text(&table.source, node) {
            Some(text) => {
                if let Some(template) = Template::parse(&table.source, &text) {
                    if template.as_literal().is_some_and(|t| http::HeaderValue::from_str(t).is_err()) {
                        let message = format!("the header `{name}` cannot hold this value");
                        table.source.push(table.source.error(
                            text.span,
                            message,
                            "line breaks and control characters are not allowed",
                        ));
                    }
                    headers.push((name, template));
                }
            }
            None => {
                table.source.wrong_type(node.span(), &format!("header `{}`", key.value), "a string", node.get_ref());
            }
        }
    }
    headers
}

fn read_schedule(table: &TableReader<'_, '_, '_>) -> Option<Timetable> {
    let source = &table.source;
    let zone = table.text(&schedule::TIMEZONE).and_then(|text| match text.value.parse::<chrono_tz::Tz>() {
        Ok(zone) => Some(zone),
        Err(_) => {
            let near = nearest(&text.value, chrono_tz::TZ_VARIANTS.iter().map(|z| z.name()));
            source.push(
                source
                    .error(
                        text.span,
                        format!("there is no time zone `{}`", text.value),
                        format!("expected {}", schedule::TIMEZONE.expects),
                    )
                    .help_if(near.map(|n| format!("did you mean \"{n}\"?"))),
            );
            None
        }
    });
    let every = table.duration(&schedule::EVERY, SHORTEST);
    let Some(text) = table.text(&schedule::CRON) else {
        if table.get(&schedule::EVERY).is_none() && table.get(&schedule::CRON).is_none() {
            table.missing(
                &schedule::EVERY,
                "the schedule",
                "for example every = \"1m\", or cron = \"*/5 8-20 * * Mon-Fri\"",
            );
        }
        if table.get(&schedule::TIMEZONE).is_some() && table.get(&schedule::EVERY).is_some() {
            source.push(source.error(
                table.key_span(&schedule::TIMEZONE),
                "`timezone` has no effect with `every`",
                "only `cron` has a time zone",
            ));
        }
        return every.map(|e| Timetable::Every(e.into_inner()));
    };
    if table.get(&schedule::EVERY).is_some() {
        source.push(
            source
                .error(table.key_span(&schedule::CRON), "a schedule has `every` or `cron`, not both", "one schedule")
                .other(table.key_span(&schedule::EVERY), "the other"),
        );
        return None;
    }
    match CronLine::parse(&text.value, zone.unwrap_or(chrono_tz::Tz::UTC)) {
        Ok(line) => Some(Timetable::Cron(Box::new(line))),
        Err(error) => {
            source.push(
                source.error(text.part(error.range), "this cron line is not valid", error.message).help_if(error.help),
            );
            None
        }
    }
}

fn read_variant(table: &TableReader<'_, '_, '_>) -> Option<Variant> {
    if table.get(&variant::ID).is_none() {
        table.missing(&variant::ID, "the variant", "for example id = \"member\"");
    }
    let vars = read_vars(table, &variant::VARS);
    let id = table.id(&variant::ID)?;
    Some(Variant { id: VariantId::new(&id.value)?, place: table.source.place(id.span), vars })
}

fn read_vars(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Vec<Var> {
    let mut vars = Vec::new();
    for (key, node) in table.entries(field) {
        if !check_name(&table.source, &key, "var") {
            continue;
        }
        if let Some(value) = read_json(&table.source, node) {
            vars.push(Var { name: key.value, value, place: table.source.place(key.span) });
        }
    }
    vars
}

/// Whether `key` can name a var or capture; tells if not.
pub fn check_name(source: &Source<'_>, key: &Text, what: &str) -> bool {
    if ["env", "secret"].contains(&key.value.as_str()) || functions::NAMES.contains(&key.value.as_str()) {
        source.push(source.error(
            key.span.clone(),
            format!("`{}` cannot name a {what}", key.value),
            "this name has a meaning in templates",
        ));
        return false;
    }
    if !is_name(&key.value) {
        source.push(source.error(
            key.span.clone(),
            format!("`{}` cannot name a {what}", key.value),
            "expected letters, digits and _, not starting with a digit, at most 63 characters",
        ));
        return false;
    }
    true
}

/// A TOML value as JSON with templates in its strings.
pub fn read_json(source: &Source<'_>, node: &Node<'_>) -> Option<JsonTemplate> {
    use serde_json::Value as Json;
    match node.get_ref() {
        DeValue::String(_) => {
            let template = Template::parse(source, &as_text(source, node)?)?;
            Some(match template.as_literal() {
                Some(text) => JsonTemplate::Plain(Json::String(text.to_owned())),
                None => JsonTemplate::Text(template),
            })
        }
        value @ DeValue::Integer(_) => as_integer(value).map(|n| JsonTemplate::Plain(n.into())),
        value @ DeValue::Float(_) => {
            let number = as_float(value).and_then(serde_json::Number::from_f64);
            if number.is_none() {
                source.push(source.error(node.span(), "this number has no JSON form", "expected a finite number"));
            }
            number.map(|n| JsonTemplate::Plain(Json::Number(n)))
        }
        DeValue::Boolean(b) => Some(JsonTemplate::Plain(Json::Bool(*b))),
        DeValue::Datetime(date) => Some(JsonTemplate::Plain(Json::String(date.to_string()))),
        DeValue::Array(items) => {
            let read: Vec<_> = items.iter().map(|item| read_json(source, item)).collect();
            read.into_iter().collect::<Option<Vec<_>>>().map(JsonTemplate::List)
        }
        DeValue::Table(table) => read_json_table(source, table).map(JsonTemplate::Object),
    }
}

pub fn read_json_table(source: &Source<'_>, table: &DeTable<'_>) -> Option<Vec<(String, JsonTemplate)>> {
    let read: Vec<_> = in_file_order(source, table)
        .into_iter()
        .map(|(key, node)| read_json(source, node).map(|value| (key.value, value)))
        .collect();
    read.into_iter().collect()
}

/// A string, number or boolean as a template; anything else is told.
pub fn read_scalar(source: &Source<'_>, node: &Node<'_>, what: &str) -> Option<Template> {
    match node.get_ref() {
        DeValue::String(_) => Template::parse(source, &as_text(source, node)?),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
            let text = source.file.text.get(node.span()).unwrap_or("").replace('_', "");
            Some(Template::literal(&text, source.place(node.span())))
        }
        other => {
            source.push(source.error(
                node.span(),
                format!("{what} has the wrong type"),
                format!("expected a string, number or boolean, found {}", type_name(other)),
            ));
            None
        }
    }
}
