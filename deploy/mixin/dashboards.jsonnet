// jsonnet -m deploy/grafana/dashboards deploy/mixin/dashboards.jsonnet
(import 'mixin.libsonnet').grafanaDashboards
