"""A namespace with the release under test, an upstream that keeps a ledger, and a pod to ask from."""

import copy
import hashlib
import json
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.kube import ROOT, Failed, Kube, Node, await_that, program, run
from harness.pods import ENFORCE, load_pod, service

RELEASE = "mcpd"
LIVE_ROUTES = [
    {"name": "echo", "topic": "echo", "handler": "echo", "timeout": "5s"},
    {"name": "heartbeat", "topic": "heartbeat", "handler": "monitor", "timeout": "5s"},
    {"name": "note", "topic": "note", "handler": "ledger", "timeout": "5s"},
    {"name": "flip", "topic": "flip", "handler": "a", "timeout": "5s"},
]
HANDLERS = [
    # No wait for a place: what is measured is the drain, not a pool.
    {"name": "ledger", "type": "http", "url": "http://ledger:8090/note", "pool": {"max_connections": 500}},
    {"name": "a", "type": "static", "body": "a"},
    {"name": "b", "type": "static", "body": "b"},
]


@dataclass
class Answer:
    """What an HTTP request brought."""

    status: int
    body: str
    etag: str
    ms: float

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Failed(f"no JSON: {self}") from error


class Bench:
    """What scenarios share; each begins with `install`."""

    def __init__(self, namespace: str):
        self.kube = Kube(namespace)
        self.node = Node()
        self.helm_program = program("helm")
        self.token = f"mcpd_{secrets.token_hex(32)}"
        self.load_image = "mcpd-e2e:dev"

    # The namespace.

    def prepare(self) -> None:
        self.remove()
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ENFORCE}
        name = self.kube.namespace
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        scopes = ["read", "routes", "handlers", "operate"]
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        tokens = json.dumps({"tokens": [{"name": "e2e", "sha256": digest, "scopes": scopes}]})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "e2e-tokens"}}
        self.kube.apply(
            secret | {"stringData": {"tokens.yaml": tokens, "token": self.token}},
            load_pod("ledger", self.load_image, ["ledger"], labels={"app": "ledger"}),
            service("ledger", 8090),
            load_pod("tools", self.load_image, ["wait"]),
        )
        self.kube.kubectl("wait", "--for=condition=Ready", "pod/ledger", "pod/tools", "--timeout=120s", timeout=130)

    def remove(self) -> None:
        self.kube.kubectl("delete", "namespace", self.kube.namespace, "--ignore-not-found", "--timeout=180s", timeout=200)

    # The release.

    def values(self, changes: dict | None = None) -> dict:
        base = {
            "image": {"repository": "mcpd", "tag": "dev"},
            "admin": {"existingSecret": "e2e-tokens"},
            # A small node holds three pods, one more in a rollout, and the load.
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            "routes": {"seed": {"routes": LIVE_ROUTES}},
            "handlers": {"seed": {"handlers": HANDLERS}},
        }
        return merged(base, changes or {})

    def helm(self, *words, timeout: float = 420, check: bool = True) -> str:
        return run([self.helm_program, "-n", self.kube.namespace, *words], timeout=timeout, check=check)

    def upgrade(self, changes: dict | None = None) -> float:
        """Installs the release or changes it, waits until it is as wanted; gives the seconds that took."""
        began = time.monotonic()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.values(changes), file)
            file.flush()
            chart = ROOT / "helm/mcpd"
            self.helm("upgrade", "--install", RELEASE, chart, "-f", file.name, "--wait", "--timeout", "6m")
        # Helm is content with enough Ready pods; a rollout is over when the last old one has been told to go.
        self.kube.kubectl("rollout", "status", f"deployment/{RELEASE}", "--timeout", "6m", timeout=400)
        return time.monotonic() - began

    def install(self, changes: dict | None = None) -> None:
        """The release as a scenario wants it, with the routes that all begin with, and nothing that still stops."""
        self.upgrade(changes)
        self.await_settled(changes)
        self.reset_routes()

    def await_settled(self, changes: dict | None = None) -> None:
        wanted = (changes or {}).get("replicaCount", 3)
        await_that("settled release", lambda: len(self.all_pods()) == wanted == len(self.pods()), 180)

    def reset_routes(self) -> None:
        document = {"apiVersion": "mcpd/v1", "kind": "RouteTable", "revision": 1, "routes": LIVE_ROUTES}
        answer = self.admin("PUT", "routes?wait=all", document, if_match="*")
        if answer.status != 200:
            raise Failed(f"the routes cannot be set: {answer}")

    # Its pods.

    def all_pods(self) -> list[dict]:
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=server"
        return self.kube.items("pods", "-l", selector)

    def pods(self) -> list[dict]:
        """Ready, and not on their way out; by age, oldest first."""
        stays = [pod for pod in self.all_pods() if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        return sorted(stays, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def addresses(self) -> list[str]:
        return [pod["status"]["podIP"] for pod in self.pods()]

    def container(self, pod: dict) -> str:
        return pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")

    # Asking.

    def tool(self, *words, timeout: float = 120) -> str:
        """Runs a command of the load clients in the pod `tools`."""
        command = ["exec", "tools", "--", "/mcpd-e2e", *words]
        return self.kube.kubectl(*command, timeout=timeout)

    def http(self, method: str, url: str, body=None, if_match: str | None = None) -> Answer:
        words = ["poll", "--times", "1", "--characters", "1000000", f"x={method} {url}" + ("" if body is None else f" {text_of(body)}")]
        if if_match is not None:
            words += ["--if-match", if_match]
        seen = json.loads(self.tool(*words))
        return Answer(seen["status"], seen["body"], seen["etag"], seen["ms"])

    def admin(self, method: str, path: str, body=None, if_match: str | None = None, pod: str | None = None) -> Answer:
        """The admin API of one pod, the oldest unless an address is given."""
        address = pod or next(iter(self.addresses()), None)
        if address is None:
            raise Failed("no pod is Ready")
        return self.http(method, f"http://{address}:8081/admin/v1/{path}", body, if_match)

    def statuses(self) -> dict[str, dict]:
        """What each pod that stays says of itself."""
        return {ip: self.http("GET", f"http://{ip}:8081/statusz").json() for ip in self.addresses()}

    def await_converged(self, seconds: float) -> float:
        began = time.monotonic()
        same = lambda: len({status["hash"] for status in self.statuses().values()}) == 1
        await_that("agreement of all pods on the routes", same, seconds)
        return time.monotonic() - began

    # Load.

    def start(self, name: str, *words, volumes: dict | None = None) -> "Load":
        return Load(self, name, [str(word) for word in words], volumes)

    def end_loads(self) -> None:
        """Those that a scenario began and, having failed, did not end."""
        loads = [name for name in (pod["metadata"]["name"] for pod in self.kube.items("pods")) if name.startswith(Load.PREFIX)]
        if loads:
            self.kube.kubectl("delete", "pod", *loads, "--grace-period=1")

    def collect(self, folder: Path) -> None:
        """Everything that helps to see what went wrong."""
        folder.mkdir(parents=True, exist_ok=True)
        kinds = "pods,services,endpointslices,configmaps,deployments,replicasets,poddisruptionbudgets"
        looks = {
            "objects.yaml": ["get", kinds, "-o", "yaml"],
            "events.txt": ["get", "events", "--sort-by=.lastTimestamp"],
            "describe.txt": ["describe", "pods"],
        }
        for file, words in looks.items():
            (folder / file).write_text(self.kube.kubectl(*words, check=False))
        for pod in self.kube.items("pods"):
            name = pod["metadata"]["name"]
            (folder / f"{name}.log").write_text(self.kube.kubectl("logs", name, "--all-containers", check=False))
            previous = self.kube.kubectl("logs", name, "--all-containers", "--previous", check=False)
            if "not found" not in previous:
                (folder / f"{name}.previous.log").write_text(previous)


class Load:
    """A pod with a command of the load clients, from its start to its verdict."""

    PREFIX = "load-"

    def __init__(self, bench: Bench, name: str, words: list[str], volumes: dict | None):
        self.bench, self.name = bench, self.PREFIX + name
        kube = bench.kube
        kube.kubectl("delete", "pod", self.name, "--ignore-not-found", "--grace-period=1")
        kube.apply(load_pod(self.name, bench.load_image, words, volumes=volumes, token_secret="e2e-tokens"))
        kube.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=60s")

    def stop(self) -> list[dict]:
        try:
            self.bench.kube.kubectl("exec", self.name, "--", "/mcpd-e2e", "stop")
        except Failed as failure:
            # Who tells the first process of a container to end may be ended along with it.
            if "exit code 137" not in str(failure):
                raise
        return self.wait(60)

    def wait(self, seconds: float) -> list[dict]:
        """What it printed, when it has come to its end."""
        kube = self.bench.kube
        over = lambda: kube.get("pod", self.name)["status"]["phase"] in ("Succeeded", "Failed")
        await_that(f"end of {self.name}", over, seconds)
        text = kube.kubectl("logs", self.name)
        try:
            seen = [json.loads(line) for line in text.splitlines()]
        except ValueError as error:
            raise Failed(f"{self.name} said: {text[-1500:]}") from error
        kube.kubectl("delete", "pod", self.name, "--grace-period=1")
        if not seen:
            raise Failed(f"{self.name} said nothing")
        return seen


def is_ready(pod: dict) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def text_of(body) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def merged(base: dict, changes: dict) -> dict:
    """Of nested values, as helm merges them."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
