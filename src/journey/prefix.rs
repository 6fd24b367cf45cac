//! Prefixes for a fragment that is used more than once.

use std::collections::BTreeSet;

use crate::ids::StepId;
use crate::journey::model::Step;

/// Renames a fragment's steps (`again-login`) and captures (`again_token`), and every use of the latter.
pub fn add_prefix(steps: &mut [Step], alias: &str) {
    let prefix = alias.replace('-', "_");
    let captured: BTreeSet<String> = steps.iter().flat_map(|s| s.captures.iter().map(|c| c.name.clone())).collect();
    let rename = |name: &str| captured.contains(name).then(|| format!("{prefix}_{name}"));
    for step in steps {
        if let Some(id) = StepId::new(&format!("{alias}-{}", step.id)) {
            step.id = id;
        }
        let mut templates = Vec::new();
        step.request_templates_mut(&mut templates);
        templates.into_iter().for_each(|t| *t = t.renamed(&rename));
        let mut templates = Vec::new();
        step.expectation_templates_mut(&mut templates);
        templates.into_iter().for_each(|t| *t = t.renamed(&rename));
        for capture in &mut step.captures {
            capture.name = format!("{prefix}_{}", capture.name);
        }
    }
}
