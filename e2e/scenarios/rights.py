"""What the pods may do in the cluster, and who reaches them."""

import json
import time
from contextlib import contextmanager

from harness.bench import Bench, is_ready
from harness.kube import Failed, Kube, await_that
from harness.pods import load_pod
from harness.report import Scenario
from scenarios.routes import DOCUMENT, warning

TITLE = "rights: what the ServiceAccount may do and needs, and the NetworkPolicy"
ACCOUNT = "mcpd"
DOCUMENTS = ("mcpd-routes", "mcpd-handlers")
WANTED = (
    {("configmaps", name, verb) for name in DOCUMENTS for verb in ("get", "list", "watch", "update")}
    | {("configmaps", "", "create")}
    | {("endpointslices", "", verb) for verb in ("get", "list", "watch")}
    | {("events", "", verb) for verb in ("create", "patch")}
)
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
ROUTE = {"topic": "rights", "handler": "echo", "timeout": "5s"}


def perform(bench: Bench, scenario: Scenario) -> None:
    bench.install()
    nothing_else(bench, scenario)
    each_is_needed(bench, scenario)
    network(bench, scenario)


def as_account(bench: Bench) -> str:
    return f"--as=system:serviceaccount:{bench.kube.namespace}:{ACCOUNT}"


def nothing_else(bench: Bench, scenario: Scenario) -> None:
    """By the list that `kubectl auth can-i --list` shows, and by asking verb for verb."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
              "spec": {"namespace": bench.kube.namespace}}
    answer = bench.kube.kubectl("create", as_account(bench), "--validate=false", "-f", "-", "-o", "json", stdin=json.dumps(review))
    seen = set()
    for rule in json.loads(answer)["status"]["resourceRules"]:
        # What every account may: ask about itself.
        if rule["apiGroups"] and rule["apiGroups"][0] in ("authorization.k8s.io", "authentication.k8s.io"):
            continue
        names = rule.get("resourceNames") or [""]
        seen |= {(res, name, verb) for res in rule["resources"] for name in names for verb in rule["verbs"]}
    scenario.check(seen == WANTED, "auth can-i --list shows what is needed and nothing else",
                   {"more": sorted(seen - WANTED), "less": sorted(WANTED - seen)})
    for resource in ("configmaps/other", "secrets", "pods", "configmaps/mcpd-principals"):
        for verb in VERBS:
            may = bench.kube.kubectl("auth", "can-i", verb, resource, as_account(bench), check=False).startswith("yes")
            # RBAC cannot bound the names of what is created.
            wanted = verb == "create" and resource.startswith("configmaps")
            if may != wanted:
                scenario.check(False, f"may not {verb} {resource}")
    scenario.check(True, f"no other ConfigMap, Secret or Pod by any of {len(VERBS)} verbs, but to create ConfigMaps")


@contextmanager
def without(bench: Bench, resource: str, verb: str):
    """The Role with one verb less."""
    role = bench.kube.get("role", "mcpd")
    rules = json.loads(json.dumps(role["rules"]))
    for rule in rules:
        if resource in rule["resources"] and verb in rule["verbs"]:
            rule["verbs"].remove(verb)
    # A rule without verbs is none.
    set_rules(bench, [rule for rule in rules if rule["verbs"]])
    try:
        yield
    finally:
        set_rules(bench, role["rules"])


def set_rules(bench: Bench, rules: list[dict]) -> None:
    bench.kube.kubectl("patch", "role", "mcpd", "--type", "merge", "-p", json.dumps({"rules": rules}))
    # The API server's authorizer follows Roles by a watch of its own.
    time.sleep(1)


def each_is_needed(bench: Bench, scenario: Scenario) -> None:
    for resource, verb, fails in (
        ("configmaps", "get", write_fails),
        ("configmaps", "update", write_fails),
        ("configmaps", "create", stays_deleted),
        ("configmaps", "list", new_pod_counts_a_refused_list),
        ("configmaps", "watch", new_pod_counts_a_refused_watch),
        ("endpointslices", "list", nobody_is_waited_for),
        ("events", "create", no_event),
    ):
        with without(bench, resource, verb):
            seen = fails(bench)
        scenario.check(seen is not None, f"without {verb} of {resource}: {fails.__name__.replace('_', ' ')}", seen)
        await_that("release as before", lambda: len(bench.pods()) == 3, 180)
        bench.await_converged(90)
    scenario.note("get and watch of endpointslices and patch of events ease the work; nothing breaks at once without them")


def write_fails(bench: Bench):
    answer = bench.admin("PUT", "routes/rights", ROUTE | {"topic": f"rights/{time.time_ns()}"})
    return None if answer.status == 200 else answer.status


def stays_deleted(bench: Bench):
    bench.kube.kubectl("delete", "configmap", DOCUMENT)
    time.sleep(8)
    return None if bench.kube.exists("configmap", DOCUMENT) else "no ConfigMap after 8 s"


def new_pod(bench: Bench) -> dict:
    before = {pod["metadata"]["name"] for pod in bench.all_pods()}
    bench.kube.kubectl("delete", "pod", bench.pods()[0]["metadata"]["name"], "--wait=false")
    fresh = lambda: [pod for pod in bench.all_pods() if pod["metadata"]["name"] not in before]
    return await_that("new pod", fresh, 30)[0]


def new_pod_counts_a_refused_list(bench: Bench):
    return refusal(bench, "list")


def new_pod_counts_a_refused_watch(bench: Bench):
    return refusal(bench, "watch")


def refusal(bench: Bench, verb: str):
    """Pods get along for a while by the other verbs, with more work for the API server; but they notice and count it."""
    name = new_pod(bench)["metadata"]["name"]

    def counted() -> list[str]:
        ip = bench.kube.get("pod", name)["status"].get("podIP")
        lines = bench.http("GET", f"http://{ip}:8081/metrics").body.splitlines()
        mine = [line for line in lines if line.startswith("mcpd_kubernetes_requests_total{")]
        return [line for line in mine if f'verb="{verb}"' in line and 'outcome="forbidden"' in line]

    try:
        return await_that("refused request", counted, 30)[0]
    except Failed:
        return None


def nobody_is_waited_for(bench: Bench):
    new_pod(bench)
    await_that("release as before", lambda: len(bench.pods()) == 3, 90)
    fresh = bench.addresses()[-1]
    answer = bench.admin("PUT", "routes/rights?wait=all&timeout=5s", ROUTE | {"topic": f"r/{time.time_ns()}"}, pod=fresh)
    return None if answer.status == 200 else f"{answer.status}: {answer.body[:200]}"


def no_event(bench: Bench):
    good = bench.kube.get("configmap", DOCUMENT)["data"]["routes.yaml"]
    bad = good.replace("handler: echo", "handler: no-event", 1)
    bench.kube.kubectl("patch", "configmap", DOCUMENT, "--type", "merge", "-p", json.dumps({"data": {"routes.yaml": bad}}))
    time.sleep(5)
    seen = warning(bench, "no-event")
    bench.reset_routes()
    return None if seen else "no Event after 5 s"


def network(bench: Bench, scenario: Scenario) -> None:
    """Only pods of the namespace may ask the sidecar port; a stranger tries."""
    inside = {"from": [{"podSelector": {}}]}
    bench.install({"networkPolicy": {"http": inside}})
    ip = bench.addresses()[0]
    stranger = Kube(f"{bench.kube.namespace}-stranger")
    stranger.kubectl("delete", "namespace", stranger.namespace, "--ignore-not-found", timeout=200)
    stranger.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stranger.namespace}})
    try:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "e2e-tokens"}, "stringData": {"token": "no"}}
        stranger.apply(secret, load_pod("tools", bench.load_image, ["wait"]))
        stranger.kubectl("wait", "--for=condition=Ready", "pod/tools", "--timeout=60s")
        ask = ["exec", "tools", "--", "/mcpd-e2e", "poll", "--times", "1", f"x=GET http://{ip}:8081/livez"]
        seen = json.loads(stranger.kubectl(*ask))
    finally:
        stranger.kubectl("delete", "namespace", stranger.namespace, timeout=200)
    own = bench.http("GET", f"http://{ip}:8081/livez").status
    scenario.check(own == 200, "pods of the namespace reach the sidecar port", own)
    if seen["status"] == 0:
        scenario.check(True, "a pod of another namespace does not", seen["body"])
    else:
        scenario.impossible("the NetworkPolicy is there, but the CNI of this cluster does not enforce it; "
                            "its form is checked by the chart's tests")
    if not is_served(bench):
        raise Failed("the Service does not answer")


def is_served(bench: Bench) -> bool:
    words = ["load", "--by", "raw", "--to", "mcpd:8080", "--topic", "echo", "--run", "n", "--callers", "1"]
    return json.loads(bench.tool(*words, "--requests", "3"))["answered"] == 3
