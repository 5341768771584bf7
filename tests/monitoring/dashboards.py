"""What a dashboard must have so that a reader is not led astray. The rules are those of Grafana's own linter where they
apply to us; that program is not to be had everywhere."""

import re

import catalogue
import promql

OURS = ("mcpd_", "process_")
# A window that does not follow the zoom has to hold enough scrapes.
FIXED_WINDOWS = {"5m", "10m", "15m", "1d"}
# Values to parse expressions with.
VALUES = {"$__rate_interval": "5m"}


def panels(model):
    """All panels but rows."""
    return [panel for panel in model["panels"] if panel["type"] != "row"]


def plain_expressions(models):
    """Every expression as Prometheus would get it."""
    for model in models.values():
        for panel in panels(model):
            for target in panel["targets"]:
                yield plain(target["expr"])


def plain(expression, values=VALUES):
    """An expression with its variables filled in; those without a value match everything."""
    for name, value in values.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


def problems(models, known):
    """Everything that is wrong with these dashboards."""
    uids = [model["uid"] for model in models.values()]
    if len(set(uids)) < len(uids):
        yield "two dashboards have the same uid"
    for name, model in models.items():
        yield from (f"dashboards/{name}: {problem}" for problem in _of_model(model))
        for panel in panels(model):
            where = f"dashboards/{name}: {panel['title']}"
            yield from (f"{where}: {problem}" for problem in _of_panel(panel, known))


def _of_model(model):
    if model["editable"]:
        yield "may be edited, and would then differ from its source"
    text = str(model["panels"])
    for variable in model["templating"]["list"]:
        if f"${variable['name']}" not in text and f"${{{variable['name']}}}" not in text:
            yield f"nobody uses the variable {variable['name']}"
    names = {variable["name"] for variable in model["templating"]["list"]} | {"__rate_interval"}
    yield from (f"there is no variable ${name}" for name in set(re.findall(r"\$\{?(\w+)", text)) - names)
    titles = [panel["title"] for panel in panels(model)]
    if len(set(titles)) < len(titles):
        yield "two panels have the same title"
    taken = set()
    for panel in model["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']} stands over the edge"
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        if taken & cells:
            yield f"{panel['title']} stands on another panel"
        taken |= cells


def _of_panel(panel, known):
    if not panel["description"].strip().endswith("."):
        yield "does not say in a sentence what it shows"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "has no unit"
    if panel["datasource"]["uid"] != "${datasource}":
        yield "does not use the variable for its data source"
    for target in panel["targets"]:
        legend = target["legendFormat"]
        if panel["type"] == "timeseries" and legend == "__auto":
            yield "shows lines without names"
        selectors, grouped = promql.read(target["expr"])
        yield from catalogue.mismatches(selectors, grouped, known)
        for selector in selectors:
            yield from _of_selector(selector, known)
        # A label of a legend that the expression has summed away would be empty.
        aggregated = re.search(r"\b(sum|avg|max|min|count)\b", target["expr"])
        for label in re.findall(r"{{(\w+)}}", legend):
            if aggregated and grouped and label not in grouped and label not in ("pod", "job", "slo", "namespace"):
                yield f"has {label} in its legend, and no such label"


def _of_selector(selector, known):
    labels = {label: value for label, _, value in selector.matchers}
    metric = known.get(selector.metric)
    if selector.metric.startswith(OURS) and labels.get("job") != "$job":
        yield f"{selector.metric} is not narrowed by the variables: write PODS or JOBS"
    counts = metric is not None and metric.kind == "counter"
    if counts and selector.within not in ("rate", "increase", "count"):
        yield f"{selector.metric} is a counter: take its rate"
    if not counts and selector.within in ("rate", "increase"):
        yield f"{selector.metric} is no counter, it has no rate"
    if selector.window and selector.window not in FIXED_WINDOWS | set(VALUES):
        yield f"{selector.metric}[{selector.window}]: write RATE"
