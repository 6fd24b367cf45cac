//! The configuration in tables: every key of `journeyd.toml`, what it takes and what it is for.

use crate::document::fields;

fields!(config, "the configuration" {
    JOURNEYS: "journeys", "a list of paths or patterns", Either(&[Text, List(&Text)]), "The journeys: one a file, the file's stem is its id. Relative to this file.", example "['../journeys/*.toml']";
    LOCATION: "location", "an id", Id, "Where runs are made from: a label on every run metric.", default "'local'";
    SERVER: "server", "a table", Table(&super::server::TABLE), "What journeyd serves.";
    STORE: "store", "a table", Table(&super::store::TABLE), "What survives a restart.";
    LIMITS: "limits", "a table", Table(&super::limits::TABLE), "How much at once.";
    METRICS: "metrics", "a table", Table(&super::metrics::TABLE), "How many series.";
    SECRETS: "secrets", "a table", Map(&Table(&super::secret::TABLE)), "The only way a secret gets in; values never appear in any output.", example "{ shop_password = { env = 'SHOP_PASSWORD' } }";
    DEFAULTS: "defaults", "a table of journey-level keys", Table(&crate::journey::parse_settings::DEFAULTS), "Journey-level keys for all journeys; a journey's own value wins.", example "{ timeout = '30s' }";
    RECEIVERS: "receivers", "a table of receivers", Map(&Table(&super::receiver::TABLE)), "Who is told.";
    ROUTES: "routes", "[[routes]]", Tables(&super::route::TABLE), "Of what. The first that matches wins unless it says `continue`; without any, every receiver gets everything.";
} planned { "heartbeat", "hooks", "maintenance" }
misplaced super::belongs_elsewhere);
fields!(server, "`[server]`" {
    LISTEN: "listen", "an address such as \"127.0.0.1:15769\"", Text, "Metrics, health and API. Loopback unless asked otherwise.", default "'127.0.0.1:15769'";
} planned { "auth", "external_url", "tls" });
fields!(limits, "`[limits]`" {
    CONCURRENT_RUNS: "concurrent_runs", "a number from 1 to 10000", Integer(1, 10_000), "Runs at once.", default "64";
    PER_HOST: "per_host", "a number from 1 to 10000", Integer(1, 10_000), "Runs at once against one host.", default "8";
    BODY: "body", "a size", Size, "A bigger response body fails its step with reason `too_large`; at most 64MiB.", default "'4MiB'";
} planned {});
fields!(store, "`[store]`" {
    DIR: "dir", "a folder", Text, "One daemon per folder, on a local disk. STATE_DIRECTORY wins over a relative one.", default "'data'";
    KEEP_RUNS: "keep_runs", "a duration", Duration, "How long runs are kept; at least 1h.", default "'7d'";
    MAX_SIZE: "max_size", "a size", Size, "Beyond it the oldest runs go early; at least 16MiB.", default "'2GB'";
} planned {});
fields!(metrics, "`[metrics]`" {
    STEP_HISTOGRAMS: "step_histograms", "a boolean", Boolean, "A histogram per step: about 20 series each.", default "true";
    MAX_SERIES: "max_series", "a number", Integer(1, i64::MAX), "More are refused at load.", default "200000";
} planned {});
fields!(secret, "a secret" {
    ENV: "env", "the name of an environment variable", Text, "From the environment; an empty value counts as none.", example "'SHOP_PASSWORD'";
    FILE: "file", "the path of a file", Text, "From a file; the line break at its end is not part of it.", example "'/run/secrets/shop_password'";
    CREDENTIAL: "credential", "the name of a systemd credential", Text, "From `LoadCredential=` of the unit.", example "'shop_password'";
    DEFAULT: "default", "a string", Text, "Without any of the others; for demonstrations.";
} planned {} one_of { "env", "file", "credential" });
fields!(receiver, "a receiver" {
    TYPE: "type", "\"slack\" or \"webhook\"", Word(&["slack", "webhook"]), "Slack's incoming webhooks, or Standard Webhooks.";
    URL: "url", "a URL, or { secret = \"name\" }", Either(&[Url, Table(&super::reference::TABLE)]), "Where messages are sent.", example "{ secret = 'slack_url' }";
    SIGNING_SECRET: "signing_secret", "{ secret = \"name\" }", Table(&super::reference::TABLE), "Signs webhooks: `whsec_` and base64, or any text.", example "{ secret = 'hook_key' }";
} planned { "fallback", "format", "proxy", "template", "timezone", "tls" });
fields!(reference, "a reference to a secret" {
    SECRET: "secret", "the name of an entry of [secrets]", Text, "The entry.";
} planned {});
fields!(route, "a route" {
    MATCH: "match", "a table", Map(&Either(&[Text, List(&Text)])), "`alert journey variant severity owner location` or a label: a value or a list of values. Without it, everything.", example "{ severity = 'critical' }";
    TO: "to", "a list of receivers", Either(&[Text, List(&Text)]), "Who is told.", example "['ops-chat']";
    CONTINUE: "continue", "a boolean", Boolean, "Look at the next routes too.", default "false";
    GROUP_WAIT_: "group_wait", "a duration", Duration, "Before the first message: what heals meanwhile is told once.", default "'15s'";
    GROUP_INTERVAL_: "group_interval", "a duration", Duration, "Between messages of one incident; never delays the resolve.", default "'2m'";
} planned {});

fn belongs_elsewhere(key: &str) -> Option<String> {
    let journey_key = ["steps", "schedule", "base_url", "title", "vars", "variants", "slo", "alert"].contains(&key);
    journey_key
        .then(|| format!("`{key}` belongs into a journey file; what holds for all journeys goes into [defaults]"))
}
