"""Draws the dashboards' panels from what a real Prometheus answered: the pictures in docs/dashboards.

    JOURNEYD_TEST_PANELS=target/panels.json cargo test --test it grafana::every_query
    target/test-python/bin/python tests/grafana/draw.py target/panels.json docs/dashboards

Not Grafana's own drawing: its place, title, unit, colours and data of each panel, so that one sees what is there.
"""

import json
import sys
from datetime import datetime, timezone

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.dates import DateFormatter

BACKGROUND, PANEL, TEXT, DIM = "#111217", "#181b1f", "#d5d7dc", "#8a8f98"
LINES = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#37872d", "#fade2a", "#5794f2", "#a352cc"]
COLOURS = {"green": "#3d8b40", "red": "#c4162a", "orange": "#e0752d", None: "#3d8b40"}


def shown(value, unit):
    if value != value:
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        if abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min" if abs(value) < 7200 else f"{value / 86400:.3g} d"
    if unit == "bytes":
        return f"{value / 1024:.3g} KiB" if value < 1 << 20 else f"{value / (1 << 20):.3g} MiB"
    return f"{value:.4g}"


def legend(template, labels):
    if template in ("__auto", "", None):
        return " ".join(v for k, v in labels.items() if k not in ("job", "__name__") and v)
    for name, value in labels.items():
        template = template.replace("{{%s}}" % name, value)
    while "{{" in template:
        start = template.index("{{")
        template = template[:start] + template[template.index("}}") + 2 :]
    return " ".join(template.split())


def series_of(panel):
    for query in panel["queries"]:
        for series in query["result"]:
            points = [(t, float(v)) for t, v in series["values"]]
            yield legend(query["legend"], series["metric"]), series["metric"], points


def last(points):
    known = [v for _, v in points if v == v]
    return known[-1] if known else float("nan")


def times(points):
    return [datetime.fromtimestamp(t, timezone.utc) for t, _ in points]


def colour_at(value, panel):
    colour = "green"
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return COLOURS.get(colour, colour)


def stat(axes, panel, data, unit):
    values = [(name, last(points)) for name, _, points in series_of(data)][:4]
    mappings = {k: v["text"] for m in panel["fieldConfig"]["defaults"].get("mappings", []) for k, v in m["options"].items()}
    for i, (name, value) in enumerate(values):
        width = 1 / len(values)
        axes.add_patch(plt.Rectangle((i * width, 0), width * 0.98, 1, color=colour_at(value, panel), transform=axes.transAxes))
        text = mappings.get(f"{value:g}", f"{value:.0f}" if panel["fieldConfig"]["defaults"].get("decimals") == 0 else shown(value, unit))
        axes.text((i + 0.5) * width, 0.5, text, color="white", ha="center", va="center", size=13 if len(values) < 3 else 8, weight="bold", transform=axes.transAxes)
        if len(values) > 1:
            axes.text((i + 0.5) * width, 0.12, name, color="white", ha="center", size=5, transform=axes.transAxes)
    axes.set_axis_off()


def lines(axes, panel, data, unit):
    every = list(series_of(data))[:12]
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking")
    floor = {}
    for i, (name, _, points) in enumerate(every):
        colour = LINES[i % len(LINES)]
        if stacked:
            top = [floor.get(t, 0) + (v if v == v else 0) for t, v in points]
            axes.fill_between(times(points), [floor.get(t, 0) for t, _ in points], top, color=colour, alpha=0.6, lw=0, label=name)
            floor.update({t: v for (t, _), v in zip(points, top)})
        else:
            axes.plot(times(points), [v for _, v in points], color=colour, lw=1, label=name)
    if panel["fieldConfig"]["defaults"].get("custom", {}).get("thresholdsStyle"):
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
            if step["value"] is not None:
                axes.axhline(step["value"], color=COLOURS.get(step["color"]), ls="--", lw=0.8)
    axes.yaxis.set_major_formatter(lambda v, _: shown(v, unit))
    plain(axes)
    if every:
        axes.legend(loc="upper left", fontsize=4.5, frameon=False, labelcolor=TEXT, ncols=3, handlelength=1)


def plain(axes):
    axes.tick_params(colors=DIM, labelsize=5, length=2)
    axes.grid(color="#2c3235", lw=0.4)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))
    axes.locator_params(axis="y", nbins=5)
    for side in axes.spines.values():
        side.set_visible(False)


def timeline(axes, panel, data, _):
    every = list(series_of(data))
    for row, (_, _, points) in enumerate(every):
        at = times(points)
        for begin, end, (_, value) in zip(at, at[1:], points):
            axes.barh(row, end - begin, left=begin, height=0.8, color=COLOURS["green" if value >= 1 else "red"], lw=0)
    plain(axes)
    axes.grid(False)
    axes.set_yticks(range(len(every)), [name for name, _, _ in every], color=TEXT, size=5)
    axes.invert_yaxis()


def heatmap(axes, _, data, unit):
    buckets = sorted(((float(m["le"]), points) for _, m, points in series_of(data) if m["le"] != "+Inf"), key=lambda b: b[0])
    at = times(buckets[0][1])
    below = [0.0] * len(at)
    rows = []
    for _, points in buckets:
        values = [v for _, v in points]
        rows.append([max(v - b, 0) for v, b in zip(values, below)])
        below = values
    used = max((i for i, row in enumerate(rows) if any(row)), default=0) + 2
    cells = [[v if v > 0 else float("nan") for v in row] for row in rows[:used]]
    axes.pcolormesh(at, range(len(cells)), cells, cmap="YlOrBr", shading="nearest", vmin=0)
    plain(axes)
    axes.grid(False)
    axes.set_yticks(range(len(rows[:used])), [shown(le, unit) for le, _ in buckets[:used]], color=DIM, size=5)


def table(axes, panel, data, unit):
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    names, order = organize["renameByName"], organize["indexByName"]
    units = {o["matcher"]["options"]: p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"}
    rows = {}
    for query, letter in zip(data["queries"], "ABCDEFG"):
        for series in query["result"]:
            labels = tuple(sorted((k, v) for k, v in series["metric"].items() if k in names))
            column = "Value" if len(data["queries"]) == 1 else f"Value #{letter}"
            points = [(t, float(v)) for t, v in series["values"]]
            rows.setdefault(labels, {})[column] = shown(last(points), units.get(names.get(column), unit))
    columns = [c for c, _ in sorted(order.items(), key=lambda c: c[1])]
    cells = [[dict(labels).get(c, values.get(c, "")) for c in columns] for labels, values in sorted(rows.items())][:10]
    axes.set_axis_off()
    if cells:
        drawn = axes.table(cellText=cells, colLabels=[names[c] for c in columns], loc="upper left", cellLoc="left", edges="horizontal")
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(5.5)
        for (row, _), cell in drawn.get_celld().items():
            cell.set_edgecolor("#2c3235")
            cell.get_text().set_color(DIM if row == 0 else TEXT)


DRAW = {"stat": stat, "timeseries": lines, "state-timeline": timeline, "heatmap": heatmap, "table": table}


def main(results, folder):
    plt.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "journeyd", "svg.fonttype": "none"})
    for dashboard in json.load(open(results)):
        height = max(p["panel"]["gridPos"]["y"] + p["panel"]["gridPos"]["h"] for p in dashboard["panels"])
        inches = 0.28 * height + 0.35
        figure = plt.figure(figsize=(13, inches), facecolor=BACKGROUND)
        figure.text(0.008, 1 - 0.2 / inches, dashboard["title"], color=TEXT, size=10, weight="bold", va="center")
        top = 1 - 0.35 / inches
        for data in dashboard["panels"]:
            panel, grid = data["panel"], data["panel"]["gridPos"]
            x, w = grid["x"] / 24, grid["w"] / 24
            y, h = top - (grid["y"] + grid["h"]) / height * top, grid["h"] / height * top
            figure.add_artist(plt.Rectangle((x + 0.002, y + 0.03 / inches), w - 0.004, h - 0.06 / inches, color=PANEL, zorder=-1))
            figure.text(x + 0.006, y + h - 0.14 / inches, panel["title"], color=TEXT, size=6.5, va="center")
            margin = 0.006 if panel["type"] in ("stat", "table") else 0.075 if panel["type"] == "state-timeline" else 0.032
            bottom = 0.1 if panel["type"] in ("stat", "table") else 0.24
            axes = figure.add_axes([x + margin, y + bottom / inches, w - margin - 0.008, h - (bottom + 0.28) / inches], facecolor=PANEL)
            DRAW[panel["type"]](axes, panel, data, panel["fieldConfig"]["defaults"]["unit"])
        name = dashboard["file"].replace(".json", ".svg")
        figure.savefig(f"{folder}/{name}", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
