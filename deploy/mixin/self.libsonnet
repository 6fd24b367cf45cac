local p = import 'panels.libsonnet';
local i = 'job=~"$job", instance=~"$instance"';

p.dashboard(
  { annotated: ', journey="journeyd"' },
  'journeyd-self',
  'journeyd itself',
  'Whether the monitor can be believed: schedule, messages, store, process.',
  [p.variable('instance', 'Instance', 'label_values(journeyd_build_info{job=~"$job"}, instance)', any=false), p.window],
  [
    p.stat('Up', 'Daemons that Prometheus can scrape.', 'sum(up{%s})' % i) + p.at(0, 0, 4, 4),
    p.stat('Configuration', '1 if the last reload was taken; on 0 an old configuration is in force.', 'min(journeyd_config_last_reload_successful{%s})' % i, thresholds=[['red', null], ['green', 1]])
    + { fieldConfig+: { defaults+: { mappings: [{ type: 'value', options: { '0': { text: 'refused' }, '1': { text: 'in force' } } }] } } } + p.at(4, 0, 4, 4),
    p.stat('Scheduler looked', 'Time since the scheduler last looked at its agenda.', 'time() - min(journeyd_scheduler_last_tick_timestamp_seconds{%s})' % i, 's', [['green', null], ['red', 60]]) + p.at(8, 0, 4, 4),
    p.stat('Messages waiting', 'Decided and neither delivered nor given up.', 'sum(journeyd_notification_queue_length{%s})' % i, thresholds=[['green', null], ['orange', 1], ['red', 100]]) + p.at(12, 0, 4, 4),
    p.stat('Silences', 'In force now.', 'sum(journeyd_silences_active{%s})' % i) + p.at(16, 0, 4, 4),
    p.table('Versions', 'What runs where.', [{ expr: 'journeyd_build_info{%s}' % i }], [['instance', 'Instance'], ['version', 'Version'], ['revision', 'Revision']]) + p.at(20, 0, 4, 4),

    p.lines('Start lag', 'How long after its due time a run started, 50th and 99th percentile.',
            [{ expr: 'histogram_quantile(%s, sum by (le) (rate(journeyd_scheduler_lag_seconds_bucket{%s}[$window])))' % [q[0], i], legend: q[1] } for q in [['0.5', 'p50'], ['0.99', 'p99']]], 's') + p.at(0, 4, 8, 8),
    p.lines('Runs in progress', 'Runs under way.', [{ expr: 'sum by (instance) (journeyd_runs_in_progress{%s})' % i, legend: '{{instance}}' }]) + p.at(8, 4, 8, 8),
    p.lines('Runs', 'Runs that passed or failed, per second.', [{ expr: 'sum by (instance) (rate(journeyd_journey_runs_total{%s}[$window]))' % i, legend: '{{instance}}' }], 'ops') + p.at(16, 4, 8, 8),
    p.lines('Missed runs', 'Due runs that did not start, per second, by reason.', [{ expr: 'sum by (reason) (rate(journeyd_journey_runs_missed_total{%s}[$window]))' % i, legend: '{{reason}}' }], 'ops') + p.at(0, 12, 8, 8),
    p.lines("Errored runs", "Runs that say nothing of the target, per second, by what was wrong with journeyd or its surroundings.", [{ expr: 'sum by (reason) (rate(journeyd_journey_runs_errored_total{%s}[$window]))' % i, legend: '{{reason}}' }], 'ops') + p.at(8, 12, 8, 8),
    p.lines('Runs in maintenance', 'They count for nothing, per second.', [{ expr: 'sum by (instance) (rate(journeyd_journey_maintenance_runs_total{%s}[$window]))' % i, legend: '{{instance}}' }], 'ops') + p.at(16, 12, 8, 8),

    p.lines('Messages', 'Attempts to deliver, per second, by receiver.', [{ expr: 'sum by (receiver) (rate(journeyd_notifications_total{%s}[$window]))' % i, legend: '{{receiver}}' }], 'ops') + p.at(0, 20, 8, 8),
    p.lines('Messages that failed', 'Attempts that failed, per second, by receiver and reason.', [{ expr: 'sum by (receiver, reason) (rate(journeyd_notification_failures_total{%s}[$window]))' % i, legend: '{{receiver}} {{reason}}' }], 'ops') + p.at(8, 20, 8, 8),
    p.lines('Time of messages, 95th percentile', 'Of attempts, failed ones included.', [{ expr: 'histogram_quantile(0.95, sum by (receiver, le) (rate(journeyd_notification_duration_seconds_bucket{%s}[$window])))' % i, legend: '{{receiver}}' }], 's') + p.at(16, 20, 8, 8),
    p.table('Receivers', 'Time since each last took a message.', [{ expr: 'time() - journeyd_notification_last_success_timestamp_seconds{%s}' % i }], [['instance', 'Instance'], ['receiver', 'Receiver'], ['Value', 'Since']], 's') + p.at(0, 28, 8, 8),
    p.lines('Alert transitions', 'Changes of state per second, by the state entered.', [{ expr: 'sum by (to) (rate(journeyd_alert_transitions_total{%s}[$window]))' % i, legend: '{{to}}' }], 'ops') + p.at(8, 28, 8, 8),
    p.lines('Alerts flapping', 'Alerts that are quiet because they change too often.', [{ expr: 'sum by (instance) (journeyd_alert_flapping{%s})' % i, legend: '{{instance}}' }]) + p.at(16, 28, 8, 8),

    p.lines('Store', 'Size on disk.', [{ expr: 'sum by (instance) (journeyd_store_size_bytes{%s})' % i, legend: '{{instance}}' }], 'bytes') + p.at(0, 36, 8, 8),
    p.lines('Store errors', 'What the store could not do, per second.', [{ expr: 'sum by (instance, op) (rate(journeyd_store_errors_total{%s}[$__rate_interval]))' % i, legend: '{{instance}} {{op}}' }], 'ops') + p.at(8, 36, 8, 8),
    p.lines('Series', 'Samples of a scrape, and reasons that the budget refused.', [
      { expr: 'sum by (instance) (scrape_samples_scraped{%s})' % i, legend: '{{instance}}' },
      { expr: 'sum by (instance) (journeyd_series_refused_total{%s})' % i, legend: '{{instance}} refused' },
    ]) + p.at(16, 36, 8, 8),
    p.lines('CPU', 'Seconds of CPU per second.', [{ expr: 'sum by (instance) (rate(process_cpu_seconds_total{%s}[$__rate_interval]))' % i, legend: '{{instance}}' }], 'percentunit') + p.at(0, 44, 6, 8),
    p.lines('Memory', 'Resident memory.', [{ expr: 'sum by (instance) (process_resident_memory_bytes{%s})' % i, legend: '{{instance}}' }], 'bytes') + p.at(6, 44, 6, 8),
    p.lines('Descriptors', 'Open descriptors, of those that may be open.', [{ expr: 'process_open_fds{%s} / process_max_fds{%s}' % [i, i], legend: '{{instance}}' }], 'percentunit') + p.at(12, 44, 6, 8),
    p.lines('Scrape', 'Time that Prometheus took for a scrape.', [{ expr: 'max by (instance) (scrape_duration_seconds{%s})' % i, legend: '{{instance}}' }], 's') + p.at(18, 44, 6, 8),
  ]
)
