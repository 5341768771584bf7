"""kubectl and helm, and what only the node of e2e/cluster can do."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """Something that a scenario needs did not come about."""


class NotPossible(Exception):
    """This cluster cannot do what the scenario asks for; the report says so."""


def program(name: str) -> str:
    """`$KUBECTL` and the like, the one on PATH, or the project's own build (the first time: minutes)."""
    found = os.environ.get(name.upper()) or shutil.which(name)
    if not found:
        build = [ROOT / "tests/support/kubernetes", name]
        found = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return found


def run(command: list, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
    """The output of a command; with its errors, if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(words[:6])} … took longer than {timeout} s") from late
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(words[:8])} …: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout if check else done.stdout + done.stderr


def await_that(what: str, look, seconds: float, every: float = 0.5):
    """Looks until there is something true to see, and gives it; what stood in the way is part of the complaint."""
    until, last = time.monotonic() + seconds, "nothing"
    while True:
        try:
            if seen := look():
                return seen
        except Failed as failure:
            last = str(failure)
        if time.monotonic() >= until:
            raise Failed(f"no {what} within {seconds:g} s; last: {last}")
        time.sleep(every)


def await_lasting(what: str, look, lasting: float, seconds: float, every: float = 1.0) -> float:
    """Waits until there is something true to see for so long without a break, and gives when that began."""
    until, since = time.monotonic() + seconds, None
    while since is None or time.monotonic() - since < lasting:
        since = (since or time.monotonic()) if look() else None
        if time.monotonic() >= until:
            raise Failed(f"no {what} that lasts {lasting:g} s within {seconds:g} s")
        time.sleep(every)
    return since


class Kube:
    """One namespace of the cluster that KUBECONFIG names."""

    def __init__(self, namespace: str):
        self.namespace = namespace
        self.program = program("kubectl")

    def kubectl(self, *words, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
        return run([self.program, "-n", self.namespace, *words], stdin, timeout, check)

    def apply(self, *objects: dict) -> None:
        wanted = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(wanted))

    def get(self, *words) -> dict:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def items(self, *words) -> list[dict]:
        return self.get(*words)["items"]

    def exists(self, *words) -> bool:
        return bool(self.kubectl("get", *words, "--ignore-not-found", "-o", "name").strip())

    def raw(self, path: str) -> str:
        return run([self.program, "get", "--raw", path])

    def version(self) -> str:
        return json.loads(self.raw("/version"))["gitVersion"]


class Node:
    """The node of e2e/cluster, for what Kubernetes offers nobody: killing processes, stopping the API server."""

    def __init__(self):
        self.script = ROOT / "e2e/cluster"

    def is_ours(self) -> bool:
        used = os.environ.get("KUBECONFIG", "")
        return bool(used) and used == run([self.script, "kubeconfig"]).strip()

    def _need(self, what: str) -> None:
        if not self.is_ours():
            raise NotPossible(f"{what} is not possible on this cluster; on that of e2e/cluster it is")

    def stop(self, name: str) -> None:
        self._need(f"stopping the {name}")
        run([self.script, "stop", name])

    def start(self, name: str) -> None:
        run([self.script, "start", name], timeout=300)

    def kill_9(self, container: str) -> None:
        """Kills the first process of a container, as the kernel does when memory runs out."""
        self._need("kill -9 of a container's process")
        ctr = ["ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io"]
        run([self.script, "enter", *ctr, "task", "kill", "--signal", "SIGKILL", container])
