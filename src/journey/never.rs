//! What a journey asks for and can never get: assertions that cannot hold, steps that cannot run in time.

use std::time::Duration;

use serde_json::Value as Json;

use crate::diag::{Diagnostic, Findings};
use crate::journey::assertion::{Assertion, Condition, JsonType, Observed, Order, Subject, Wanted};
use crate::journey::json_template::JsonTemplate;
use crate::journey::model::Step;
use crate::quantity::show_duration;

/// Times that do not fit into the run's.
pub fn check_times(steps: &[Step], whole: Duration, findings: &Findings) {
    let run = show_duration(whole);
    for step in steps {
        let late = |message: String, help: &str| {
            Diagnostic::warning(step.place.clone(), message).label(format!("the run ends after {run}")).help(help)
        };
        if step.timeout_is_own && step.timeout > whole {
            let message = format!("the timeout of `{}` is longer than the run's", step.id);
            findings.push(late(message, "raise the journey's `timeout`, or lower the step's"));
        }
        if let Some(poll) = step.poll.as_ref().filter(|poll| poll.lasts_is_own && poll.lasts > whole) {
            let message = format!("the poll of `{}` lasts {}", step.id, show_duration(poll.lasts));
            findings.push(late(message, "raise the journey's `timeout`, or lower `for`"));
        }
    }
    let pauses: Duration = steps.iter().filter_map(|s| s.pause).sum();
    if let Some(step) = steps.iter().rfind(|s| s.pause.is_some()).filter(|_| pauses >= whole) {
        let message = format!("the step `{}` can never run", step.id);
        findings.push(
            Diagnostic::error(step.place.clone(), message)
                .label(format!("pauses of {} in a run of {run}", show_duration(pauses)))
                .help("raise the journey's `timeout`, or pause less"),
        );
    }
}

/// Assertions of one step. `secure` is whether the base URL is an https one, as far as it is known.
pub fn check_step(step: &Step, secure: Option<bool>, findings: &Findings) {
    for assertion in step.assertions.iter().chain(step.until()) {
        let never = |label: String| Diagnostic::error(assertion.place.clone(), "this can never hold").label(label);
        if let Some((label, help)) = out_of_reach(assertion, step) {
            findings.push(never(label).help_if(help));
            continue;
        }
        if let Some(label) = contradiction(assertion).or_else(|| excluded(assertion)) {
            findings.push(never(label));
            continue;
        }
        match &assertion.subject {
            Subject::Status if step.redirects > 0 => {
                if let Some(code) =
                    only_codes(assertion).filter(|c| c.iter().all(|c| [301, 302, 303, 307, 308].contains(c)))
                {
                    let code = code.first().copied().unwrap_or_default();
                    findings.push(
                        Diagnostic::warning(assertion.place.clone(), format!("a {code} is followed, not seen"))
                            .label("redirects are followed to the final response")
                            .help(
                                "redirects = 0 in this step keeps the redirect itself; expect.url asserts where it led",
                            ),
                    );
                }
            }
            Subject::Redirects => {
                let fits = |n: u64| n <= u64::from(step.redirects);
                let wanted = assertion.conditions.iter().find_map(|c| match c {
                    Condition::Equals(JsonTemplate::Plain(n)) => n.as_u64(),
                    _ => None,
                });
                if let Some(wanted) = wanted.filter(|n| !fits(*n)) {
                    findings.push(never(format!("{wanted} redirects, and `redirects` allows {}", step.redirects)));
                }
            }
            Subject::Within => {
                let limit = assertion.conditions.iter().find_map(|c| match c {
                    Condition::Compare(_, JsonTemplate::Plain(n)) => n.as_f64(),
                    _ => None,
                });
                if limit.is_some_and(|limit| limit > step.timeout.as_secs_f64()) {
                    findings.push(
                        Diagnostic::warning(assertion.place.clone(), "this can never fail")
                            .label(format!("the step ends after {}", show_duration(step.timeout)))
                            .help("raise the step's `timeout`, or lower `within`"),
                    );
                }
            }
            Subject::TlsDaysLeft => {
                // A base URL from the environment is not known here.
                let target = step.target.text.as_ref();
                if target.starts_with("http://") || (target.starts_with('/') && secure == Some(false)) {
                    findings.push(never("there is no certificate without TLS".to_owned()));
                }
            }
            Subject::Json(_) | Subject::Css(_) if step.method == http::Method::HEAD => {
                findings.push(never("the answer to a HEAD request has no body".to_owned()));
            }
            Subject::Body | Subject::Size if step.method == http::Method::HEAD => {
                let observed = match assertion.subject {
                    Subject::Size => Observed::one(0),
                    _ => Observed::texts(vec![String::new()]),
                };
                if assertion.conditions.iter().filter_map(plain).any(|wanted| !wanted.holds(&observed)) {
                    findings.push(never("the answer to a HEAD request has no body".to_owned()));
                }
            }
            _ => {}
        }
    }
    let status = |list: &[Assertion]| list.iter().find(|a| matches!(a.subject, Subject::Status)).and_then(only_codes);
    if let (Some(expected), Some(waited)) = (status(&step.assertions), status(step.until()))
        && !expected.iter().any(|code| waited.contains(code))
        && let Some(assertion) = step.until().iter().find(|a| matches!(a.subject, Subject::Status))
    {
        let message = Diagnostic::error(assertion.place.clone(), "this can never hold");
        findings.push(message.label("`expect.status` fails the step with any such status"));
    }
}

/// What the subject itself can never be.
fn out_of_reach(assertion: &Assertion, step: &Step) -> Option<(String, Option<String>)> {
    for condition in &assertion.conditions {
        match (&assertion.subject, condition) {
            (Subject::Url, Condition::Equals(want) | Condition::StartsWith(want)) => {
                let JsonTemplate::Plain(Json::String(text)) = want else { continue };
                if !text.starts_with("http://") && !text.starts_with("https://") && !text.is_empty() {
                    let help = format!("for a path: expect.url = {{ ends_with = {text:?} }}");
                    return Some(("the URL is a whole one, with scheme and host".to_owned(), Some(help)));
                }
            }
            (Subject::Css(_) | Subject::Header(_) | Subject::Cookie(_), Condition::Type(kind))
                if *kind != JsonType::String =>
            {
                let help = "numbers in pages and headers compare by value: { gt = 0 }".to_owned();
                return Some(("this is always a string".to_owned(), Some(help)));
            }
            (
                Subject::Size | Subject::Redirects | Subject::Status,
                Condition::Compare(order, JsonTemplate::Plain(n)),
            ) => {
                let (least, most) = match assertion.subject {
                    Subject::Status => (100.0, 599.0),
                    Subject::Redirects => (0.0, f64::from(step.redirects)),
                    _ => (0.0, f64::INFINITY),
                };
                let n = n.as_f64()?;
                let never = match order {
                    Order::Lt => n <= least,
                    Order::Le => n < least,
                    Order::Gt => n >= most,
                    Order::Ge => n > most,
                    Order::Eq => n < least || n > most,
                };
                if never {
                    let range =
                        if most.is_finite() { format!("{least} to {most}") } else { format!("{least} or more") };
                    return Some((format!("{} is {range}", assertion.subject), None));
                }
            }
            _ => {}
        }
    }
    None
}

/// A condition whose operands hold no template.
fn plain(condition: &Condition) -> Option<Wanted<'_>> {
    let one = |t: &JsonTemplate| match t {
        JsonTemplate::Plain(value) => Some(value.clone()),
        _ => None,
    };
    let all = |list: &[JsonTemplate]| list.iter().map(one).collect::<Option<Vec<Json>>>();
    Some(match condition {
        Condition::Equals(t) => Wanted::Equals(one(t)?),
        Condition::NotEquals(t) => Wanted::NotEquals(one(t)?),
        Condition::Contains(list) => Wanted::Contains(all(list)?),
        Condition::NotContains(list) => Wanted::NotContains(all(list)?),
        Condition::StartsWith(t) => Wanted::StartsWith(one(t)?),
        Condition::EndsWith(t) => Wanted::EndsWith(one(t)?),
        Condition::Matches(all) => Wanted::Matches(all),
        Condition::Compare(order, t) => Wanted::Compare(*order, one(t)?),
        Condition::In(list) => Wanted::In(all(list)?),
        Condition::Exists(want) => Wanted::Exists(*want),
        Condition::Count(_) => return None,
        Condition::Type(want) => Wanted::Type(*want),
    })
}

/// A value that is asked for and that the other predicates exclude.
fn excluded(assertion: &Assertion) -> Option<String> {
    let textual = matches!(
        assertion.subject,
        Subject::Css(_) | Subject::Header(_) | Subject::Cookie(_) | Subject::Body | Subject::Url
    );
    let wanted: Vec<Wanted<'_>> = assertion.conditions.iter().filter_map(plain).collect();
    let candidates: Vec<&Json> = wanted
        .iter()
        .find_map(|w| match w {
            Wanted::Equals(value) => Some(vec![value]),
            Wanted::In(values) => Some(values.iter().collect()),
            _ => None,
        })
        .unwrap_or_default();
    if wanted.iter().any(|w| matches!(w, Wanted::In(values) if values.is_empty())) {
        return Some("`in` names no value".to_owned());
    }
    let fits = |value: &Json| {
        let observed = Observed { values: vec![value.clone()], count: 1, textual };
        wanted.iter().all(|w| w.holds(&observed))
    };
    if !candidates.is_empty() && !candidates.iter().any(|value| fits(value)) {
        return Some("the predicates exclude each other".to_owned());
    }
    let lists = |not: bool| {
        wanted.iter().flat_map(move |w| match w {
            Wanted::Contains(list) if !not => list.clone(),
            Wanted::NotContains(list) if not => list.clone(),
            _ => Vec::new(),
        })
    };
    let both = lists(false).find(|have| lists(true).any(|not| not == *have));
    if let Some(both) = both {
        return Some(format!("it is to contain {both} and not to contain it"));
    }
    let count = assertion.conditions.iter().find_map(|c| match c {
        Condition::Count(all) => Some(all),
        _ => None,
    })?;
    let exists = wanted.iter().find_map(|w| match w {
        Wanted::Exists(want) => Some(*want),
        _ => None,
    })?;
    let admits = |n: u64| count.iter().all(|(order, want)| order.holds(n.cmp(want)));
    let lists_may_be_empty = matches!(assertion.subject, Subject::Json(_));
    (exists && !lists_may_be_empty && !(1..=1000).any(admits) || !exists && !admits(0))
        .then(|| "`exists` and `count` exclude each other".to_owned())
}

/// The status codes that an assertion admits, when it names them.
fn only_codes(assertion: &Assertion) -> Option<Vec<u64>> {
    match &assertion.conditions[..] {
        [Condition::Equals(JsonTemplate::Plain(code))] => Some(vec![code.as_u64()?]),
        [Condition::In(codes)] => codes
            .iter()
            .map(|code| match code {
                JsonTemplate::Plain(code) => code.as_u64(),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// Conditions that exclude each other.
fn contradiction(assertion: &Assertion) -> Option<String> {
    let (mut low, mut high) = (Bound::least(), Bound::most());
    let (mut count_low, mut count_high) = (Bound::least(), Bound::most());
    let mut equals: Option<&Json> = None;
    let mut absent = false;
    let mut needs = None;
    for condition in &assertion.conditions {
        match condition {
            Condition::Compare(order, JsonTemplate::Plain(n)) => {
                let n = n.as_f64()?;
                narrow(&mut low, &mut high, *order, n);
            }
            Condition::Count(all) => {
                for (order, n) in all {
                    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
                    narrow(&mut count_low, &mut count_high, *order, *n as f64);
                }
            }
            Condition::Equals(JsonTemplate::Plain(value)) => equals = Some(value),
            Condition::NotEquals(JsonTemplate::Plain(value)) if equals == Some(value) => {
                return Some("it is to be this value and not to be it".to_owned());
            }
            Condition::Exists(false) => absent = true,
            _ => {}
        }
        match condition {
            Condition::Equals(_) => needs = Some("equals"),
            Condition::Contains(_) => needs = Some("contains"),
            Condition::StartsWith(_) | Condition::EndsWith(_) | Condition::Matches(_) => needs = Some("a text"),
            Condition::Compare(..) => needs = Some("a number"),
            _ => {}
        }
    }
    if let Some(what) = needs.filter(|_| absent) {
        return Some(format!("it is not to exist, and to be something ({what})"));
    }
    if let Some(n) = equals.and_then(Json::as_f64)
        && (low.excludes_below(n) || high.excludes_above(n))
    {
        return Some(format!("{n} is outside of what the other predicates admit"));
    }
    for (low, high) in [(&low, &high), (&count_low, &count_high)] {
        let empty = low.at > high.at || ((low.open || high.open) && (low.at - high.at).abs() < f64::EPSILON);
        if empty {
            return Some(format!("no number is {} {} and {} {}", low.word(true), low.at, high.word(false), high.at));
        }
    }
    None
}

/// One end of a range.
struct Bound {
    at: f64,
    /// The end itself is outside.
    open: bool,
}

impl Bound {
    const fn least() -> Self {
        Self { at: f64::NEG_INFINITY, open: false }
    }

    const fn most() -> Self {
        Self { at: f64::INFINITY, open: false }
    }

    fn excludes_below(&self, n: f64) -> bool {
        n < self.at || (self.open && n <= self.at)
    }

    fn excludes_above(&self, n: f64) -> bool {
        n > self.at || (self.open && n >= self.at)
    }

    fn word(&self, low: bool) -> &'static str {
        match (low, self.open) {
            (true, true) => "more than",
            (true, false) => "at least",
            (false, true) => "less than",
            (false, false) => "at most",
        }
    }
}

fn narrow(low: &mut Bound, high: &mut Bound, order: Order, n: f64) {
    let raise = |bound: &mut Bound, open| {
        if n >= bound.at {
            *bound = Bound { at: n, open: open || (bound.open && n <= bound.at) };
        }
    };
    let lower = |bound: &mut Bound, open| {
        if n <= bound.at {
            *bound = Bound { at: n, open: open || (bound.open && n >= bound.at) };
        }
    };
    match order {
        Order::Lt => lower(high, true),
        Order::Le => lower(high, false),
        Order::Gt => raise(low, true),
        Order::Ge => raise(low, false),
        Order::Eq => {
            raise(low, false);
            lower(high, false);
        }
    }
}
