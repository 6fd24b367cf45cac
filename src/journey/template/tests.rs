use super::*;
use crate::clock::Timestamp;
use crate::diag::{Findings, SourceFile};
use serde_json::json;

fn parse(text: &str) -> Result<Template, Vec<String>> {
    let findings = Findings::default();
    let source = Source { file: SourceFile::new("t", text), findings: &findings };
    let spanned = Text { value: text.to_owned(), span: 0..text.len(), origin: Some(0) };
    let template = Template::parse(&source, &spanned);
    let found: Vec<String> =
        findings.into_sorted().into_iter().map(|d| format!("{} @{:?}", d.message, d.place.span)).collect();
    template.ok_or(found)
}

fn scope() -> Scope {
    let bound = |value, secret, captured| Bound { value, secret, captured };
    Scope {
        names: BTreeMap::from([
            ("sku".to_owned(), bound(json!("mug-01"), false, false)),
            ("total".to_owned(), bound(json!(12.5), false, false)),
            ("order".to_owned(), bound(json!({"id": "007"}), false, true)),
            ("id".to_owned(), bound(json!("../admin?x=1"), false, true)),
            ("at".to_owned(), bound(json!({"host": "@evil:1"}), false, true)),
            ("brace".to_owned(), bound(json!("{{ sku }}"), false, true)),
        ]),
        env: Arc::new(BTreeMap::from([("HOME_URL".to_owned(), "http://h".to_owned())])),
        secrets: Arc::new(BTreeMap::from([(
            "pw".to_owned(),
            NamedSecret { mask: "SHOP_PW".to_owned(), value: Secret::new("hunter22") },
        )])),
        functions: functions::Functions { now: Timestamp::from_secs(1_790_000_000), random: Arc::new(|| 7) },
    }
}

#[test]
fn templates_render_names_env_secrets_functions_and_filters() {
    for (template, want) in [
        ("plain", "plain"),
        ("{{ sku }}", "mug-01"),
        ("a-{{sku|upper}}-b", "a-MUG-01-b"),
        ("{{ env.HOME_URL }}/x", "http://h/x"),
        ("{{ env.NOPE | default('http://d') }}", "http://d"),
        ("{{ secret.pw }}", "hunter22"),
        ("{{ order.id }}", "007"),
        ("{{ '}}' ~ sku }}", "}}mug-01"),
        ("{{ sku | urlencode }}", "mug-01"),
        ("{{ 'a b' | urlencode }}", "a%20b"),
        ("{{ 'ab' | b64encode }}", "YWI="),
        ("{{ 'ab' | sha256 }}", "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"),
        ("{{ {'a': 1} | tojson }}", "{\"a\":1}"),
        ("{{ now() }}", "2026-09-21T14:13:20.000Z"),
        ("{{ random_int(5, 5) }}", "5"),
        ("{{ brace }}", "{{ sku }}"),
    ] {
        let rendered = parse(template).unwrap().render(&scope()).unwrap();
        assert_eq!(rendered.text, want, "{template}");
    }
}

#[test]
fn a_lone_expression_keeps_its_type_and_string_forces_text() {
    assert_eq!(parse("{{ total }}").unwrap().render_value(&scope()).unwrap().0, json!(12.5));
    assert_eq!(parse("{{ order.id }}").unwrap().render_value(&scope()).unwrap().0, json!("007"));
    assert_eq!(parse("{{ total | string }}").unwrap().render_value(&scope()).unwrap().0, json!("12.5"));
    assert_eq!(parse("{{ total }} EUR").unwrap().render_value(&scope()).unwrap().0, json!("12.5 EUR"));
}

#[test]
fn a_captured_value_cannot_leave_its_place_in_a_target() {
    let target = |t: &str| parse(t).unwrap().render_target(&scope()).unwrap().text;
    assert_eq!(target("/orders/{{ id }}"), "/orders/..%2Fadmin%3Fx=1");
    assert_eq!(target("{{ id }}"), "../admin?x=1");
    assert_eq!(target("/orders/{{ id | string }}"), "/orders/..%2Fadmin%3Fx=1");
    assert_eq!(target("http://h{{ at.host }}/"), "http://h%40evil:1/".replace(":1", "%3A1"));
    assert_eq!(target("/q/{{ id | urlencode }}"), "/q/../admin%3Fx%3D1");
    assert_eq!(target("/p/{{ sku }}"), "/p/mug-01");
}

#[test]
fn secrets_taint_what_they_touch_and_computed_ones_are_handed_to_the_redactor() {
    let plain = parse("Bearer {{ secret.pw }}").unwrap().render(&scope()).unwrap();
    assert!(plain.secret && plain.derived.is_empty());
    let hashed = parse("{{ secret.pw | sha256 }}").unwrap().render(&scope()).unwrap();
    assert_eq!(hashed.derived, vec![("SHOP_PW".to_owned(), hashed.text.clone())]);
}

#[test]
fn mistakes_are_told_with_their_place_inside_the_string() {
    assert_eq!(parse("ab {{ sku").unwrap_err(), ["a template is not closed @3..9"]);
    assert_eq!(parse("{{ }}").unwrap_err(), ["a template is empty @0..5"]);
    assert_eq!(parse("x{{ a | uper }}").unwrap_err(), ["there is no filter `uper` @8..12"]);
    assert_eq!(parse("{{ secret }}").unwrap_err(), ["`secret` needs a name @3..9"]);
    assert_eq!(parse("{% if a %}").unwrap_err(), ["statements are not part of the template language @0..2"]);
    assert_eq!(parse("{{ uuid }}").unwrap_err(), ["`uuid` is a function @3..7"]);
    assert_eq!(parse("{{ a is defined }}").unwrap_err(), ["this template expression cannot be evaluated @3..15"]);
    assert!(parse("{{ a + }}").unwrap_err()[0].starts_with("this template expression is not valid"));
}

#[test]
fn an_unset_name_is_told_by_name() {
    let error = parse("{{ order_id }}").unwrap().render(&scope()).unwrap_err();
    assert_eq!(error.missing.as_deref(), Some("order_id"));
    let error = parse("{{ env.NOPE }}").unwrap().render(&scope()).unwrap_err();
    assert_eq!(error.message, "the environment variable NOPE is not set");
}

#[test]
fn the_author_decided_prefix_ends_at_the_first_capture() {
    let template = parse("https://{{ sku }}.example/{{ id }}/x").unwrap();
    let prefix = template.before_captures(|name| name == "id").render(&scope()).unwrap();
    assert_eq!(prefix.text, "https://mug-01.example/");
}
