//! From one file's TOML to a journey or fragment whose names are not yet resolved.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::diag::{Findings, Place, SourceFile};
use crate::document::{
    Field, Node, Source, TableReader, Text, as_float, as_integer, as_text, in_file_order, type_name,
};
use crate::ids::{VariantId, is_name};
use crate::journey::fields::{fragment, journey, variant};
use crate::journey::functions;
use crate::journey::json_template::JsonTemplate;
use crate::journey::model::Step;
use crate::journey::parse_settings::{Settings, read_settings};
use crate::journey::parse_step;
use crate::journey::template::Template;

pub use crate::journey::parse_request::is_idempotent;

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
    for (field, keys) in [
        (&journey::LABELS, &["owner", "severity", "runbook", "base_url", "timeout", "enabled", "title"][..]),
        (&journey::VARS, &["base_url", "timeout", "severity", "runbook", "enabled", "headers"]),
    ] {
        let Some(node) = table.get(field) else { continue };
        let written = source.file.text.get(node.span()).unwrap_or_default();
        if let Some(inner) = node.get_ref().as_table().filter(|_| !written.starts_with('{')) {
            source.warn_of_swallowed(inner, field.name, keys);
        }
    }
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
