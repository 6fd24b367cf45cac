// Panels and dashboards as Grafana's classic JSON (schemaVersion 39: Grafana 10.3 and newer), every one with a
// description and a unit.
local datasource = { type: 'prometheus', uid: '${datasource}' };

local target(query, i) = {
  refId: std.char(std.codepoint('A') + i),
  datasource: datasource,
  expr: query.expr,
  legendFormat: std.get(query, 'legend', '__auto'),
  editorMode: 'code',
  range: !std.get(query, 'instant', false),
  instant: std.get(query, 'instant', false),
  exemplar: std.get(query, 'exemplar', false),
  format: std.get(query, 'format', 'time_series'),
};

local panel(type, title, description, queries, unit) = {
  type: type,
  title: title,
  description: description,
  datasource: datasource,
  fieldConfig: { defaults: { unit: unit }, overrides: [] },
  options: {},
  targets: std.mapWithIndex(function(i, query) target(query, i), queries),
};

local steps(list) = { thresholds: { mode: 'absolute', steps: [{ color: s[0], value: s[1] } for s in list] } };

{
  green: [['green', null]],
  // Any is bad.
  none: [['green', null], ['red', 1]],

  thresholds(list): { fieldConfig+: { defaults+: steps(list) } },

  stat(title, description, expr, unit='short', thresholds=$.green, legend='')::
    panel('stat', title, description, [{ expr: expr, legend: legend, instant: true }], unit)
    + $.thresholds(thresholds)
    + { fieldConfig+: { defaults+: { noValue: '–' } } }
    + { options: { colorMode: 'background', graphMode: 'none', textMode: 'auto', reduceOptions: { calcs: ['lastNotNull'] } } },

  lines(title, description, queries, unit='short')::
    panel('timeseries', title, description, queries, unit)
    + { fieldConfig+: { defaults+: { custom: { fillOpacity: 5, lineWidth: 1, showPoints: 'auto', spanNulls: 3600000 }, min: 0 } } }
    + { options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } } },

  stacked(title, description, queries, unit='short')::
    $.lines(title, description, queries, unit)
    + { fieldConfig+: { defaults+: { custom+: { fillOpacity: 60, stacking: { mode: 'normal', group: 'A' } } } } },

  // Lines at these values: what is above one is bad.
  limits(list):: {
    fieldConfig+: { defaults+: steps(list) + { custom+: { thresholdsStyle: { mode: 'dashed' } } } },
  },

  upDown(title, description, expr, legend)::
    panel('state-timeline', title, description, [{ expr: expr, legend: legend }], 'short')
    + {
      fieldConfig+: {
        defaults+: steps([['red', null], ['green', 1]]) + {
          custom: { fillOpacity: 80, lineWidth: 0 },
          mappings: [{ type: 'value', options: { '0': { text: 'fails', color: 'red' }, '1': { text: 'passes', color: 'green' } } }],
        },
      },
      options: { mergeValues: true, showValue: 'never', rowHeight: 0.85, legend: { displayMode: 'list', placement: 'bottom' } },
    },

  // A cell counts its own step, which is a minute at least, and the scrape before it.
  heatmap(title, description, expr, unit='s')::
    panel('heatmap', title, description, [{ expr: expr, legend: '{{le}}', format: 'heatmap', exemplar: true }], unit)
    + {
      interval: '1m',
      options: {
        calculate: false,
        yAxis: { unit: unit },
        cellGap: 1,
        color: { mode: 'scheme', scheme: 'Oranges', steps: 64, exponent: 0.5 },
        tooltip: { show: true, yHistogram: false },
        exemplars: { color: 'rgba(255,0,255,0.7)' },
      },
    },

  // `columns`: label or value name to heading; all others are hidden. Values of several queries are joined.
  table(title, description, queries, columns, unit='short', overrides=[])::
    panel('table', title, description, [q { instant: true, format: 'table' } for q in queries], unit)
    + {
      fieldConfig+: { overrides: overrides },
      options: { showHeader: true, sortBy: [] },
      transformations: (if std.length(queries) > 1 then [{ id: 'merge', options: {} }] else []) + [
        {
          id: 'organize',
          options: {
            renameByName: { [c[0]]: c[1] for c in columns },
            indexByName: { [columns[i][0]]: i for i in std.range(0, std.length(columns) - 1) },
          },
        },
        { id: 'filterFieldsByName', options: { include: { names: [c[1] for c in columns] } } },
      ],
    },

  override(column, properties):: {
    matcher: { id: 'byName', options: column },
    properties: [{ id: name, value: properties[name] } for name in std.objectFields(properties)],
  },

  at(x, y, w, h):: { gridPos: { x: x, y: y, w: w, h: h } },

  // What runs do is counted over a window that the reader chooses, not over $__rate_interval: that follows from the
  // scrapes, and a journey of five minutes has no run in it.
  window:: {
    name: 'window',
    label: 'Counted over',
    type: 'custom',
    query: '5m,15m,30m,1h,6h,1d,7d',
    current: { selected: true, text: '15m', value: '15m' },
    options: [{ selected: w == '15m', text: w, value: w } for w in ['5m', '15m', '30m', '1h', '6h', '1d', '7d']],
    multi: false,
    includeAll: false,
  },

  // Leads from a series to its journey.
  toJourney:: {
    fieldConfig+: {
      defaults+: { links: [{ title: 'Journey ${__field.labels.journey}', url: '/d/journeyd-journey?var-journey=${__field.labels.journey}&var-window=${window}&${datasource:queryparam}&${job:queryparam}&${__url_time_range}' }] },
    },
  },

  variable(name, label, query, all=true, any=true):: {
    name: name,
    label: label,
    type: 'query',
    datasource: datasource,
    definition: query,
    query: { query: query, refId: name },
    // With the time range, so that what has left the configuration can still be chosen in the past.
    refresh: 2,
    sort: 1,
    includeAll: all,
    multi: all,
    current: {},
    // Also what is empty, as the variant of a journey without variants; else what there is, and nothing of other jobs.
  } + (if all && any then { allValue: '.*' } else {}),

  dashboard(config, uid, title, description, variables, panels):: {
    uid: uid,
    title: 'journeyd / ' + title,
    description: description,
    tags: ['journeyd'],
    schemaVersion: 39,
    version: 1,
    editable: false,
    timezone: '',
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    graphTooltip: 1,
    links: [{
      title: 'journeyd',
      type: 'dashboards',
      tags: ['journeyd'],
      asDropdown: false,
      includeVars: true,
      keepTime: true,
      icon: 'external link',
      url: '',
      targetBlank: false,
      tooltip: '',
    }],
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1, hide: 0, current: {}, regex: '' },
        $.variable('job', 'Job', 'label_values(journeyd_build_info, job)', any=false),
      ] + variables,
    },
    annotations: {
      list: [
        {
          name: 'Changes',
          datasource: datasource,
          enable: true,
          iconColor: 'purple',
          expr: 'journeyd_change_timestamp_seconds{job=~"$job"} * 1000',
          step: '60s',
          useValueForTime: true,
          titleFormat: '{{service}} {{version}}',
          textFormat: '{{source}}',
          tagKeys: 'service,source',
        },
        {
          name: 'Incidents',
          datasource: datasource,
          enable: true,
          iconColor: 'red',
          expr: 'max by (journey, variant, alert, severity) (journeyd_alert_firing{job=~"$job"%s}) == 1' % config.annotated,
          step: '60s',
          titleFormat: '{{alert}}: {{journey}} {{variant}}',
          textFormat: '',
          tagKeys: 'journey,severity',
        },
      ],
    },
    panels: std.mapWithIndex(function(i, p) p { id: i + 1 }, panels),
  },
}
