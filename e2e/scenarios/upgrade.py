"""What Helm does to live routes: nothing."""

import json

from harness.bench import RELEASE, Bench
from harness.kube import await_that
from harness.report import Scenario

TITLE = "helm upgrade, rollback and uninstall leave live routes as they are"
# As a newer version might write it.
FUTURE = {"topic": "future", "handler": "echo", "timeout": "5s", "x-later": {"keep": [1, 2]}}
# What docs/kubernetes.md says is left by an uninstall; the others are the scenarios' own, or Kubernetes'.
LEFT = {"configmap/mcpd-routes", "configmap/mcpd-handlers"}
OURS = {"configmap/kube-root-ca.crt", "secret/e2e-tokens", "serviceaccount/default", "pod/ledger", "pod/tools",
        "service/ledger"}
KINDS = "configmaps,secrets,services,serviceaccounts,pods,deployments,replicasets,roles,rolebindings," \
        "poddisruptionbudgets,networkpolicies,horizontalpodautoscalers,persistentvolumeclaims"


def perform(bench: Bench, scenario: Scenario) -> None:
    bench.install()
    answer = bench.admin("PUT", "routes/future?strict=false&wait=all", FUTURE)
    scenario.check(answer.status == 200, "a route with a key that this version does not know is kept", answer.body)
    before = table(bench)
    scenario.check("x-later" in json.dumps(before["document"]), "it is in the document")
    for what, act in (("upgrade", upgrade), ("rollback", rollback)):
        act(bench)
        bench.await_settled()
        after = table(bench)
        scenario.check(after == before, f"{what}: the document and its version are as before", after["version"])
        scenario.check(len(bench.pods()) == 3, f"{what}: three pods are Ready")
    uninstall(bench, scenario)
    bench.upgrade()
    scenario.check(table(bench) == before, "an installation of the same name takes the document up again")


def table(bench: Bench) -> dict:
    """The document as it is kept, and what every pod says that it serves."""
    kept = bench.kube.get("configmap", "mcpd-routes")["data"]["routes.yaml"]
    versions = {(status["revision"], status["hash"]) for status in bench.statuses().values()}
    return {"document": kept, "version": sorted(versions)}


def upgrade(bench: Bench) -> None:
    seed = {"routes": [{"name": "other", "topic": "other", "handler": "echo"}]}
    bench.upgrade({"config": {"limits": {"close_linger": "1800ms"}}, "routes": {"seed": seed}})


def rollback(bench: Bench) -> None:
    bench.helm("rollback", RELEASE, "--wait", "--timeout", "5m")


def uninstall(bench: Bench, scenario: Scenario) -> None:
    bench.helm("uninstall", RELEASE, "--wait", "--timeout", "5m")
    await_that("end of the pods", lambda: not bench.all_pods(), 120)
    there = bench.kube.kubectl("get", KINDS, "-o", "name").split()
    short = {name.replace(".apps", "").split(".")[0] + "/" + name.split("/")[1] if "." in name.split("/")[0] else name
             for name in there}
    left = {name for name in short if name not in OURS and not name.startswith("secret/sh.helm.release")}
    # Pods of `helm test` stay until the next one, so that their logs can be read.
    left -= {"pod/mcpd-test-ping", "pod/mcpd-test-send"}
    scenario.check(left == LEFT, "uninstall leaves what is documented, and nothing else", sorted(left))
