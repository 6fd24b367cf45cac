// journeyd's monitoring mixin (https://monitoring.mixins.dev): rules and dashboards for those who build theirs with
// jsonnet. The rules are the files of ../prometheus, the dashboards those of ../grafana/dashboards.
//
//   local journeyd = (import 'journeyd/deploy/mixin/mixin.libsonnet') + {
//     _config+:: { selector: 'job="monitoring/journeyd"', runbooks: 'https://wiki.example/journeyd' },
//   };
local rules(text, config) =
  std.parseYaml(std.strReplace(
    std.strReplace(text, 'job="journeyd"', config.selector), 'https://runbooks.example/journeyd', config.runbooks
  ));

{
  _config+:: {
    // Selects the scrapes of journeyd, for the alert that nothing is scraped.
    selector: 'job="journeyd"',
    // Where docs/runbooks.md can be read; the alert's name in lower case is the anchor.
    runbooks: 'https://runbooks.example/journeyd',
  },

  prometheusRules+:: rules(importstr '../prometheus/journeyd.rules.yml', $._config),
  prometheusAlerts+:: rules(importstr '../prometheus/journeyd.alerts.yml', $._config),

  grafanaDashboardFolder:: 'journeyd',
  grafanaDashboards+:: {
    'journeyd-overview.json': import 'overview.libsonnet',
    'journeyd-journey.json': import 'journey.libsonnet',
    'journeyd-slo.json': import 'slo.libsonnet',
    'journeyd-self.json': import 'self.libsonnet',
  },
}
