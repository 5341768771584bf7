"""What has to be so of a stack that has run for some minutes."""

import json
import math
import time
from pathlib import Path

import catalogue
import dashboards
import promql
import rules

ROOT = Path(__file__).resolve().parents[3]
# Microseconds by which clocks that are cut off to microseconds may differ.
ROUNDING = 5
# Panels that have nothing to show here: there is no API server of Kubernetes.
EXCEPTIONS = {
    ("routes", "Requests to Kubernetes"),
    ("routes", "Documents of ConfigMaps"),
    ("routes", "Watches that began again"),
}
ELSEWHERE = "mcpd_kubernetes_"


def a_trace_from_the_client_to_the_upstream(fleet):
    """The id that the client printed leads to spans of both servers, one within the other."""
    _, said = fleet.send("orders/eu/1", "{}", "--trace", to=fleet.a.data)
    trace = said.split("trace ")[1].split(",")[0].strip()
    wanted = [
        ("process orders", "mcpd-0"),
        ("handle upstream", "mcpd-0"),
        ("attempt", "mcpd-0"),
        ("process orders", "upstream-0"),
    ]
    spans, tags = fleet.jaeger.spans(trace, wanted)
    for outer, inner in zip(wanted, wanted[1:]):
        _is_within(spans[inner], spans[outer], f"{inner} in {outer}")
    pods = {one["k8s.pod.name"] for one in tags.values()}
    if pods != {"mcpd-0", "upstream-0"}:
        raise AssertionError(f"the resources are those of {pods}")
    return f"trace {trace} leads from {' to '.join(' of '.join(name) for name in wanted)}"


def _is_within(inner, outer, what):
    parents = [reference["spanID"] for reference in inner["references"]]
    if parents != [outer["spanID"]]:
        raise AssertionError(f"{what}: its parent is {parents}, not {outer['spanID']}")
    begins, ends = inner["startTime"] - outer["startTime"], inner["startTime"] + inner["duration"] - outer["startTime"]
    if begins < -ROUNDING or ends > outer["duration"] + ROUNDING:
        raise AssertionError(f"{what}: from {begins} to {ends} of {outer['duration']} µs")


def a_failure_by_its_log_line(fleet):
    """The id that the client of a failed request printed is in the log, and in Jaeger."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        _, said = fleet.send("orders/eu/2", "{}", "--trace", to=fleet.a.data)
        trace = said.split("trace ")[1].split(",")[0].strip()
        lines = [
            line for line in fleet.a.lines() if line["message"] == "a request failed" and line.get("trace_id") == trace
        ]
        if lines:
            break
        # At most ten lines a second tell of failures, and the log is written by a thread of its own.
        time.sleep(0.5)
    else:
        raise AssertionError(f"no line of the log has the trace {trace}")
    code = lines[0]["code"]
    if code not in said:
        raise AssertionError(f"the log says {code}, and the client {said}")
    spans, _ = fleet.jaeger.spans(trace, [("process orders", "mcpd-0")])
    told = {tag["key"]: tag["value"] for tag in spans[("process orders", "mcpd-0")]["tags"]}
    if told["mcpd.code"] != code or told["error.type"] != code:
        raise AssertionError(f"the span says {told['mcpd.code']}, and the log {code}")
    return f"a request that failed with {code} is found by its id {trace} in the log and in Jaeger"


def answers(prometheus):
    """For each dashboard and panel, expressions with what Prometheus answers, as far back as it goes."""
    values = {"$__rate_interval": "15s", "$job": ".*mcpd.*"}
    found = {}
    for path in sorted((ROOT / "dashboards").glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboards.panels(model):
            for target in panel["targets"]:
                series = prometheus.ask(dashboards.plain(target["expr"], values), step=5)
                found.setdefault(path.stem, {}).setdefault(panel["title"], []).append([target["expr"], series])
    return found


def every_expression_has_an_answer(found):
    """At least one number each."""
    empty, count = [], 0
    for dashboard, panels in found.items():
        for title, targets in panels.items():
            for expression, series in targets:
                count += 1
                numbers = (float(value) for one in series for _, value in one["values"])
                if all(map(math.isnan, numbers)) and (dashboard, title) not in EXCEPTIONS:
                    empty.append(f"{dashboard}, {title}: {expression}")
    if empty:
        raise AssertionError("no answer:\n" + "\n".join(empty))
    return f"{count} expressions of {len(found)} dashboards have answers, {len(EXCEPTIONS)} exceptions"


def every_metric_exists(prometheus):
    """Whatever dashboards and rules name has been scraped or recorded."""
    names = set(prometheus.names())
    asked = set()
    for path in (ROOT / "dashboards").glob("*.json"):
        models = {path.name: json.loads(path.read_text(encoding="utf-8"))}
        for expression in dashboards.plain_expressions(models):
            asked |= {one.metric for one in promql.read(expression)[0]}
    for rule in rules.load(ROOT / "dashboards"):
        asked |= {one.metric for one in promql.read(rule["expr"])[0]}
    asked = {name for name in asked if not name.startswith(ELSEWHERE)}
    missing = sorted(asked - names)
    if missing:
        raise AssertionError(f"never seen: {', '.join(missing)}")
    known = catalogue.documented((ROOT / "docs/metrics.md").read_text(encoding="utf-8"))
    return f"{len(asked)} metrics that are asked for are there, {len(asked & set(known))} of them mcpd's own"
