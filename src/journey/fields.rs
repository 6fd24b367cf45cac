//! The language in tables: every key of a journey or fragment file, what it takes and what it is for.
//!
//! Order is the order of the reference in `docs/reference.md`.

use crate::document::fields;

/// What vars and captures are called.
const NAME: &str = "^[A-Za-z_][A-Za-z0-9_]{0,62}$";

pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fields!(
    /// Keys of a journey file.
    journey, "a journey" {
        TITLE: "title", "a string", Text, "What people call it, in messages and dashboards.", default "the file's name", example "'Buy one item'";
        OWNER: "owner", "a string", Text, "Whose it is; routes can match it.", example "'team-payments'";
        SEVERITY: "severity", "\"critical\", \"warning\" or \"info\"", Word(&["critical", "warning", "info"]), "How bad it is when this breaks; routes can match it.", default "'critical'";
        RUNBOOK: "runbook", "a URL", Url, "Shown in every message about this journey.", example "'https://runbooks.example/checkout'";
        LABELS: "labels", "a table of strings", Named("^[a-z_][a-z0-9_]*$", &Text), "Free labels, for routes and for `journeyd_journey_info`; names are lower-case letters, digits and `_`.", example "{ service = 'shop' }";
        ENABLED: "enabled", "a boolean", Boolean, "`false` keeps the journey listed and never runs it.", default "true";
        BASE_URL: "base_url", "an http or https URL", Url, "What targets that begin with `/` are put behind; its path, if any, is a prefix.", example "'https://shop.example'";
        TIMEOUT: "timeout", "a duration", Duration, "The whole run, cleanup apart (which has 10s of its own).", default "'30s'";
        HEADERS: "headers", "a table of strings", Map(&Text), "Sent with every request to an origin that the journey's author wrote; never to one that a response named.", example "{ Accept-Language = 'en' }";
        USER_AGENT: "user_agent", "a string", Text, "Instead of journeyd's own `User-Agent`, which names it clearly.", default "'journeyd/VERSION (synthetic journey monitor)'";
        AUTH: "auth", "\"none\" or a table with `basic`, `bearer` or `oauth2`", Either(&[Word(&["none"]), Table(&super::auth::TABLE)]), "Credentials for every request to an origin that the journey's author wrote.", example "{ bearer = '{{ secret.api_token }}' }";
        TLS: "tls", "a table", Table(&super::tls::TABLE), "Certificates: whom to trust, and who to be.", example "{ ca_file = 'internal-ca.pem' }";
        HTTP_VERSION: "http_version", "\"1.1\" or \"2\"", Word(&["1.1", "2"]), "Only this one; without it, what server and TLS agree on. `2` without TLS is sent with prior knowledge.", example "'1.1'";
        IP_FAMILY: "ip_family", "\"ipv4\" or \"ipv6\"", Word(&["ipv4", "ipv6"]), "Only addresses of this family; without it, both, as browsers do.", example "'ipv4'";
        RESOLVE: "resolve", "a table of names and IP addresses", Map(&Either(&[Text, List(&Text)])), "Addresses for names, instead of asking DNS.", example "{ 'shop.example' = '10.0.0.7' }";
        PROXY: "proxy", "an http or https URL", Url, "Requests go through this proxy. Proxy variables of the environment are not looked at.", example "'http://proxy.example:3128'";
        EXPECT: "expect", "a table with `no_error_page`", Table(&super::journey_expect::TABLE), "What holds for all steps unless one says otherwise.", example "{ no_error_page = false }";
        SCHEDULE: "schedule", "a table with `every` or `cron`", Table(&super::schedule::TABLE), "When it runs.", default "{ every = '1m' }";
        SLO: "slo", "a table", Table(&super::slo::TABLE), "Service level objectives.", example "{ objective = 99.5 }";
        ALERT: "alert", "a table", Table(&super::alert::TABLE), "When the built-in rule `down` fires and resolves, and how people are told.", example "{ fail_after = 3 }";
        ALERTS: "alerts", "[[alerts]]", Tables(&super::alerts::TABLE), "Further rules, or other settings for the built-in `no_data`, `challenged` and `cleanup`.";
        VARS: "vars", "a table", Named(super::NAME, &Any), "Values for templates; a string may be a template itself.", example "{ sku = 'mug-01' }";
        VARIANTS: "variants", "[[variants]]", Tables(&super::variant::TABLE), "The same journey for another role, device or account: each is scheduled, measured and alerted on its own. With variants there is no run without one.";
        STEPS: "steps", "[[steps]]", Tables(&super::step::TABLE), "What to do, in order; after one that fails the rest is blocked.";
        CLEANUP: "cleanup", "[[cleanup]]", Tables(&super::step::TABLE), "Steps that run whatever happened, each once what it names exists. They take 10s together at most and never change the outcome.";
    } planned { "dependencies" }
);

fields!(
    /// Keys of a fragment file.
    fragment, "a fragment" {
        VARS: "vars", "a table", Named(super::NAME, &Any), "Defaults for what its steps name; the journey's and the variant's win.";
        STEPS: "steps", "[[steps]]", Tables(&super::step::TABLE), "The steps that `use` puts in.";
    } planned {}
    misplaced super::not_in_fragments
);

fields!(schedule, "`[schedule]`" {
    EVERY: "every", "a duration of at least 1 s", Duration, "The interval. Runs are spread over it by a hash of the id.", default "'1m'";
    CRON: "cron", "a cron line such as \"*/5 8-20 * * Mon-Fri\"", Text, "Instead of `every`: five POSIX fields, or six with seconds first.", example "'*/5 8-20 * * Mon-Fri'";
    TIMEZONE: "timezone", "an IANA time zone such as \"Europe/Berlin\"", Text, "For `cron`.", default "'UTC'", example "'Europe/Berlin'";
} planned {} one_of { "every", "cron" });

fields!(slo, "`[slo]`" {
    OBJECTIVE: "objective", "a percentage such as 99.5", Number, "Percent of runs that are to pass, over `window`; more than 0, less than 100.", example "99.5";
    WINDOW: "window", "a duration", Duration, "From 1h to 90d.", default "'30d'";
    LATENCY: "latency", "a duration", Duration, "A passed run slower than this is degraded.", example "'2.5s'";
} planned {});

fields!(alert, "`[alert]`" {
    FAIL_AFTER: "fail_after", "a number of failed runs in a row", Integer(1, 1000), "Failed runs in a row until it fires.", default "2";
    FAIL_WHEN: "fail_when", "m of n, such as \"2 of 3\"", Form("^[0-9]+ of [0-9]+$"), "Instead of `fail_after`: so many of the last so many runs; at most 21.", example "'2 of 3'";
    RECOVER_AFTER: "recover_after", "a number of passed runs in a row", Integer(1, 1000), "Passed runs in a row until it resolves.", default "2";
    FOR: "for", "a duration", Duration, "It must have been bad for this long as well, counted from the first bad run.", default "'0s'", example "'5m'";
    KEEP_FIRING_FOR: "keep_firing_for", "a duration", Duration, "It goes on firing for this long after it was over.", default "'0s'", example "'10m'";
    QUORUM: "quorum", "\"any\", \"majority\", \"all\" or a number", Either(&[Word(&["any", "majority", "all"]), Integer(1, 1000)]), "How many of the locations with fresh data must agree. Variants alert on their own.", default "'majority'";
    FLAPPING: "flapping", "a boolean", Boolean, "Whether changing back and forth is noticed: one message, then quiet until it is stable.", default "true";
    DEPENDS_ON: "depends_on", "a list of journey ids", Either(&[Id, List(&Id)]), "While one of these is down, this journey's alerts join its incident instead of being told on their own.", example "['login']";
    REPEAT_EVERY: "repeat_every", "a duration", Duration, "Reminders while nobody has acknowledged; `0s` for none.", default "'4h'";
    MAX_REMINDERS: "max_reminders", "a number", Integer(0, 1000), "Reminders at most.", default "6";
} planned {});

fields!(
    /// Keys of a further rule.
    alerts, "a rule" {
        ID: "id", "an id", Id, "Its name in metrics and messages: the `alert` label.", example "'slow'";
        KIND: "kind", "\"error_rate\", \"latency\", \"burn_rate\", \"cert_expiry\", \"degraded\", \"no_data\", \"challenged\" or \"cleanup\"", Word(&["error_rate", "latency", "burn_rate", "cert_expiry", "degraded", "no_data", "challenged", "cleanup"]), "What it looks at: the 5xx share of responses, durations, an error budget, certificates, slow runs, silence, refusals, left-over test data.", example "'latency'";
        ENABLED: "enabled", "a boolean", Boolean, "`false` switches a built-in or inherited rule off.", default "true";
        SEVERITY: "severity", "\"critical\", \"warning\" or \"info\"", Word(&["critical", "warning", "info"]), "How bad it is.", default "'warning'; a fast burn rate has the journey's";
        OVER: "over", "a percentage (error_rate) or a duration (latency)", Either(&[Number, Duration]), "Above this it is bad.", example "'2.5s'";
        WINDOW: "window", "a duration from 1m to 24h", Duration, "`error_rate`, `latency`: over how long.", default "'10m'";
        MIN_RUNS: "min_runs", "a number of runs", Integer(1, 10_000), "`error_rate`, `latency`: with fewer in the window nothing changes.", default "3";
        PERCENTILE: "percentile", "a number from 1 to 100", Number, "`latency`: which percentile of the passed runs' durations.", default "95";
        MEAN: "mean", "a boolean", Boolean, "`latency`: the mean instead.", default "false";
        SLO: "slo", "\"availability\" or \"latency\"", Word(&["availability", "latency"]), "`burn_rate`: whose budget.", default "'availability'";
        SPEED: "speed", "\"fast\" or \"slow\"", Word(&["fast", "slow"]), "`burn_rate`: fast looks at 1h and 6h, slow at 1d and 3d, each with a short window of a twelfth (SRE workbook).", default "fast, unless `severity` is warning";
        MIN_FAILURES: "min_failures", "a number of failed runs", Integer(1, 10_000), "`burn_rate`: with fewer in the long window it does not fire, however small the budget is.", default "3";
        WITHIN: "within", "a duration", Duration, "`cert_expiry`: bad when a certificate ends within this.", default "'21d'";
        AFTER: "after", "a duration of at least 10 s", Duration, "`no_data`: bad when no run passed or failed for this long.", default "the larger of 3 intervals and 2m; for cron, 2m after a missed slot";
        FAIL_AFTER: "fail_after", "a number of bad runs in a row", Integer(1, 1000), "`degraded`, `challenged`, `cleanup`: bad runs in a row until it fires.", default "2; 3 for `cleanup`";
        FAIL_WHEN: "fail_when", "m of n, such as \"2 of 3\"", Form("^[0-9]+ of [0-9]+$"), "Instead of `fail_after`.", example "'2 of 3'";
        RECOVER_AFTER: "recover_after", "a number of good runs in a row", Integer(1, 1000), "`degraded`, `challenged`, `cleanup`: good runs in a row until it resolves.", default "2";
        FOR: "for", "a duration", Duration, "It must have been bad for this long.", default "'0s'";
        KEEP_FIRING_FOR: "keep_firing_for", "a duration", Duration, "It goes on firing for this long after it was over.", default "'0s'";
        QUORUM: "quorum", "\"any\", \"majority\", \"all\" or a number", Either(&[Word(&["any", "majority", "all"]), Integer(1, 1000)]), "`degraded`, `challenged`, `cleanup`: how many locations must agree.", default "'majority'";
    } planned {}
);

fields!(variant, "a variant" {
    ID: "id", "an id", Id, "Its name in metrics and messages.", example "'member'";
    VARS: "vars", "a table", Named(super::NAME, &Any), "Its own values; they win over the journey's.";
} planned {});

fields!(journey_expect, "the journey's `expect`" {
    NO_ERROR_PAGE: "no_error_page", "a boolean", Boolean, "Whether error, maintenance, login and challenge pages that answer 2xx are recognised.", default "true";
} planned {}
misplaced super::only_in_steps);

fields!(auth, "`auth`" {
    BASIC: "basic", "a table with `user` and `password`", Table(&super::basic::TABLE), "HTTP Basic (RFC 7617).", example "{ user = 'probe', password = '{{ secret.probe_password }}' }";
    BEARER: "bearer", "a string", Text, "A token, sent as `Authorization: Bearer` (RFC 6750).", example "'{{ secret.api_token }}'";
    OAUTH2: "oauth2", "a table with `token_url`, `client_id` and `client_secret`", Table(&super::oauth2::TABLE), "A token by OAuth 2.0 client credentials (RFC 6749 §4.4), kept over runs until it expires, renewed once on a 401.";
} planned {} one_of { "basic", "bearer", "oauth2" });

fields!(basic, "`basic`" {
    USER: "user", "a string", Text, "The user.";
    PASSWORD: "password", "a string", Text, "The password.", example "'{{ secret.probe_password }}'";
} planned {});

fields!(oauth2, "`oauth2`" {
    TOKEN_URL: "token_url", "an http or https URL", Url, "Where tokens are given out.", example "'https://login.example/oauth/token'";
    CLIENT_ID: "client_id", "a string", Text, "Who asks.";
    CLIENT_SECRET: "client_secret", "a string", Text, "What proves it.", example "'{{ secret.client_secret }}'";
    SCOPE: "scope", "a string", Text, "Scopes, separated by spaces.", example "'orders:read orders:write'";
    AUDIENCE: "audience", "a string", Text, "For providers that ask for one.", example "'https://api.example'";
    CREDENTIALS: "credentials", "\"header\" or \"body\"", Word(&["header", "body"]), "Where id and secret go: HTTP Basic, or the form.", default "'header'";
} planned {});

fields!(tls, "`tls`" {
    CA_FILE: "ca_file", "the path of a PEM file", Text, "Trust these authorities instead of the system's.", example "'internal-ca.pem'";
    CERT_FILE: "cert_file", "the path of a PEM file", Text, "The client's certificate and its chain.", example "'client.pem'";
    KEY_FILE: "key_file", "the path of a PEM file", Text, "The client's private key.", example "'client.key'";
    SERVER_NAME: "server_name", "a DNS name", Text, "Ask for and verify this name, instead of the URL's host. HTTP/1.1 is used then.", example "'shop.example'";
    INSECURE_SKIP_VERIFY: "insecure_skip_verify", "a boolean", Boolean, "Accept any certificate. Every run and `check` warn of it.", default "false";
} planned {});

fields!(
    /// Keys of a step.
    step, "a step" {
        ID: "id", "an id", Id, "Its name in metrics, messages and `--until`.", example "'search'";
        USE: "use", "the path of a fragment file", Text, "The steps of a fragment stand here; the path is relative to this file.", example "'shared/login.toml'";
        AS: "as", "an id", Id, "Prefix for the ids and captures of a fragment that is used twice.", example "'again'";
        ONLY: "only", "a list of variant ids", Either(&[Id, Some(&Id)]), "Only these variants run it.", example "['member']";
        REQUEST: "request", "a method and a target, such as \"GET /search\"", Form("^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) +\\S"), "HTTP's start line: a method and a path behind `base_url`, or a whole URL.", example "'GET /search'";
        QUERY: "query", "a table", Map(&Either(&[Scalar, List(&Scalar)])), "Parameters, encoded and put behind the target; a list gives its name several times.", example "{ q = 'mug' }";
        HEADERS: "headers", "a table of strings", Map(&Text), "For this step; they win over the journey's.", example "{ Accept = 'application/json' }";
        AUTH: "auth", "\"none\" or a table with `basic`, `bearer` or `oauth2`", Either(&[Word(&["none"]), Table(&super::auth::TABLE)]), "Credentials for this step, instead of the journey's. They leave the step's origin by no redirect.", example "'none'";
        FORM: "form", "a table", Map(&Either(&[Scalar, List(&Scalar)])), "Body as `application/x-www-form-urlencoded`.", example "{ user = 'synthetic-member' }";
        JSON: "json", "a JSON value", Any, "Body as `application/json`.", example "{ sku = '{{ sku }}', quantity = 1 }";
        BODY: "body", "a string", Text, "Body as it is; say its `Content-Type` in `headers`.";
        BODY_FILE: "body_file", "the path of a file", Text, "Body from a file, sent as it is; `Content-Type` follows from its ending unless `headers` says it.", example "'fixtures/order.xml'";
        MULTIPART: "multipart", "a table", Map(&Either(&[Scalar, Table(&super::part::TABLE)])), "Body as `multipart/form-data` (RFC 7578), in the order written.", example "{ title = 'photo', upload = { file = 'fixtures/photo.png' } }";
        GRAPHQL: "graphql", "a table with `query`", Table(&super::graphql::TABLE), "A GraphQL request; a non-empty `$.errors` fails the step unless an assertion looks at it.", example "{ query = '{ shop { name } }' }";
        TIMEOUT: "timeout", "a duration", Duration, "The step with its redirects; each request of a poll or retry on its own.", default "'10s'";
        REDIRECTS: "redirects", "a number from 0 to 20", Integer(0, 20), "How many are followed at most.", default "10";
        PAUSE: "pause", "a duration", Duration, "Waits before the request, as a person would; not part of the step's latency.", example "'500ms'";
        POLL: "poll", "a table with `every`, `for` and `until`", Table(&super::poll::TABLE), "Repeats the request until something holds; `expect` still fails at once.", example "{ every = '2s', for = '30s', until.json.'$.status' = 'paid' }";
        RETRY: "retry", "a number or a table with `times`", Either(&[Integer(1, 10), Table(&super::retry::TABLE)]), "Tries again after a broken connection, a timeout, a 429 or a 5xx. Off unless asked for: `fail_after` confirms failures.", example "2";
        EXPECT: "expect", "a table of assertions", Table(&super::expect::TABLE), "What must hold. Without `status`, the final response must be 2xx (3xx with `redirects = 0`).", example "{ status = 201 }";
        CAPTURE: "capture", "a table of captures", Named(super::NAME, &Table(&super::capture::TABLE)), "Values for later steps; one that is missing fails the step by name.", example "{ order_id = { json = '$.order.id' } }";
    } planned {}
    one_of { "form", "json", "body", "body_file", "multipart", "graphql" }
    misplaced super::belongs_to_journey
);

fields!(part, "a part" {
    FILE: "file", "the path of a file", Text, "Its content, sent as it is.", example "'fixtures/photo.png'";
    TEXT: "text", "a string", Text, "Its content; templates allowed.";
    FILENAME: "filename", "a string", Text, "What the server is told.", default "the file's own name";
    TYPE: "type", "a media type such as \"image/png\"", Text, "`Content-Type` of the part.", default "by the file's ending", example "'image/png'";
} planned {});

fields!(graphql, "`graphql`" {
    QUERY: "query", "a string", Text, "The document.", example "'query ($t: String!) { search(term: $t) { totalItems } }'";
    VARIABLES: "variables", "a table", Map(&Any), "Values for its variables.", example "{ t = 'laptop' }";
    OPERATION: "operation", "a string", Text, "Which operation, where the document has several.";
} planned {}
misplaced super::belongs_to_step);

fields!(poll, "`poll`" {
    EVERY: "every", "a duration of at least 100 ms", Duration, "Between the end of a response and the next request.", default "'2s'";
    FOR: "for", "a duration", Duration, "The whole poll; when it is over, the step fails with what `until` still lacked.", default "'30s'";
    UNTIL: "until", "a table of assertions", Table(&super::until::TABLE), "What is waited for. With `status` here and none in `expect`, other statuses are waited out.", example "{ json.'$.status' = 'paid' }";
} planned {});

fields!(retry, "`retry`" {
    TIMES: "times", "a number from 1 to 10", Integer(1, 10), "How often at most, after the first attempt.", default "1";
    WAIT: "wait", "a duration", Duration, "Before each further attempt; a `Retry-After` that still fits into the run wins.", default "'1s'";
    ANY_METHOD: "any_method", "a boolean", Boolean, "Also POST and PATCH, which could do twice what they do (RFC 9110 §9.2.2).", default "false";
} planned {});

fields!(expect, "`expect`" {
    STATUS: "status", "a status code, a list of them, or a table such as { ge = 200, lt = 300 }", Either(&[Integer(100, 599), List(&Integer(100, 599)), Table(&super::predicate::TABLE)]), "The final response's status; a list means any of them.", example "[200, 201]";
    WITHIN: "within", "a duration", Duration, "From the request to the end of the body, redirects included.", example "'1s'";
    HEADER: "header", "a table of header names", Map(&super::VALUE), "A response header; with several of one name, any.", example "{ content-type = { starts_with = 'text/html' } }";
    COOKIE: "cookie", "a table of cookie names", Map(&super::VALUE), "The jar after the step, as it would be sent to the final URL.", example "{ session = { exists = true } }";
    BODY: "body", "a string or a table such as { contains = \"Welcome\" }", super::VALUE, "The decoded text.", example "{ contains = 'Welcome' }";
    JSON: "json", "a table of JSONPaths", Map(&super::VALUE), "RFC 9535: a singular path gives the value, others the list of all.", example "{ '$.order.total' = { gt = 0 } }";
    CSS: "css", "a table of CSS selectors", Map(&super::VALUE), "The first match's text, white space collapsed, or its `attr`.", example "{ h1 = 'Welcome' }";
    URL: "url", "a string or a table such as { ends_with = \"/account\" }", super::VALUE, "The final URL, after redirects.", example "{ ends_with = '/account' }";
    REDIRECTS: "redirects", "a number", super::VALUE, "How many were followed.", example "1";
    SIZE: "size", "a number of bytes or a table such as { gt = 0 }", super::VALUE, "Bytes of the decoded body.", example "{ gt = 0 }";
    TLS_DAYS_LEFT: "tls_days_left", "a number of days", super::VALUE, "Whole days until the first certificate of the chain expires, at least.", example "14";
    NO_ERROR_PAGE: "no_error_page", "a boolean", Boolean, "Whether an error, maintenance, login or challenge page that answers 2xx is recognised.", default "true";
} planned {});

fields!(until, "`until`" {
    STATUS: "status", "a status code, a list of them, or a table such as { ge = 200, lt = 300 }", Either(&[Integer(100, 599), List(&Integer(100, 599)), Table(&super::predicate::TABLE)]), "As in `expect`.", example "200";
    HEADER: "header", "a table of header names", Map(&super::VALUE), "As in `expect`.";
    COOKIE: "cookie", "a table of cookie names", Map(&super::VALUE), "As in `expect`.";
    BODY: "body", "a string or a table such as { contains = \"Welcome\" }", super::VALUE, "As in `expect`.";
    JSON: "json", "a table of JSONPaths", Map(&super::VALUE), "As in `expect`.", example "{ '$.status' = 'paid' }";
    CSS: "css", "a table of CSS selectors", Map(&super::VALUE), "As in `expect`.";
    URL: "url", "a string or a table such as { ends_with = \"/account\" }", super::VALUE, "As in `expect`.";
    SIZE: "size", "a number of bytes or a table such as { gt = 0 }", super::VALUE, "As in `expect`.";
} planned {});

use crate::document::Shape;

/// What an assertion takes: a plain value means equals.
const VALUE: Shape = Shape::Either(&[Shape::Scalar, Shape::List(&Shape::Any), Shape::Table(&predicate::TABLE)]);

fields!(predicate, "an assertion" {
    EQUALS: "equals", "a value", Any, "The same value; numbers by value, texts of pages and headers also by number.", example "'paid'";
    NOT_EQUALS: "not_equals", "a value", Any, "Another value, or none.";
    CONTAINS: "contains", "a value or a list of values", Any, "Has it: a text within a text, an item of a list, a key of an object. A list means all of them.", example "'Welcome'";
    NOT_CONTAINS: "not_contains", "a value or a list of values", Any, "Has it not; a list means none of them.";
    STARTS_WITH: "starts_with", "a string", Scalar, "Begins so.", example "'text/html'";
    ENDS_WITH: "ends_with", "a string", Scalar, "Ends so.", example "'/account'";
    MATCHES: "matches", "a regular expression or a list of them", Either(&[Text, List(&Text)]), "A regular expression finds something in it; a list means all of them.", example "'^o-[0-9]+$'";
    LT: "lt", "a number", Scalar, "Less than.";
    LE: "le", "a number", Scalar, "At most.";
    GT: "gt", "a number", Scalar, "More than.", example "0";
    GE: "ge", "a number", Scalar, "At least.";
    IN: "in", "a list of values", Any, "One of these.", example "['paid', 'shipped']";
    EXISTS: "exists", "a boolean", Boolean, "It is there, or it is not.", example "true";
    COUNT: "count", "a number or a table such as { ge = 1 }", Either(&[Integer(0, i64::MAX), Table(&super::count::TABLE)]), "How many: matches of a selector, items of a list, headers of one name.", example "{ ge = 1 }";
    TYPE: "type", "\"string\", \"number\", \"integer\", \"boolean\", \"list\", \"object\" or \"null\"", Word(&["string", "number", "integer", "boolean", "list", "object", "null"]), "The JSON type.", example "'string'";
    ATTR: "attr", "the name of an attribute (css only)", Text, "Look at this attribute instead of the text.", example "'href'";
} planned {});

fields!(count, "`count`" {
    EQUALS: "equals", "a number", Integer(0, i64::MAX), "Exactly.";
    LT: "lt", "a number", Integer(0, i64::MAX), "Fewer than.";
    LE: "le", "a number", Integer(0, i64::MAX), "At most.";
    GT: "gt", "a number", Integer(0, i64::MAX), "More than.";
    GE: "ge", "a number", Integer(0, i64::MAX), "At least.", example "1";
} planned {});

fields!(capture, "a capture" {
    JSON: "json", "a JSONPath", Text, "From a JSON body (RFC 9535); keeps its type.", example "'$.order.id'";
    CSS: "css", "a CSS selector", Text, "From a page: the first match's text, or its `attr`.", example "'form#login input[name=csrf_token]'";
    ATTR: "attr", "the name of an attribute", Text, "With `css`; `href`, `src` and `action` become whole URLs.", example "'value'";
    REGEX: "regex", "a regular expression", Text, "From the body, or narrows what another source found: its first group, or the whole match.", example "'order=([0-9]+)'";
    HEADER: "header", "a header name", Text, "From a response header; `Location` becomes a whole URL.", example "'X-Order'";
    COOKIE: "cookie", "a cookie name", Text, "From the jar; always secret.", example "'session'";
    URL: "url", "true", True, "The final URL.", example "true";
    TYPE: "type", "\"string\", \"integer\", \"number\" or \"boolean\"", Word(&["string", "integer", "number", "boolean"]), "Turns the value into this type; one that does not fit fails the step.", default "as found", example "'integer'";
    SECRET: "secret", "a boolean", Boolean, "Never shown anywhere. Values from places named like a password or token are secret anyway.", default "false";
} planned {} one_of { "json", "css", "header", "cookie", "url" });

/// What a fragment does not take.
fn not_in_fragments(key: &str) -> Option<String> {
    let journey_key = journey::TABLE.fields.iter().any(|f| f.name == key);
    journey_key.then(|| "a fragment holds [[steps]] and [vars]; this belongs into the journeys that use it".to_owned())
}

/// What a step does not take: TOML swallows what stands below `[[steps]]`.
fn belongs_to_journey(key: &str) -> Option<String> {
    if step::TABLE.fields.iter().any(|f| f.name == key) {
        return None;
    }
    journey::TABLE.fields.iter().any(|f| f.name == key).then(|| {
        format!("`{key}` belongs to the journey: move it above the first [[steps]], where the top-level keys stand")
    })
}

/// `[steps.graphql]` swallows every key that follows it.
fn belongs_to_step(key: &str) -> Option<String> {
    step::TABLE.fields.iter().any(|f| f.name == key).then(|| {
        format!("every key after a [steps.…] header belongs to it: move `{key}` above the header, or write the table on one line")
    })
}

fn only_in_steps(key: &str) -> Option<String> {
    expect::TABLE.fields.iter().any(|f| f.name == key).then(|| {
        "other assertions stand in the step whose response they look at: expect.… below its [[steps]]".to_owned()
    })
}
