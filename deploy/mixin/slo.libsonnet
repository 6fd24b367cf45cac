local p = import 'panels.libsonnet';
local s = 'job=~"$job", journey=~"$journey", slo=~"$slo"';
local r = 'job=~"$job", journey=~"$journey"';
local name = '{{journey}} {{variant}} {{slo}}';
local by = 'by (journey, variant, slo)';
local ratio = { unit: 'percentunit', decimals: 2 };

p.dashboard(
  { annotated: ', journey=~"$journey"' },
  'journeyd-slo',
  'SLO',
  'Objectives, what is left of their error budgets, and how fast they burn. Counted by journeyd, exact to the minute.',
  [
    p.variable('journey', 'Journey', 'label_values(journeyd_slo_objective_ratio{job=~"$job"}, journey)'),
    p.variable('slo', 'Objective', 'label_values(journeyd_slo_objective_ratio{job=~"$job", journey=~"$journey"}, slo)'),
    p.window,
  ],
  [
    p.stat('Objectives', 'How many there are.', 'count(journeyd_slo_objective_ratio{%s})' % s) + p.at(0, 0, 6, 4),
    p.stat('Budgets spent', 'Objectives with nothing left of their error budget.', 'count(journeyd_slo_error_budget_remaining_ratio{%s} <= 0) or vector(0)' % s, thresholds=p.none) + p.at(6, 0, 6, 4),
    p.stat('Lowest budget', 'What is left of the error budget that is closest to its end.', 'min(journeyd_slo_error_budget_remaining_ratio{%s})' % s, 'percentunit', [['red', null], ['orange', 0], ['green', 0.25]]) + p.at(12, 0, 6, 4),
    p.stat('Fastest burn, one hour', 'Multiples of the speed at which a budget lasts exactly its window.', 'max(journeyd_slo_burn_rate{%s, window="1h"})' % s, 'short', [['green', null], ['orange', 1], ['red', 14.4]]) + p.at(18, 0, 6, 4),
    p.table('All objectives', 'Objective, what is left of the error budget, and burn rates: 1 spends the budget exactly over its window.',
            [
              { expr: 'max %s (journeyd_slo_objective_ratio{%s})' % [by, s] },
              { expr: 'min %s (journeyd_slo_error_budget_remaining_ratio{%s})' % [by, s] },
              { expr: 'max %s (journeyd_slo_burn_rate{%s, window="1h"})' % [by, s] },
              { expr: 'max %s (journeyd_slo_burn_rate{%s, window="6h"})' % [by, s] },
              { expr: 'max %s (journeyd_slo_window_seconds{%s})' % [by, s] },
            ],
            [['journey', 'Journey'], ['variant', 'Variant'], ['slo', 'SLO'], ['Value #A', 'Objective'], ['Value #E', 'Window'], ['Value #B', 'Budget left'], ['Value #C', 'Burn 1h'], ['Value #D', 'Burn 6h']],
            'short',
            [p.override('Objective', ratio), p.override('Budget left', ratio), p.override('Window', { unit: 's' })]) + p.at(0, 4, 24, 9),
    p.lines('Error budget left', '1 is untouched, 0 spent, negative overspent.',
            [{ expr: 'min %s (journeyd_slo_error_budget_remaining_ratio{%s})' % [by, s], legend: name }], 'percentunit')
    + { fieldConfig+: { defaults+: { min:: null } } } + p.limits([['red', null], ['green', 0]]) + p.at(0, 13, 24, 8),
  ] + [
    p.lines('Burn rate over ' + w[0], 'Above the line at %s, %s.' % [w[1], w[2]],
            [{ expr: 'max %s (journeyd_slo_burn_rate{%s, window="%s"})' % [by, s, w[0]], legend: name }])
    + p.limits([['green', null], ['red', w[1]]]) + p.at(w[3], w[4], 6, 8)
    for w in [
      ['5m', 14.4, 'two percent of a 30-day budget go in an hour, if it lasts', 0, 21],
      ['1h', 14.4, 'two percent of a 30-day budget went in this hour', 6, 21],
      ['6h', 6, 'five percent of a 30-day budget went in these six hours', 12, 21],
      ['1d', 3, 'ten percent of a 30-day budget went in this day', 18, 21],
    ]
  ] + [
    p.lines('Runs', 'Runs that passed or failed, per second.',
            [{ expr: 'sum by (journey, variant) (rate(journeyd_journey_runs_total{%s}[$window]))' % r, legend: '{{journey}} {{variant}}' }], 'ops') + p.at(0, 29, 8, 8),
    p.lines('Failed runs', 'Runs that failed, per second: bad for availability.',
            [{ expr: 'sum by (journey, variant) (rate(journeyd_journey_run_failures_total{%s}[$window]))' % r, legend: '{{journey}} {{variant}}' }], 'ops') + p.at(8, 29, 8, 8),
    p.lines('Slow runs', 'Runs that passed, but slower than slo.latency, per second: bad for latency.',
            [{ expr: 'sum by (journey, variant) (rate(journeyd_journey_degraded_runs_total{%s}[$window]))' % r, legend: '{{journey}} {{variant}}' }], 'ops') + p.at(16, 29, 8, 8),
  ]
)
