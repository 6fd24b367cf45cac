local p = import 'panels.libsonnet';
local j = 'job=~"$job", journey="$journey", variant=~"$variant", location=~"$location"';
local a = 'job=~"$job", journey="$journey", variant=~"$variant"';

p.dashboard(
  { annotated: ', journey="$journey"' },
  'journeyd-journey',
  'Journey',
  'One journey, step by step: where the time goes, which route answers 5xx, what changed before.',
  [
    p.variable('journey', 'Journey', 'label_values(journeyd_journey_info{job=~"$job"}, journey)', all=false),
    p.variable('variant', 'Variant', 'label_values(journeyd_journey_runs_total{job=~"$job", journey="$journey"}, variant)'),
    p.variable('location', 'Location', 'label_values(journeyd_journey_runs_total{job=~"$job", journey="$journey"}, location)'),
    p.window,
  ],
  [
    p.stat('Now', 'The last run of each variant and location.', 'min by (variant, location) (journeyd_journey_up{%s})' % j,
           thresholds=[['red', null], ['green', 1]], legend='{{variant}} {{location}}')
    + { fieldConfig+: { defaults+: { mappings: [{ type: 'value', options: { '0': { text: 'fails' }, '1': { text: 'passes' } } }] } } }
    + p.at(0, 0, 8, 4),
    p.stat('Last good run', 'Time since it last passed.', 'time() - max by (variant) (journeyd_journey_last_success_timestamp_seconds{%s})' % j, 's', legend='{{variant}}') + p.at(8, 0, 4, 4),
    p.stat('Last run took', 'Time of the last run that passed or failed.', 'max by (variant) (journeyd_journey_last_duration_seconds{%s})' % j, 's', legend='{{variant}}') + p.at(12, 0, 4, 4),
    p.stat('Next run in', 'Time until the next run is due; negative when it is late.', 'min by (variant) (journeyd_journey_next_run_timestamp_seconds{%s}) - time()' % j, 's', [['red', null], ['green', -60]], '{{variant}}') + p.at(16, 0, 4, 4),
    p.stat('Runs in this range', 'Runs that passed or failed.', 'sum by (variant) (increase(journeyd_journey_runs_total{%s}[$__range]))' % j, legend='{{variant}}')
    + { fieldConfig+: { defaults+: { decimals: 0 } } } + p.at(20, 0, 4, 4),
    p.upDown('Steps', 'Each step when it last ran; a step after one that failed stays as it was.',
             'min by (variant, step) (journeyd_step_up{%s})' % j, '{{variant}} {{step}}') + p.at(0, 4, 24, 8),
    p.heatmap('Time of passed runs', 'How many runs took how long; points lead to runs.',
              'sum by (le) (increase(journeyd_journey_duration_seconds_bucket{%s}[$__rate_interval]))' % j) + p.at(0, 12, 12, 9),
    p.lines('Time of passed runs, percentiles', 'Half, 95 % and 99 % of the runs took no longer.',
            [
              { expr: 'histogram_quantile(%s, sum by (le) (rate(journeyd_journey_duration_seconds_bucket{%s}[$window])))' % [q[0], j], legend: q[1], exemplar: q[1] == 'p95' }
              for q in [['0.5', 'p50'], ['0.95', 'p95'], ['0.99', 'p99']]
            ], 's') + p.at(12, 12, 12, 9),
    p.lines('Time of steps, 95th percentile', 'Passed steps, redirects included.',
            [{ expr: 'histogram_quantile(0.95, sum by (step, le) (rate(journeyd_step_duration_seconds_bucket{%s}[$window])))' % j, legend: '{{step}}', exemplar: true }],
            's') + p.at(0, 21, 12, 8),
    p.stacked('Where the time goes, by step', 'The last run of each step, the mean of variants and locations.',
              [{ expr: 'avg by (step) (sum without (phase) (journeyd_step_phase_duration_seconds{%s}))' % j, legend: '{{step}}' }], 's') + p.at(12, 21, 12, 8),
    p.stacked('Where the time goes, by phase', 'Resolving names, TCP, TLS, waiting for the server, transfer: all steps of the last run, the mean of variants and locations.',
              [{ expr: 'avg by (phase) (sum without (step) (journeyd_step_phase_duration_seconds{%s}))' % j, legend: '{{phase}}' }], 's') + p.at(0, 29, 12, 8),
    p.table('Phases by step', 'The last run of each step, mean of variants and locations.',
            [{ expr: 'avg by (step, phase) (journeyd_step_phase_duration_seconds{%s})' % j }],
            [['step', 'Step'], ['phase', 'Phase'], ['Value', 'Time']], 's') + p.at(12, 29, 12, 8),
    p.lines('5xx answers by route', 'Share of answers with a status of 500 or more, by step.',
            [{ expr: 'sum by (step) (rate(journeyd_step_responses_total{%s, class="5xx"}[$window])) / (sum by (step) (rate(journeyd_step_responses_total{%s}[$window])) > 0)' % [j, j], legend: '{{step}}' }],
            'percentunit') + p.at(0, 37, 12, 8),
    p.stacked('Answers by class', 'Responses per second by class of status; none is no response.',
              [{ expr: 'sum by (class) (rate(journeyd_step_responses_total{%s}[$window]))' % j, legend: '{{class}}' }], 'reqps') + p.at(12, 37, 12, 8),
    p.stacked('Failures by step and reason', 'Failed steps within the window; points lead to runs.',
              [{ expr: 'sum by (step, reason) ((journeyd_step_failures_total{%s} unless journeyd_step_failures_total{%s} offset $window) and on (job, instance) (up{job=~"$job"} offset $window == 1) or increase(journeyd_step_failures_total{%s}[$window]))' % [j, j, j], legend: '{{step}} {{reason}}', exemplar: true }], 'short') + p.at(0, 45, 12, 8),
    p.table('Last answer of each step', 'Status of the last final response; 0 is no response.',
            [{ expr: 'max by (variant, location, step) (journeyd_step_http_status_code{%s})' % j }],
            [['step', 'Step'], ['variant', 'Variant'], ['location', 'Location'], ['Value', 'Status']], 'none') + p.at(12, 45, 12, 8),
    p.lines('Size of answers', 'Decoded body of the last response of each step.',
            [{ expr: 'max by (step) (journeyd_step_response_size_bytes{%s})' % j, legend: '{{step}}' }], 'bytes') + p.at(0, 53, 8, 8),
    p.lines('Alerts', 'Pending (0.5) and firing (1), by rule.',
            [{ expr: 'max by (alert, variant) (journeyd_alert_firing{%s} + 0.5 * journeyd_alert_pending{%s})' % [a, a], legend: '{{alert}} {{variant}}' }], 'short') + p.at(8, 53, 8, 8),
    p.lines('Certificates', 'Time until the first certificate behind each step ends. Empty without https.',
            [{ expr: 'min by (step) (journeyd_tls_earliest_cert_expiry_timestamp_seconds{%s}) - time()' % j, legend: '{{step}}' }], 's') + p.at(16, 53, 8, 8),
  ]
)
