"""What has to be so of a stack that has run for some minutes."""

import json
import math
import re
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
    """The ids that the client printed lead to spans of both servers, one within the other."""
    _, said = fleet.send("orders/eu/1", "{}", "--trace", to=fleet.a.data)
    trace, answered = re.search(r"trace (\w+), server span (\w+)", said).groups()
    wanted = [
        ("process orders", "mcpd-0"),
        ("handle upstream", "mcpd-0"),
        ("attempt", "mcpd-0"),
        ("process orders", "upstream-0"),
    ]
    queue = ("queue", "mcpd-0")
    spans, resources = fleet.jaeger.spans(trace, [*wanted, queue])
    outermost = spans[wanted[0]]
    if outermost["spanID"] != answered:
        raise AssertionError(f"the client heard of span {answered}, and Jaeger has {outermost['spanID']}")
    # The client's own span is told to nobody, but the server knows it as the one that it is part of.
    if [reference["traceID"] for reference in outermost["references"]] != [trace]:
        raise AssertionError(f"the server's span is no part of the client's: {outermost['references']}")
    for outer, inner in zip(wanted, wanted[1:]):
        _is_part(spans[inner], spans[outer], f"{inner} in {outer}")
    _adds_up(outermost, spans[queue], spans[wanted[1]])
    for process in resources.values():
        _says_where_it_runs(process)
    return f"trace {trace} leads from {' to '.join(' of '.join(name) for name in wanted)}"


def _is_part(inner, outer, what):
    parents = [reference["spanID"] for reference in inner["references"]]
    if parents != [outer["spanID"]]:
        raise AssertionError(f"{what}: its parent is {parents}, not {outer['spanID']}")
    _begins_within(inner, outer, what)
    _ends_within(inner, outer, what)


def _adds_up(server, queue, handler):
    """Waiting begins with the request, and handling follows without a gap."""
    if queue["startTime"] != server["startTime"] or abs(_end(queue) - handler["startTime"]) > ROUNDING:
        raise AssertionError(f"waited from {queue['startTime']} to {_end(queue)}, handled from {handler['startTime']}")


def _begins_within(inner, outer, what):
    if not outer["startTime"] - ROUNDING <= inner["startTime"] <= _end(outer) + ROUNDING:
        raise AssertionError(f"{what}: it begins {inner['startTime'] - outer['startTime']} µs in")


def _ends_within(inner, outer, what):
    if _end(inner) > _end(outer) + ROUNDING:
        raise AssertionError(f"{what}: it ends {_end(inner) - _end(outer)} µs late")


def _end(span):
    return span["startTime"] + span["duration"]


def _says_where_it_runs(resource):
    """Nobody finds a pod by a trace whose resource does not name it."""
    pod = resource["service.instance.id"]
    said = {key: resource.get(key) for key in ("k8s.pod.name", "k8s.namespace.name", "k8s.node.name")}
    if said != {"k8s.pod.name": pod, "k8s.namespace.name": "default", "k8s.node.name": "laptop"}:
        raise AssertionError(f"the resource of {pod} says {said}")
    if not resource.get("service.version"):
        raise AssertionError(f"the resource of {pod} has no version")


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
