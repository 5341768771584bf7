"""`helm install` on an empty namespace."""

import json

from harness.bench import RELEASE, Bench, is_ready
from harness.kube import Failed
from harness.report import Scenario

TITLE = "helm install: three Ready replicas, helm test, Pod Security restricted"

# What the Pod Security Standard forbids, so that it is known to be enforced here.
PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "x", "image": "mcpd:dev", "securityContext": {"privileged": True}}]},
}


def perform(bench: Bench, scenario: Scenario) -> None:
    bench.helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
    bench.kube.kubectl("delete", "configmap", f"{RELEASE}-routes", f"{RELEASE}-handlers", "--ignore-not-found")
    seconds = bench.upgrade()
    scenario.figure("helm install until all pods are Ready", round(seconds, 1), "s", at_most=120)
    pods = bench.pods()
    scenario.check(len(pods) == 3 and all(is_ready(pod) for pod in pods), "three pods are Ready", len(pods))
    restarts = [status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]]
    scenario.check(not any(restarts), "no container was restarted", restarts)
    output = bench.helm("test", RELEASE, "--logs", "--timeout", "2m")
    scenario.check("Succeeded" in output, "helm test succeeds")
    check_pod_security(bench, scenario)
    bench.reset_routes()


def check_pod_security(bench: Bench, scenario: Scenario) -> None:
    labels = bench.kube.get("namespace", bench.kube.namespace)["metadata"]["labels"]
    level = labels.get("pod-security.kubernetes.io/enforce")
    scenario.check(level == "restricted", "the namespace enforces restricted", level)
    try:
        bench.kube.kubectl("create", "-f", "-", stdin=json.dumps(PRIVILEGED))
        scenario.check(False, "a privileged pod is refused")
    except Failed as refused:
        scenario.check("violates PodSecurity" in str(refused), "a privileged pod is refused")
