local p = import 'panels.libsonnet';
local own = 'job=~"$job"';
local j = own + ', journey=~"$journey"';
local name = '{{journey}} {{variant}}';

p.dashboard(
  { annotated: ', journey=~"$journey"' },
  'journeyd-overview',
  'Overview',
  'All user journeys: which fail, since when, and what it costs.',
  [p.variable('journey', 'Journey', 'label_values(journeyd_journey_info{job=~"$job"}, journey)'), p.window],
  [
    p.stat('Journeys failing', 'Journeys and variants whose last run failed at every location.',
           'count(max by (journey, variant) (journeyd_journey_up{%s}) == 0) or vector(0)' % j, thresholds=p.none) + p.at(0, 0, 4, 4),
    p.stat('Journeys passing', 'Journeys and variants whose last run passed somewhere.',
           'count(max by (journey, variant) (journeyd_journey_up{%s}) == 1) or vector(0)' % j) + p.at(4, 0, 4, 4),
    p.stat('Alerts firing', 'Alerts of journeyd that fire, also while they recover.',
           'sum(journeyd_alert_firing{%s}) or vector(0)' % j, thresholds=p.none) + p.at(8, 0, 4, 4),
    p.stat('Open incidents', 'Incidents that are not resolved.',
           'sum(journeyd_incidents_open{%s})' % own, thresholds=p.none) + p.at(12, 0, 4, 4),
    p.stat('Lowest error budget', 'What is left of the error budget that is closest to its end.',
           'min(journeyd_slo_error_budget_remaining_ratio{%s})' % j, 'percentunit', [['red', null], ['orange', 0], ['green', 0.25]]) + p.at(16, 0, 4, 4),
    p.stat('Oldest result', 'Time since the journey that was looked at longest ago last passed or failed.',
           'time() - min(journeyd_journey_last_run_timestamp_seconds{%s})' % j, 's') + p.at(20, 0, 4, 4),
    p.upDown('Journeys', 'The last run of each journey and variant; red while it fails at every location.',
             'max by (journey, variant) (journeyd_journey_up{%s})' % j, name) + p.toJourney + p.at(0, 4, 24, 8),
    p.table('Alerts firing', 'Alerts of journeyd that fire now, with the owner of the journey.',
            [{
              // journeyd's own alerts have no journey, and no owner.
              expr: 'max by (job, alert, journey, variant, severity) (journeyd_alert_firing{%s} == 1) * on (job, journey) group_left (owner) topk by (job, journey) (1, max by (job, journey, owner) (journeyd_journey_info{%s})) or (max by (job, alert, journey, variant, severity) (journeyd_alert_firing{%s} == 1) unless on (job, journey) journeyd_journey_info)' % [j, own, j],
            }],
            [['alert', 'Alert'], ['journey', 'Journey'], ['variant', 'Variant'], ['severity', 'Severity'], ['owner', 'Owner']]) + p.at(0, 12, 12, 8),
    p.table('Last good run', 'Time since each journey last passed.',
            [{ expr: 'time() - max by (journey, variant) (journeyd_journey_last_success_timestamp_seconds{%s})' % j }],
            [['journey', 'Journey'], ['variant', 'Variant'], ['Value', 'Since']], 's') + p.at(12, 12, 12, 8),
    p.lines('Failed runs', 'Share of runs that failed, all locations.',
            [{ expr: 'sum by (journey, variant) (rate(journeyd_journey_run_failures_total{%s}[$window])) / (sum by (journey, variant) (rate(journeyd_journey_runs_total{%s}[$window])) > 0)' % [j, j], legend: name }],
            'percentunit') + p.toJourney + p.at(0, 20, 12, 8),
    p.lines('5xx answers', 'Share of answers with a status of 500 or more, all steps and locations.',
            [{ expr: 'sum by (journey, variant) (rate(journeyd_step_responses_total{%s, class="5xx"}[$window])) / (sum by (journey, variant) (rate(journeyd_step_responses_total{%s}[$window])) > 0)' % [j, j], legend: name }],
            'percentunit') + p.toJourney + p.at(12, 20, 12, 8),
    p.lines('Time of passed runs, 95th percentile', 'From the first request to the end of the last step; failed runs are not in it.',
            [{ expr: 'histogram_quantile(0.95, sum by (journey, variant, le) (rate(journeyd_journey_duration_seconds_bucket{%s}[$window])))' % j, legend: name, exemplar: true }],
            's') + p.toJourney + p.at(0, 28, 12, 8),
    p.stacked('Failures by reason', 'Failed steps within the window, by what failed. A reason that is new counts from its first failure.',
              [{ expr: 'sum by (reason) ((journeyd_step_failures_total{%s} unless journeyd_step_failures_total{%s} offset $window) and on (job, instance) (up{job=~"$job"} offset $window == 1) or increase(journeyd_step_failures_total{%s}[$window]))' % [j, j, j], legend: '{{reason}}', exemplar: true }],
              'short') + p.at(12, 28, 12, 8),
  ]
)
