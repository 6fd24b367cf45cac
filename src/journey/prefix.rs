//! Prefixes for a fragment that is used more than once.

use std::collections::BTreeSet;

use crate::ids::StepId;
use crate::journey::assertion::Condition;
use crate::journey::model::{Body, JsonTemplate, Step};

/// Renames a fragment's steps (`again-login`) and captures (`again_token`), and every use of the latter.
pub fn add_prefix(steps: &mut [Step], alias: &str) {
    let prefix = alias.replace('-', "_");
    let captured: BTreeSet<String> = steps.iter().flat_map(|s| s.captures.iter().map(|c| c.name.clone())).collect();
    let rename = |name: &str| captured.contains(name).then(|| format!("{prefix}_{name}"));
    for step in steps {
        if let Some(id) = StepId::new(&format!("{alias}-{}", step.id)) {
            step.id = id;
        }
        step.target = step.target.renamed(&rename);
        step.query.iter_mut().for_each(|(_, t)| *t = t.renamed(&rename));
        step.headers.iter_mut().for_each(|(_, t)| *t = t.renamed(&rename));
        match &mut step.body {
            Body::None => {}
            Body::Form(fields) => fields.iter_mut().for_each(|(_, t)| *t = t.renamed(&rename)),
            Body::Json(json) => rename_json(json, &rename),
            Body::Text(text) => *text = text.renamed(&rename),
        }
        for condition in step.assertions.iter_mut().flat_map(|a| &mut a.conditions) {
            match condition {
                Condition::Equals(t)
                | Condition::NotEquals(t)
                | Condition::StartsWith(t)
                | Condition::EndsWith(t)
                | Condition::Compare(_, t) => rename_json(t, &rename),
                Condition::Contains(list) | Condition::NotContains(list) | Condition::In(list) => {
                    list.iter_mut().for_each(|t| rename_json(t, &rename));
                }
                Condition::Matches(_) | Condition::Exists(_) | Condition::Count(_) | Condition::Type(_) => {}
            }
        }
        for capture in &mut step.captures {
            capture.name = format!("{prefix}_{}", capture.name);
        }
    }
}

fn rename_json(json: &mut JsonTemplate, rename: &dyn Fn(&str) -> Option<String>) {
    match json {
        JsonTemplate::Plain(_) => {}
        JsonTemplate::Text(template) => *template = template.renamed(rename),
        JsonTemplate::List(items) => items.iter_mut().for_each(|item| rename_json(item, rename)),
        JsonTemplate::Object(entries) => entries.iter_mut().for_each(|(_, value)| rename_json(value, rename)),
    }
}
