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
    MAINTENANCE: "maintenance", "[[maintenance]]", Tables(&super::maintenance::TABLE), "Times in which runs are made and marked, but count for nothing and nobody is told.";
    HEARTBEAT: "heartbeat", "a table", Table(&super::heartbeat::TABLE), "A dead man's switch elsewhere, which says so when journeyd no longer does.", example "{ url = 'https://hc.example/ping/abc' }";
    SELF_CHECK: "self_check", "a table", Table(&super::self_check::TABLE), "How journeyd tells its own network's trouble from the targets'.", example "{ targets = ['1.1.1.1:443'] }";
    ROUTES: "routes", "[[routes]]", Tables(&super::route::TABLE), "Of what. The first that matches wins unless it says `continue`; without any, every receiver gets everything.";
} planned { "hooks" }
misplaced super::belongs_elsewhere);
fields!(server, "`[server]`" {
    LISTEN: "listen", "an address such as \"127.0.0.1:15769\"", Text, "Metrics, health and API. Loopback unless asked otherwise.", default "'127.0.0.1:15769'";
    TLS: "tls", "a table with `cert_file` and `key_file`", Table(&super::server_tls::TABLE), "Everything over TLS (1.2 and 1.3). A reload reads the files again.", example "{ cert_file = 'tls.crt', key_file = 'tls.key' }";
    AUTH: "auth", "a table", Table(&super::auth::TABLE), "Who may read, on every path. Without it reads are open; writes take a token either way.", example "{ users = { ops = '$2b$10$…' }, excluded_paths = ['/metrics'] }";
} planned { "external_url" });
fields!(server_tls, "`tls` of the server" {
    CERT_FILE: "cert_file", "the path of a PEM file", Text, "The certificate, and what leads to its authority. Relative to this file.", example "'tls.crt'";
    KEY_FILE: "key_file", "the path of a PEM file", Text, "Its private key, unencrypted. Relative to this file.", example "'tls.key'";
} planned {});
fields!(auth, "`auth` of the server" {
    USERS: "users", "a table of bcrypt hashes", Map(&Either(&[Text, Table(&super::reference::TABLE)])), "Names and bcrypt hashes (cost 10 to 14) for HTTP basic authentication: `htpasswd -nBC 10 ops`. Users read.", example "{ ops = '$2b$10$…' }";
    TOKENS: "tokens", "a list of tables with `secret` and `scope`", List(&Table(&super::access_token::TABLE)), "For `Authorization: Bearer`, besides the token in the store's folder, which may write.", example "[{ secret = 'api_token', scope = 'write' }]";
    EXCLUDED_PATHS: "excluded_paths", "a list of paths", Either(&[Text, List(&Text)]), "Answered without asking who it is, writes excepted.", example "['/metrics', '/-/healthy', '/-/ready']";
} planned {});
fields!(access_token, "a token" {
    SECRET: "secret", "the name of an entry of [secrets]", Text, "The token, at least 16 characters.", example "'api_token'";
    SCOPE: "scope", "\"read\" or \"write\"", Word(&["read", "write"]), "`write` also reads.", default "'read'";
} planned {});
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
    TYPE: "type", "\"slack\", \"webhook\", \"teams\", \"discord\", \"mattermost\", \"google_chat\", \"telegram\", \"pagerduty\", \"alertmanager\", \"email\" or \"ntfy\"", Word(&["slack", "webhook", "teams", "discord", "mattermost", "google_chat", "telegram", "pagerduty", "alertmanager", "email", "ntfy"]), "Who it is: Slack's, Mattermost's, Discord's, Google Chat's incoming webhooks; Teams by way of Workflows; Standard Webhooks; Telegram's Bot API; PagerDuty's Events API v2; Alertmanager's API v2; SMTP; ntfy.";
    URL: "url", "a URL, or { secret = \"name\" }, or (alertmanager) a list", Either(&[Url, List(&Url), Table(&super::reference::TABLE)]), "Where messages are sent. For ntfy the topic's URL, for Alertmanager its root (every instance of a cluster). Telegram and PagerDuty have one by default; mail has none.", example "{ secret = 'slack_url' }";
    SIGNING_SECRET: "signing_secret", "{ secret = \"name\" }", Table(&super::reference::TABLE), "`webhook`: signs messages; `whsec_` and base64, or any text.", example "{ secret = 'hook_key' }";
    TOKEN: "token", "{ secret = \"name\" }", Table(&super::reference::TABLE), "`telegram`: the bot's token. `ntfy`, `webhook`, `alertmanager`: sent as `Authorization: Bearer`.", example "{ secret = 'bot_token' }";
    ROUTING_KEY: "routing_key", "{ secret = \"name\" }", Table(&super::reference::TABLE), "`pagerduty`: the integration's key.", example "{ secret = 'pagerduty_key' }";
    CHAT: "chat", "a number or \"@channel\"", Either(&[Integer(i64::MIN, i64::MAX), Text]), "`telegram`: where to.", example "-1001234567890";
    TOPIC: "topic", "a number", Integer(1, i64::MAX), "`telegram`: the topic within a group.", example "7";
    FORMAT: "format", "\"standard\" or \"alertmanager\"", Word(&["standard", "alertmanager"]), "`webhook`: journeyd's own body, or the one that Alertmanager sends (version 4).", default "'standard'";
    TEMPLATE: "template", "a string", Text, "`webhook`: an own body as a minijinja template over `type timestamp incident alerts alert headline title text`; `| tojson` makes JSON of a value.", example "'{ \"text\": {{ headline | tojson }} }'";
    CONTENT_TYPE: "content_type", "a media type", Text, "`webhook`: of the own body.", default "'application/json'";
    SMARTHOST: "smarthost", "a host, or host:port", Text, "`email`: the submission server.", example "'smtp.example:587'";
    ENCRYPTION: "encryption", "\"starttls\", \"implicit\" or \"none\"", Word(&["starttls", "implicit", "none"]), "`email`: `starttls` (587) refuses to go on without TLS; `implicit` is TLS from the first byte (465); `none` is for a relay on this machine (25).", default "'starttls'";
    FROM: "from", "a mail address", Text, "`email`: the sender.", example "'journeyd <journeyd@example.org>'";
    MAIL_TO: "to", "a mail address or a list", Either(&[Text, List(&Text)]), "`email`: whom to.", example "['ops@example.org']";
    USER: "user", "a string", Text, "`email`: for AUTH.", example "'journeyd'";
    PASSWORD: "password", "{ secret = \"name\" }", Table(&super::reference::TABLE), "`email`: for AUTH; never sent without TLS.", example "{ secret = 'smtp_password' }";
    TIMEZONE: "timezone", "an IANA time zone such as \"Europe/Berlin\"", Text, "Times in messages. Slack and Discord show each reader's own.", default "'UTC'", example "'Europe/Berlin'";
    PROXY: "proxy", "an http or https URL, or { secret = \"name\" }", Either(&[Url, Table(&super::reference::TABLE)]), "Messages go through this proxy. Proxy variables of the environment are not looked at.", example "'http://proxy.example:3128'";
    CA_FILE: "ca_file", "the path of a PEM file", Text, "Trust these authorities instead of the system's; relative to this file.", example "'internal-ca.pem'";
    BUDGET: "budget", "a number of messages in an hour", Integer(0, 100_000), "More are told in one digest, at most every five minutes; 0 is without limit.", default "30; 0 for webhook, pagerduty and alertmanager";
    FALLBACK: "fallback", "a receiver", Id, "Who is told what this one refuses or could not be told in time.", example "'ops-mail'";
} planned {});
fields!(maintenance, "a maintenance window" {
    NAME: "name", "a string", Text, "Shown where runs and alerts are marked.", example "'weekly release'";
    MATCH: "match", "a table", Map(&Either(&[Text, List(&Text)])), "As in [[routes]]. Without it, everything.", example "{ service = 'shop' }";
    CRON: "cron", "a cron line such as \"0 3 * * Sun\"", Text, "When it begins, again and again.", example "'0 3 * * Sun'";
    TIMEZONE: "timezone", "an IANA time zone such as \"Europe/Berlin\"", Text, "For `cron`.", default "'UTC'", example "'Europe/Berlin'";
    DURATION: "duration", "a duration", Duration, "With `cron`: how long it lasts.", example "'1h'";
    STARTS: "starts", "a date and time with offset, such as 2026-12-01T22:00:00+01:00", Any, "Instead of `cron`: once, from here.", example "2026-12-01T22:00:00+01:00";
    ENDS: "ends", "a date and time with offset", Any, "With `starts`: until here.", example "2026-12-01T23:30:00+01:00";
} planned {} one_of { "cron", "starts" });
fields!(heartbeat, "`[heartbeat]`" {
    URL: "url", "a URL, or { secret = \"name\" }", Either(&[Url, Table(&super::reference::TABLE)]), "Asked for (GET) while the scheduler ticks, the pipeline judges and the store takes writes; not otherwise.", example "'https://hc.example/ping/abc'";
    EVERY: "every", "a duration of at least 5 s", Duration, "How often.", default "'1m'";
} planned {});
fields!(self_check, "`[self_check]`" {
    TARGETS: "targets", "a list of host:port", Either(&[Text, List(&Text)]), "Connected to (TCP) when three hosts in a row cannot be reached: if none of these can either, the runs are journeyd's own trouble. Without any, a DNS resolver that answers.", example "['1.1.1.1:443', '9.9.9.9:443']";
} planned {});
fields!(reference, "a reference to a secret" {
    SECRET: "secret", "the name of an entry of [secrets]", Text, "The entry.";
} planned {});
fields!(route, "a route" {
    MATCH: "match", "a table", Map(&Either(&[Text, List(&Text)])), "`alert journey variant severity owner location` or a label: a value or a list of values. Without it, everything.", example "{ severity = 'critical' }";
    TO: "to", "a list of receivers", Either(&[Text, List(&Text)]), "Who is told.", example "['ops-chat']";
    CONTINUE: "continue", "a boolean", Boolean, "Look at the next routes too.", default "false";
    GROUP_WAIT_: "group_wait", "a duration", Duration, "Before the first message: what heals meanwhile is told once, and what breaks for the same cause is told together.", default "'15s'";
    GROUP_INTERVAL_: "group_interval", "a duration", Duration, "Between messages of one incident; never delays the resolve.", default "'2m'";
    ESCALATE: "escalate", "a list of tables with `after` and `to`", List(&Table(&super::escalation::TABLE)), "Who is told as well when nobody has acknowledged the incident for so long.", example "[{ after = '15m', to = ['on-call'] }]";
} planned {});
fields!(escalation, "an escalation step" {
    AFTER: "after", "a duration", Duration, "Since the incident opened.", example "'15m'";
    TO: "to", "a list of receivers", Either(&[Text, List(&Text)]), "Who is told.", example "['on-call']";
} planned {});

fn belongs_elsewhere(key: &str) -> Option<String> {
    let journey_key = ["steps", "schedule", "base_url", "title", "vars", "variants", "slo", "alert"].contains(&key);
    journey_key
        .then(|| format!("`{key}` belongs into a journey file; what holds for all journeys goes into [defaults]"))
}
