"""What monitoring sees: every pod by the PodMonitor's rules, and where a frame went."""

import json
import re
import time
import urllib.parse

from harness.bench import RELEASE, Bench
from harness.kube import ROOT, await_that
from harness.pods import observer_pod, prometheus_rights, service
from harness.report import Scenario

TITLE = "Prometheus scrapes every pod by the PodMonitor, Jaeger has a frame's trace"
PROMETHEUS, JAEGER = "mcpd-e2e-prometheus:dev", "mcpd-e2e-jaeger:dev"


def perform(bench: Bench, scenario: Scenario) -> None:
    start_jaeger(bench)
    bench.install({"tracing": {"endpoint": "http://jaeger:4317", "ratio": 0.01}})
    start_prometheus(bench)
    scraped(bench, scenario)
    scraped_to_the_end(bench, scenario)
    traced(bench, scenario)
    made = "pod,service,configmap,serviceaccount,role,rolebinding"
    bench.kube.kubectl("delete", made, "-l", "app in (prometheus, jaeger)", "--grace-period=1")


def start_jaeger(bench: Bench) -> None:
    bench.kube.apply(observer_pod("jaeger", JAEGER, []), service("jaeger", 16686, 4317))
    bench.kube.kubectl("wait", "--for=condition=Ready", "pod/jaeger", "--timeout=120s")


def scrape_config(bench: Bench) -> dict:
    """What prometheus-operator makes of the chart's PodMonitor, as far as that uses it."""
    shown = bench.helm("template", RELEASE, ROOT / "helm/mcpd", "--set", "metrics.podMonitor.enabled=true",
                       "--show-only", "templates/monitoring.yaml", "--set", "metrics.rules.enabled=false")
    # kubectl reads YAML, which Python by itself does not; nothing is sent to the cluster.
    monitor = json.loads(bench.kube.kubectl("patch", "--local", "-f", "-", "-o", "json", "--type=merge", "-p", "{}",
                                            stdin=shown))
    spec = monitor["spec"]
    [endpoint] = spec["podMetricsEndpoints"]
    label = lambda name: "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)
    relabel = [{"source_labels": [label(name)], "regex": value, "action": "keep"}
               for name, value in spec["selector"]["matchLabels"].items()]
    meta = "__meta_kubernetes_"
    relabel += [
        {"source_labels": [meta + "pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"},
        {"source_labels": [meta + "pod_container_port_name"], "regex": endpoint["port"], "action": "keep"},
        {"source_labels": [meta + "namespace"], "target_label": "namespace"},
        {"source_labels": [meta + "pod_container_name"], "target_label": "container"},
        {"source_labels": [meta + "pod_name"], "target_label": "pod"},
        {"source_labels": [label(spec["jobLabel"])], "regex": "(.+)", "target_label": "job"},
        {"target_label": "endpoint", "replacement": endpoint["port"]},
    ]
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    relabel += [{names.get(key, key): value for key, value in rule.items()} for rule in endpoint.get("relabelings", [])]
    own = {"role": "pod", "namespaces": {"names": [bench.kube.namespace]}}
    job = {"job_name": "podMonitor/mcpd", "metrics_path": endpoint["path"], "kubernetes_sd_configs": [own],
           "relabel_configs": relabel}
    # The chart's interval is made for clusters that live longer than this one.
    return {"global": {"scrape_interval": "2s", "scrape_timeout": "2s"}, "scrape_configs": [job]}


def start_prometheus(bench: Bench) -> None:
    config = {"prometheus.yml": json.dumps(scrape_config(bench))}
    bench.kube.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "data": config,
         "metadata": {"name": "prometheus", "labels": {"app": "prometheus"}}},
        *prometheus_rights(bench.kube.namespace),
        observer_pod("prometheus", PROMETHEUS, ["--config.file=/config/prometheus.yml", "--storage.tsdb.path=/tmp/data"],
                     volumes={"/config": {"configMap": {"name": "prometheus"}}}, account="prometheus"),
        service("prometheus", 9090),
    )
    bench.kube.kubectl("wait", "--for=condition=Ready", "pod/prometheus", "--timeout=120s")


def proxied(bench: Bench, target: str, path: str) -> dict:
    """Through the API server, which every cluster lets its operators do."""
    return json.loads(bench.kube.raw(f"/api/v1/namespaces/{bench.kube.namespace}/services/{target}/proxy{path}"))


def query(bench: Bench, expression: str) -> dict[str, float]:
    """The value for each pod."""
    path = "/api/v1/query?query=" + urllib.parse.quote(expression)
    result = proxied(bench, "prometheus:9090", path)["data"]["result"]
    return {series["metric"].get("pod", ""): float(series["value"][1]) for series in result}


def scraped(bench: Bench, scenario: Scenario) -> None:
    names = {pod["metadata"]["name"] for pod in bench.pods()}
    up = lambda: {pod for pod, value in query(bench, 'up{job="mcpd"}').items() if value == 1}
    await_that("scrape of every pod", lambda: up() == names, 60)
    scenario.check(up() == names, "every pod is scraped, as job mcpd", sorted(up()))
    node = query(bench, 'up{job="mcpd", node!=""}')
    scenario.check(set(node) == names, "with its node as a label")


def scraped_to_the_end(bench: Bench, scenario: Scenario) -> None:
    """A drain takes a while with a connection that is in no hurry."""
    load = bench.start("hold", "hold", "--to", "mcpd:8080", "--connections", 30)
    time.sleep(5)
    victim = bench.pods()[0]["metadata"]["name"]
    bench.kube.kubectl("delete", "pod", victim, "--wait=false")
    deleted = time.time()
    await_that("end of the pod", lambda: not bench.kube.exists("pod", victim), 120)
    gone = time.time()
    load.stop()
    last = query(bench, f'max by (pod) (max_over_time(timestamp(up{{pod="{victim}"}} == 1)[5m:1s]))')[victim]
    scenario.figure("a pod that terminated was there for", round(gone - deleted, 1), "s")
    scenario.check(last > deleted + 10, "it was scraped while it terminated",
                   {"seconds after the deletion": round(last - deleted, 1)})
    phases = query(bench, f'max by (pod) (max_over_time(mcpd_lifecycle_state{{pod="{victim}",state="shutting_down"}}[5m]))')
    scenario.check(phases.get(victim) == 1, "and its drain is in the metrics", phases)


def traced(bench: Bench, scenario: Scenario) -> None:
    pod = bench.pods()[0]
    name = pod["metadata"]["name"]
    # A new id, and the flag that asks for it to be sampled.
    said = bench.kube.kubectl("exec", name, "-c", "mcpd", "--", "/mcpd", "send", "echo", "hi", "--trace", check=False)
    found = re.search(r"trace ([0-9a-f]{32})", said)
    if not scenario.check(bool(found), "mcpd send --trace names its trace", said):
        return
    trace = await_that("trace in Jaeger", lambda: in_jaeger(bench, found[1]), 60, every=1)
    tags = {tag["key"]: tag["value"] for process in trace["processes"].values() for tag in process["tags"]}
    wanted = {
        "k8s.pod.name": name,
        "k8s.node.name": pod["spec"]["nodeName"],
        "k8s.namespace.name": bench.kube.namespace,
    }
    seen = {key: tags.get(key) for key in wanted}
    scenario.check(seen == wanted, "the trace has pod, node and namespace as resource attributes", seen)
    scenario.check(len(trace["spans"]) >= 1, "and spans", [span["operationName"] for span in trace["spans"]])


def in_jaeger(bench: Bench, trace: str) -> dict | None:
    data = proxied(bench, "jaeger:16686", f"/api/traces/{trace}").get("data") or []
    return data[0] if data else None
