"""Turns the source of a dashboard into the model that Grafana imports.

A source names rows, panels and queries; everything that is alike in all of them (variables, colours, legends, where a
panel stands) is said here, once. In expressions PODS stands for the selection of the variables, JOBS for the same without
the pod (for recorded series, which have none), and RATE for the interval that Grafana thinks fit.
"""

import re

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOBS = 'cluster=~"$cluster", namespace=~"$namespace", job=~"$job"'
WORDS = {"PODS": JOBS + ', pod=~"$pod"', "JOBS": JOBS, "RATE": "$__rate_interval"}

# Grafana's grid has 24 columns.
COLUMNS = 24
HEIGHTS = {"stat": 4, "lines": 8, "stack": 8, "heatmap": 8, "table": 8}
WIDTHS = {"stat": 4, "lines": 8, "stack": 8, "heatmap": 12, "table": 12}

# What a metric must have for a variable to find its values: there is one series of it for each server.
ANCHOR = "mcpd_build_info"


def dashboard(source):
    """The whole model of one dashboard."""
    extra = source.get("variables", [])
    return {
        "uid": source["uid"],
        "title": f"mcpd / {source['title']}",
        "description": source["what"],
        "tags": ["mcpd"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [_link_to_the_others()],
        "annotations": {"list": [_drains()]},
        "templating": {"list": [*_variables(), *(_variable(**one) for one in extra)]},
        "panels": list(_panels(source["rows"])),
    }


def expression(text):
    """An expression as Grafana gets it."""
    for word, meaning in WORDS.items():
        text = re.sub(rf"\b{word}\b", lambda _, meaning=meaning: meaning, text)
    return " ".join(text.split())


def _link_to_the_others():
    return {
        "title": "mcpd",
        "type": "dashboards",
        "tags": ["mcpd"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
    }


def _drains():
    """Marks the moments at which servers began to stop."""
    return {
        "name": "Drains",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "orange",
        "expr": expression('mcpd_lifecycle_state{PODS, state="shutting_down"} == 1'),
        "titleFormat": "{{pod}} drains",
    }


def _variables():
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    # Not every Prometheus names its cluster or its pods: an absent label has to match, too.
    yield _variable("cluster", f"label_values({ANCHOR}, cluster)", "Cluster", every=".*")
    yield _variable("namespace", f'label_values({ANCHOR}{{cluster=~"$cluster"}}, namespace)', "Namespace", every=".*")
    narrowed = 'cluster=~"$cluster", namespace=~"$namespace"'
    # All jobs are those found: process_* and up are there for the jobs of others as well.
    yield _variable("job", f"label_values({ANCHOR}{{{narrowed}}}, job)", "Job", every=None)
    yield _variable("pod", f'label_values({ANCHOR}{{{narrowed}, job=~"$job"}}, pod)', "Pod", every=".*")


def _variable(name, query, label, every):
    query = expression(query)
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        # Whenever the time range changes: pods come and go.
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": every,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels(rows):
    """Panels of all rows from left to right, those that do not fit on the next line."""
    number, top = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row["panels"]:
            show = panel.get("show", "lines")
            width = panel.get("width", WIDTHS[show])
            if left + width > COLUMNS:
                top, left, height = top + height, 0, 0
            yield _panel(number, panel, show, {"x": left, "y": top, "w": width, "h": HEIGHTS[show]})
            number, left, height = number + 1, left + width, max(height, HEIGHTS[show])
        top += height


def _panel(number, panel, show, place):
    kind = {"lines": "timeseries", "stack": "timeseries"}.get(show, show)
    return {
        "id": number,
        "type": kind,
        "title": panel["title"],
        "description": panel["what"],
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _field(panel, show), "overrides": []},
        "options": _options(panel, show),
        "targets": [_target(at, query, show) for at, query in enumerate(panel["queries"])],
        **_table(panel, show),
    }


def _field(panel, show):
    defaults = {"unit": panel["unit"]}
    if "decimals" in panel:
        defaults["decimals"] = panel["decimals"]
    if kinds := {"lines": ("none", 0), "stack": ("normal", 40)}.get(show):
        mode, fill = kinds
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": fill,
            "showPoints": "never",
            "stacking": {"mode": mode, "group": "A"},
        }
        if panel["unit"] != "none":
            defaults["min"] = 0
    # From green to what is `bad`, where a panel says what that is.
    steps = [{"color": "green", "value": None}]
    if "bad" in panel:
        steps.append({"color": "red", "value": panel["bad"]})
        if show in ("lines", "stack"):
            defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    defaults["color"] = {"mode": "thresholds" if show == "stat" else "palette-classic"}
    return defaults


def _options(panel, show):
    if show == "stat":
        return {
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    if show == "heatmap":
        return {
            "calculate": False,
            "yAxis": {"unit": panel["unit"]},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "cellGap": 0,
            "tooltip": {"mode": "single", "showColorScale": True},
        }
    if show == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _target(at, query, show):
    target = {
        "refId": chr(ord("A") + at),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expression(query["expr"]),
        "legendFormat": query.get("legend", "__auto"),
    }
    if show == "heatmap":
        return {**target, "format": "heatmap", "range": True}
    if show == "table":
        return {**target, "format": "table", "instant": True, "range": False}
    return {**target, "format": "time_series", "range": True}


def _table(panel, show):
    """A table has the columns that its source names, in that order, and the value last."""
    if show != "table":
        return {}
    columns = panel["columns"]
    organize = {
        "indexByName": {name: at for at, name in enumerate([*columns, "Value"])},
        "excludeByName": {"Time": True, "__name__": True},
        "renameByName": {"Value": panel.get("value", "value")},
    }
    keep = {"include": {"names": [*columns, "Value"]}}
    return {
        "transformations": [
            {"id": "filterFieldsByName", "options": keep},
            {"id": "organize", "options": organize},
        ]
    }
