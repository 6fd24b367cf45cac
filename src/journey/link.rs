//! Linking: fragments spliced in, a plan laid out for each variant, every name resolved.
//!
//! What is checked here can therefore not go wrong at 03:00: a name that nobody defines, one that only a later
//! step captures, a secret without an entry, two steps of one id, fragments that use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::diag::{Diagnostic, Findings, Gravity, Place, SourceFile};
use crate::document::Text;
use crate::ids::{JourneyId, JourneyKey, StepId, VariantId, nearest};
use crate::journey::json_template::JsonTemplate;
use crate::journey::merge::{self, Merged, with_defaults};
use crate::journey::model::{CLEANUP_TIMEOUT, Journey, Plan, RUN_TIMEOUT, Severity, Step};
use crate::journey::never;
use crate::journey::parse::{FragmentFile, JourneyFile, StepEntry, Var};
use crate::journey::parse_alert::{self, Given};
use crate::journey::parse_settings::Settings;
use crate::journey::prefix::add_prefix;
use crate::journey::request::Attached;
use crate::journey::template::{Bound, Reference, Root, Scope, Template};
use crate::timetable::Timetable;

/// How often a journey without any schedule runs.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Steps of one journey, and how deep fragments may use fragments: more is a mistake, and ten uses of ten uses of ten
/// would eat the memory.
const MAX_STEPS: usize = 1000;
const MAX_DEPTH: usize = 8;

/// Where fragments come from. Implementations tell why one cannot be had.
pub trait Library {
    fn fragment(&self, from: &Arc<SourceFile>, path: &Text, findings: &Findings) -> Option<Arc<FragmentFile>>;

    /// The content of a file that a journey names; with `kept_in`, one below the journeys' folder only.
    fn bytes(&self, file: &Attached, kept_in: bool, findings: &Findings) -> Option<bytes::Bytes>;
}

/// What a journey is linked against.
#[derive(Debug)]
pub struct World<'a> {
    pub defaults: &'a Settings,
    pub env: &'a BTreeMap<String, String>,
    /// Every entry of `[secrets]`, and whether it has a value.
    pub secrets: &'a BTreeMap<String, bool>,
    /// How grave an unset secret or environment variable is: a warning to look at, an error to run with.
    pub unset: Gravity,
    /// `--var`.
    pub overrides: &'a BTreeMap<String, String>,
    /// `--base-url`.
    pub base_url: Option<&'a str>,
}

/// Links a parsed journey. `None` when its mistakes leave nothing to run; they are in `findings`.
pub fn link(
    id: JourneyId,
    mut file: JourneyFile,
    library: &dyn Library,
    world: &World<'_>,
    findings: &Findings,
) -> Option<Journey> {
    let before = findings.error_count();
    let mut linker = Linker {
        library,
        world,
        findings,
        fragment_vars: Vec::new(),
        stack: vec![file.file.name.clone()],
        spliced: 0,
        lacking: None,
        captured: BTreeMap::new(),
    };
    let mut steps = linker.splice(&file.file, &file.steps);
    let mut cleanup = linker.splice(&file.file, &file.cleanup);
    if linker.spliced > MAX_STEPS {
        let place = Place { file: Arc::clone(&file.file), span: 0..0 };
        findings.push(
            Diagnostic::error(place, format!("this journey has more than {MAX_STEPS} steps"))
                .help("a journey is what one user does; several journeys can share fragments"),
        );
        return None;
    }
    for attached in steps.iter_mut().chain(&mut cleanup).flat_map(|step| step.body.files()) {
        attached.bytes = library.bytes(attached, true, findings).unwrap_or_default();
    }
    linker.check_step_ids(&steps, &cleanup);
    linker.check_variants(&file, &steps, &cleanup);
    linker.check_fragment_vars(&file);
    let mut settings = with_defaults(std::mem::take(&mut file.settings), world.defaults);
    if let Some(base_url) = world.base_url {
        let place = Place { file: Arc::clone(&file.file), span: 0..0 };
        settings.base_url = Some(Template::literal(base_url, place));
    }

    let variants: Vec<(Option<VariantId>, &[Var])> = if file.variants.is_empty() {
        vec![(None, &[])]
    } else {
        file.variants.iter().map(|v| (Some(v.id.clone()), v.vars.as_slice())).collect()
    };
    for step in steps.iter().chain(&cleanup) {
        linker.captured.extend(step.captures.iter().map(|c| (c.name.clone(), step.id.clone())));
    }
    let mut used = BTreeSet::new();
    let mut plans = Vec::new();
    let variant_vars: BTreeSet<&str> =
        file.variants.iter().flat_map(|v| v.vars.iter().map(|var| var.name.as_str())).collect();
    for (variant, own_vars) in variants {
        linker.lacking =
            variant.as_ref().map(|v| (v.to_string(), variant_vars.iter().map(|n| (*n).to_owned()).collect()));
        let runs = |step: &&Step| step.only.is_empty() || variant.as_ref().is_some_and(|v| step.only.contains(v));
        let vars = linker.vars(&file.vars, own_vars);
        let plan_steps: Vec<Step> = steps.iter().filter(runs).cloned().collect();
        let plan_cleanup: Vec<Step> = cleanup.iter().filter(runs).cloned().collect();
        linker.check_names(&vars, &settings, &plan_steps, &plan_cleanup, &mut used);
        let vars = linker.order_vars(vars);
        if let Some(base_url) = &settings.base_url {
            linker.check_base_url(base_url, &vars);
        }
        plans.push(Arc::new(Plan {
            key: JourneyKey { journey: id.clone(), variant },
            vars,
            steps: plan_steps.into_iter().map(Arc::new).collect(),
            cleanup: plan_cleanup.into_iter().map(Arc::new).collect(),
        }));
    }
    linker.check_unused(&file.file, steps.iter().chain(&cleanup), &used);
    linker.check_targets(settings.base_url.as_ref(), steps.iter().chain(&cleanup));
    linker.check_overrides(&file, &plans);
    let timeout = settings.timeout;
    let schedule = settings.schedule.unwrap_or(Timetable::Every(DEFAULT_INTERVAL));
    if let (Timetable::Every(interval), Some(written)) = (&schedule, &timeout)
        && written.get_ref() > interval
        && settings.timeout_is_own
    {
        let place = Place { file: Arc::clone(&file.file), span: written.span() };
        findings.push(
            Diagnostic::warning(place, "the timeout is longer than the interval")
                .label(format!("runs every {}", crate::quantity::show_duration(*interval)))
                .help("while a slow run goes on, the next ones are missed"),
        );
    }
    let whole = timeout.as_ref().map_or(RUN_TIMEOUT, |t| *t.get_ref());
    never::check_times(&steps, whole, findings);
    never::check_times(&cleanup, CLEANUP_TIMEOUT, findings);
    let secure =
        settings.base_url.as_ref().filter(|t| !t.text.starts_with("{{")).map(|t| t.text.starts_with("https://"));
    for step in steps.iter().chain(&cleanup) {
        never::check_step(step, secure, findings);
    }
    let network = merge::network(settings.network, library, findings);
    let severity = settings.severity.unwrap_or(Severity::Critical);
    let given = Given { severity, slo: settings.slo, schedule: &schedule };
    let rules = parse_alert::rules(&settings.alert, &settings.rules, &settings.default_rules, &given, findings);
    let telling = parse_alert::telling(&settings.alert, &id, findings);
    if findings.error_count() > before {
        return None;
    }
    Some(Journey {
        title: file.title.unwrap_or_else(|| id.to_string()),
        file: file.file.name.clone(),
        id,
        owner: settings.owner,
        severity,
        runbook: settings.runbook,
        labels: settings.labels,
        enabled: settings.enabled,
        base_url: settings.base_url,
        headers: settings.headers,
        user_agent: settings.user_agent,
        auth: settings.auth,
        network,
        error_pages: settings.error_pages,
        timeout: timeout.map_or(RUN_TIMEOUT, toml::Spanned::into_inner),
        schedule,
        slo: settings.slo,
        rules,
        telling,
        plans,
    })
}

struct Linker<'a> {
    library: &'a dyn Library,
    world: &'a World<'a>,
    findings: &'a Findings,
    /// Default vars of every fragment used, in order of use.
    fragment_vars: Vec<Var>,
    /// Files being spliced, to notice a cycle.
    stack: Vec<String>,
    /// Entries looked at so far.
    spliced: usize,
    /// What any step captures, whoever runs it.
    captured: BTreeMap<String, StepId>,
    /// The variant being laid out, and the vars that some variant sets.
    lacking: Option<(String, BTreeSet<String>)>,
}

impl Linker<'_> {
    fn splice(&mut self, file: &Arc<SourceFile>, entries: &[StepEntry]) -> Vec<Step> {
        let mut out = Vec::new();
        for entry in entries {
            self.spliced += 1;
            if self.spliced > MAX_STEPS {
                break;
            }
            match entry {
                StepEntry::Own(step) => out.push((**step).clone()),
                StepEntry::Use { path, alias, only, place } => {
                    let Some(fragment) = self.library.fragment(file, path, self.findings) else { continue };
                    if self.stack.contains(&fragment.file.name) {
                        let mut chain = self.stack.clone();
                        chain.push(fragment.file.name.clone());
                        self.findings.push(
                            Diagnostic::error(place.clone(), "fragments use each other in a circle")
                                .label("closes the circle")
                                .help(chain.join(" → ")),
                        );
                        continue;
                    }
                    if self.stack.len() > MAX_DEPTH {
                        let message = format!("fragments use fragments more than {MAX_DEPTH} deep");
                        self.findings.push(Diagnostic::error(place.clone(), message).label("too deep"));
                        continue;
                    }
                    self.stack.push(fragment.file.name.clone());
                    let mut steps = self.splice(&fragment.file, &fragment.steps);
                    self.stack.pop();
                    self.fragment_vars.extend(fragment.vars.iter().cloned());
                    if let Some(alias) = alias {
                        self.check_alias(alias, &steps, place);
                        add_prefix(&mut steps, alias);
                    }
                    for mut step in steps {
                        if step.only.is_empty() {
                            step.only.clone_from(only);
                        } else if !only.is_empty() {
                            step.only.retain(|id| only.contains(id));
                            if step.only.is_empty() {
                                // For no variant at all.
                                continue;
                            }
                        }
                        out.push(step);
                    }
                }
            }
        }
        out
    }

    /// Prefixed ids and names must be valid ones still.
    fn check_alias(&self, alias: &str, steps: &[Step], place: &Place) {
        let too_long = steps.iter().any(|s| StepId::new(&format!("{alias}-{}", s.id)).is_none());
        let captures = steps.iter().flat_map(|s| &s.captures);
        let bad_name =
            captures.into_iter().any(|c| !crate::ids::is_name(&format!("{}_{}", alias.replace('-', "_"), c.name)));
        if too_long || bad_name {
            self.findings.push(
                Diagnostic::error(place.clone(), format!("`{alias}` cannot prefix this fragment"))
                    .label("its ids or captures would not be valid")
                    .help("a short word that starts with a letter"),
            );
        }
    }

    /// Two fragments that give one var different defaults: which of them counts must be said.
    fn check_fragment_vars(&self, file: &JourneyFile) {
        let mut first: BTreeMap<&str, &Var> = BTreeMap::new();
        for var in &self.fragment_vars {
            let Some(other) = first.insert(&var.name, var) else { continue };
            let sets = |vars: &[Var]| vars.iter().any(|v| v.name == var.name);
            let set = sets(&file.vars)
                || self.world.overrides.contains_key(&var.name)
                || (!file.variants.is_empty() && file.variants.iter().all(|v| sets(&v.vars)));
            if !set && format!("{:?}", other.value) != format!("{:?}", var.value) {
                self.findings.push(
                    Diagnostic::error(
                        var.place.clone(),
                        format!("two fragments give `{}` different defaults", var.name),
                    )
                    .label("the second")
                    .help(format!("the first stands at {}; set it in the journey's [vars]", other.place.show())),
                );
            }
        }
    }

    /// Renders `base_url` as a run would, where nothing but the environment and vars go into it.
    fn check_base_url(&self, base_url: &Template, vars: &[(String, JsonTemplate)]) {
        let secret = |t: &Template| t.references().any(|r| r.root == Root::Secret);
        if secret(base_url) || vars.iter().any(|(_, value)| value.templates().into_iter().any(secret)) {
            // Its value is not for this pass to know; a run tells.
            return;
        }
        let mut scope = Scope { env: Arc::new(self.world.env.clone()), ..Scope::default() };
        for (name, template) in vars {
            if let Ok(value) = template.render(&scope, &mut |_| {}) {
                scope.names.insert(name.clone(), Bound { value, secret: false, captured: false });
            }
        }
        let Ok(rendered) = base_url.render(&scope) else { return };
        let fine = url::Url::parse(&rendered.text).is_ok_and(|u| {
            matches!(u.scheme(), "http" | "https") && u.has_host() && u.query().is_none() && u.fragment().is_none()
        });
        if !fine && base_url.as_literal().is_none() {
            // The value stays out: the environment may hold credentials.
            self.findings.push(
                Diagnostic::error(base_url.place.clone(), "`base_url` does not become a URL")
                    .label("with the environment and vars as they are")
                    .help("it must start with http:// or https:// and have no query; check the variable that it uses"),
            );
        }
    }

    fn check_step_ids(&self, steps: &[Step], cleanup: &[Step]) {
        let mut seen: BTreeMap<&StepId, &Step> = BTreeMap::new();
        for step in steps.iter().chain(cleanup) {
            let Some(first) = seen.insert(&step.id, step) else { continue };
            let mut diagnostic = Diagnostic::error(step.place.clone(), format!("two steps are called `{}`", step.id))
                .label("the second");
            if first.place == step.place {
                diagnostic = diagnostic.help("a fragment used twice needs `as = \"again\"` at its second use");
            } else if first.place.file == step.place.file {
                diagnostic = diagnostic.other(first.place.span.clone(), "the first");
            } else {
                diagnostic = diagnostic.help(format!("the first stands at {}", first.place.show()));
            }
            self.findings.push(diagnostic);
        }
    }

    fn check_variants(&self, file: &JourneyFile, steps: &[Step], cleanup: &[Step]) {
        let mut seen: BTreeMap<&VariantId, &Place> = BTreeMap::new();
        for variant in &file.variants {
            if let Some(first) = seen.insert(&variant.id, &variant.place) {
                self.findings.push(
                    Diagnostic::error(variant.place.clone(), format!("two variants are called `{}`", variant.id))
                        .label("the second")
                        .other(first.span.clone(), "the first"),
                );
            }
        }
        for step in steps.iter().chain(cleanup) {
            for id in step.only.iter().filter(|id| !file.variants.iter().any(|v| v.id == **id)) {
                let near = nearest(id.as_str(), file.variants.iter().map(|v| v.id.as_str()));
                self.findings.push(
                    Diagnostic::error(
                        step.place.clone(),
                        format!("the step `{}` is for the variant `{id}`, which does not exist", step.id),
                    )
                    .label("this step never runs")
                    .help_if(near.map(|n| format!("did you mean `{n}`?"))),
                );
            }
        }
    }

    /// The vars of one variant: fragment < journey < variant < `--var`.
    fn vars(&self, journey: &[Var], variant: &[Var]) -> BTreeMap<String, Var> {
        let mut out = BTreeMap::new();
        for var in self.fragment_vars.iter().chain(journey).chain(variant) {
            out.insert(var.name.clone(), var.clone());
        }
        for (name, value) in self.world.overrides {
            if let Some(var) = out.get_mut(name) {
                var.value = JsonTemplate::Plain(serde_json::Value::String(value.clone()));
            }
        }
        out
    }

    fn check_overrides(&self, file: &JourneyFile, plans: &[Arc<Plan>]) {
        for name in self.world.overrides.keys() {
            if plans.iter().any(|plan| plan.vars.iter().any(|(var, _)| var == name)) {
                continue;
            }
            let known: BTreeSet<&str> =
                plans.iter().flat_map(|p| p.vars.iter().map(|(name, _)| name.as_str())).collect();
            let place = Place { file: Arc::clone(&file.file), span: 0..0 };
            self.findings.push(
                Diagnostic::error(place, format!("--var {name}: this journey has no var `{name}`"))
                    .help(format!("vars: {}", known.into_iter().collect::<Vec<_>>().join(", "))),
            );
        }
    }

    fn check_names(
        &self,
        vars: &BTreeMap<String, Var>,
        settings: &Merged,
        steps: &[Step],
        cleanup: &[Step],
        used: &mut BTreeSet<String>,
    ) {
        let mut known: BTreeSet<String> = vars.keys().cloned().collect();
        let captured_by = |name: &str| {
            steps.iter().chain(cleanup).find(|s| s.captures.iter().any(|c| c.name == name)).map(|s| s.id.to_string())
        };
        let resolve =
            |reference: &Reference, known: &BTreeSet<String>, used: &mut BTreeSet<String>| match reference.root {
                Root::Name => {
                    used.insert(reference.name.clone());
                    if !known.contains(&reference.name) {
                        self.undefined(reference, known, captured_by(&reference.name));
                    }
                }
                Root::Env => self.check_env(reference),
                Root::Secret => self.check_secret(reference),
            };
        for var in vars.values() {
            for reference in var.value.templates().into_iter().flat_map(Template::references) {
                resolve(reference, &known, used);
            }
        }
        let mut journey_level: Vec<&Template> = Vec::new();
        journey_level.extend(&settings.base_url);
        journey_level.extend(settings.headers.iter().map(|(_, t)| t));
        journey_level.extend(&settings.user_agent);
        journey_level.extend(&settings.network.proxy);
        if let Some(auth) = &settings.auth {
            auth.collect(&mut journey_level);
        }
        for reference in journey_level.into_iter().flat_map(Template::references) {
            resolve(reference, &known, used);
        }
        for step in steps {
            self.check_step(step, vars, &mut known, &mut |reference, known| resolve(reference, known, used));
        }
        for step in cleanup {
            self.check_step(step, vars, &mut known, &mut |reference, known| resolve(reference, known, used));
        }
    }

    fn check_step(
        &self,
        step: &Step,
        vars: &BTreeMap<String, Var>,
        known: &mut BTreeSet<String>,
        resolve: &mut dyn FnMut(&Reference, &BTreeSet<String>),
    ) {
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        step.request_templates(&mut sent);
        step.expectation_templates(&mut expected);
        for reference in sent.into_iter().flat_map(Template::references) {
            resolve(reference, known);
        }
        for capture in &step.captures {
            if let Some(var) = vars.get(&capture.name) {
                let mut diagnostic =
                    Diagnostic::error(capture.place.clone(), format!("`{}` is both a var and a capture", capture.name))
                        .label("the capture")
                        .help("give one of them another name");
                if var.place.file == capture.place.file {
                    diagnostic = diagnostic.other(var.place.span.clone(), "the var");
                }
                self.findings.push(diagnostic);
            }
            known.insert(capture.name.clone());
        }
        // Assertions are judged after the step's own captures.
        for reference in expected.into_iter().flat_map(Template::references) {
            resolve(reference, known);
        }
    }

    fn undefined(&self, reference: &Reference, known: &BTreeSet<String>, captured_by: Option<String>) {
        let name = &reference.name;
        let diagnostic = Diagnostic::error(reference.place.clone(), format!("nothing defines `{name}`"));
        let in_variants = "it must be a var, or captured by an earlier step";
        self.findings.push(match captured_by {
            Some(step) => {
                diagnostic.label("not known yet").help(format!("the step `{step}` captures it, but runs later"))
            }
            None if self.captured.contains_key(name) => {
                let (step, variant) = (&self.captured[name], self.lacking.as_ref().map_or("", |(v, _)| v));
                diagnostic
                    .label(format!("the variant `{variant}` never runs the step that captures it"))
                    .help(format!("`{step}` is limited by `only`; limit this step in the same way"))
            }
            None if self.lacking.as_ref().is_some_and(|(_, some)| some.contains(name)) => {
                let variant = self.lacking.as_ref().map_or("", |(v, _)| v);
                diagnostic
                    .label(format!("the variant `{variant}` does not set it"))
                    .help("set it in every variant, give it a default in [vars], or limit the step with `only`")
            }
            None if self.world.secrets.contains_key(name) => {
                diagnostic.label("unknown name").help(format!("did you mean `secret.{name}`?"))
            }
            None if self.world.env.contains_key(name) => {
                diagnostic.label("unknown name").help(format!("did you mean `env.{name}`?"))
            }
            None if ["secret", "env"].iter().any(|root| nearest(name, [*root]).is_some()) => {
                let root = nearest(name, ["secret", "env"]).unwrap_or_default();
                diagnostic.label("unknown name").help(format!("did you mean `{root}`?"))
            }
            None => diagnostic.label("unknown name").help(match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => in_variants.to_owned(),
            }),
        });
    }

    fn check_env(&self, reference: &Reference) {
        if self.world.env.contains_key(&reference.name) || reference.has_default {
            return;
        }
        let mut diagnostic = Diagnostic::error(
            reference.place.clone(),
            format!("the environment variable {} is not set", reference.name),
        )
        .label("no value and no default")
        .help(format!("set it, or write {{{{ env.{} | default('…') }}}}", reference.name));
        diagnostic.gravity = self.world.unset;
        self.findings.push(diagnostic);
    }

    fn check_secret(&self, reference: &Reference) {
        let name = &reference.name;
        match self.world.secrets.get(name) {
            Some(true) => {}
            Some(false) => {
                let mut diagnostic =
                    Diagnostic::error(reference.place.clone(), format!("the secret `{name}` is not set"))
                        .label("used here")
                        .help(
                            "its entry in [secrets] says where it comes from; `default` gives it a value without one"
                                .to_string(),
                        );
                diagnostic.gravity = self.world.unset;
                self.findings.push(diagnostic);
            }
            None => {
                let near = nearest(name, self.world.secrets.keys().map(String::as_str));
                self.findings.push(
                    Diagnostic::error(reference.place.clone(), format!("there is no secret `{name}`"))
                        .label("unknown secret")
                        .help(match near {
                            Some(near) => format!("did you mean `secret.{near}`?"),
                            None if self.world.secrets.is_empty() => {
                                "no [secrets] were read: --config names the configuration that has them".to_owned()
                            }
                            None => format!(
                                "add it to [secrets] in the configuration: {name} = {{ env = \"{}\" }}",
                                name.to_uppercase()
                            ),
                        }),
                );
            }
        }
    }

    /// Vars in an order in which each comes after those that it refers to.
    fn order_vars(&self, mut vars: BTreeMap<String, Var>) -> Vec<(String, JsonTemplate)> {
        let mut out: Vec<(String, JsonTemplate)> = Vec::new();
        while !vars.is_empty() {
            let ready: Vec<String> = vars
                .iter()
                .filter(|(_, var)| {
                    !var.value
                        .templates()
                        .into_iter()
                        .flat_map(Template::references)
                        .any(|r| r.root == Root::Name && vars.contains_key(&r.name))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if ready.is_empty() {
                for (name, var) in &vars {
                    self.findings.push(
                        Diagnostic::error(var.place.clone(), format!("the var `{name}` is defined by itself"))
                            .label("part of a circle")
                            .help(format!("the circle: {}", vars.keys().cloned().collect::<Vec<_>>().join(", "))),
                    );
                }
                break;
            }
            for name in ready {
                if let Some(var) = vars.remove(&name) {
                    out.push((name, var.value));
                }
            }
        }
        out
    }

    fn check_unused<'s>(&self, file: &Arc<SourceFile>, steps: impl Iterator<Item = &'s Step>, used: &BTreeSet<String>) {
        for capture in steps.flat_map(|s| &s.captures) {
            // A fragment's capture may be for other journeys that use it.
            if capture.place.file == *file && !used.contains(&capture.name) {
                self.findings.push(
                    Diagnostic::warning(capture.place.clone(), format!("nothing uses the capture `{}`", capture.name))
                        .label("captured here")
                        .help("remove it; to check that a value is there, assert { exists = true }"),
                );
            }
        }
    }

    fn check_targets<'s>(&self, base_url: Option<&Template>, steps: impl Iterator<Item = &'s Step>) {
        for step in steps {
            if base_url.is_none() && step.target.text.starts_with('/') {
                self.findings.push(
                    Diagnostic::error(
                        step.target.place.clone(),
                        "this target is a path, and the journey has no `base_url`",
                    )
                    .label("relative to what?")
                    .help("add base_url = \"https://…\" at the top, or write the whole URL here"),
                );
            }
        }
    }
}

/// When a journey would next run, for `check`.
pub fn next_runs(journey: &Journey, plan: &Plan, now: Timestamp, count: usize) -> Vec<Timestamp> {
    std::iter::successors(journey.schedule.next_after(&plan.key.to_string(), now), |at| {
        journey.schedule.next_after(&plan.key.to_string(), *at)
    })
    .take(count)
    .collect()
}
