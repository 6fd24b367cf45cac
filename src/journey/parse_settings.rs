//! Lowering of journey-level settings, which `[defaults]` can also give.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use crate::diag::Diagnostic;
use crate::document::{Field, Node, Source, TableKind, TableReader, as_float, as_integer, as_text};
use crate::ids::nearest;
use crate::journey::fields::{alert, alerts, journey, journey_expect, schedule, slo};
use crate::journey::model::{SLO_WINDOW, Severity, Slo};
use crate::journey::parse_alert::{AlertOptions, RuleOptions, read_alert, read_rules};
use crate::journey::parse_network::{NetworkOptions, read_network};
use crate::journey::parse_request::read_auth;
use crate::journey::request::Auth;
use crate::journey::template::Template;
use crate::timetable::{CronLine, SHORTEST, Timetable};

/// `[defaults]` of the configuration: the journey's own keys, but for those that make it this journey.
pub static DEFAULTS: TableKind = TableKind {
    name: "defaults",
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
        &journey::AUTH,
        &journey::TLS,
        &journey::HTTP_VERSION,
        &journey::IP_FAMILY,
        &journey::RESOLVE,
        &journey::PROXY,
        &journey::EXPECT,
        &journey::SCHEDULE,
        &journey::SLO,
        &journey::ALERT,
        &journey::ALERTS,
    ],
    one_of: &[],
    misplaced: of_one_journey,
};

fn of_one_journey(key: &str) -> Option<String> {
    let field = journey::TABLE.fields.iter().find(|f| f.name == key)?;
    Some(if field.planned {
        "it is not available in this version of journeyd".to_owned()
    } else {
        "each journey has its own".to_owned()
    })
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
    pub auth: Option<Auth>,
    pub network: NetworkOptions,
    pub error_pages: Option<bool>,
    pub schedule: Option<Timetable>,
    pub slo: Option<SloOptions>,
    pub alert: AlertOptions,
    pub rules: Vec<RuleOptions>,
}

/// `[slo]` as written; what is absent comes from the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct SloOptions {
    pub objective: Option<f64>,
    pub window: Option<Duration>,
    pub latency: Option<Duration>,
}

impl SloOptions {
    /// Own values before the defaults.
    pub fn or(self, defaults: Self) -> Slo {
        Slo {
            objective: self.objective.or(defaults.objective),
            window: self.window.or(defaults.window).unwrap_or(SLO_WINDOW),
            latency: self.latency.or(defaults.latency),
        }
    }
}

/// Parses `[defaults]` of the daemon's configuration.
pub fn parse_defaults(source: &Source<'_>, node: &Node<'_>) -> Settings {
    source.table(node, &DEFAULTS).map(|table| read_settings(&table)).unwrap_or_default()
}

pub fn read_settings(table: &TableReader<'_, '_, '_>) -> Settings {
    Settings {
        owner: table.string(&journey::OWNER),
        severity: table.word(&journey::SEVERITY, &Severity::NAMES),
        runbook: read_url(table, &journey::RUNBOOK),
        labels: read_labels(table),
        enabled: table.boolean(&journey::ENABLED),
        base_url: read_base_url(table),
        timeout: table.duration(&journey::TIMEOUT, Duration::from_millis(1)),
        headers: read_headers(table, &journey::HEADERS),
        user_agent: table.text(&journey::USER_AGENT).and_then(|t| Template::parse(&table.source, &t)),
        auth: read_auth(table, &journey::AUTH),
        network: read_network(table),
        error_pages: table
            .open(&journey::EXPECT, &journey_expect::TABLE)
            .and_then(|t| t.boolean(&journey_expect::NO_ERROR_PAGE)),
        schedule: table.open(&journey::SCHEDULE, &schedule::TABLE).and_then(|t| read_schedule(&t)),
        slo: table.open(&journey::SLO, &slo::TABLE).map(|t| read_slo(&t)),
        alert: table.open(&journey::ALERT, &alert::TABLE).map(|t| read_alert(&t)).unwrap_or_default(),
        rules: read_rules(&table.tables(&journey::ALERTS, &alerts::TABLE)),
    }
}

fn read_slo(table: &TableReader<'_, '_, '_>) -> SloOptions {
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
    SloOptions {
        objective: read_objective(table),
        window,
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

pub fn read_url(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<String> {
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

/// What `Accept-Encoding` may ask for.
const CODINGS: [&str; 5] = ["gzip", "deflate", "br", "identity", "*"];

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
                    let codings =
                        |t: &str| t.split(',').all(|c| CODINGS.contains(&c.split(';').next().unwrap_or(c).trim()));
                    if name == http::header::ACCEPT_ENCODING && template.as_literal().is_some_and(|t| !codings(t)) {
                        let message = "journeyd cannot decode what this asks for";
                        let label = format!("expected some of {}", CODINGS.join(", "));
                        table.source.push(table.source.error(text.span.clone(), message, label));
                    }
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
