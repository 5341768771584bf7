"""One table for all pods: changes, writers that meet, bad documents, a document that is deleted."""

import json
import time

from harness.bench import Bench
from harness.kube import await_that
from harness.report import Scenario

TITLE = "routes: convergence of 1,000 changes, two writers, a bad document, a deleted ConfigMap"
DOCUMENT = "mcpd-routes"
CHANGES = 1000
LIVE = {"topic": "live", "handler": "echo", "timeout": "5s"}


def perform(bench: Bench, scenario: Scenario) -> None:
    bench.install()
    converge(bench, scenario)
    two_writers(bench, scenario)
    bad_document(bench, scenario)
    deleted_document(bench, scenario)
    bench.reset_routes()


def converge(bench: Bench, scenario: Scenario) -> None:
    addresses = bench.addresses()
    pods = [f"{address}:8080" for address in addresses]
    words = ["changes", "--admin", f"http://{addresses[0]}:8081", "--changes", CHANGES, "--pods", *pods]
    seen = json.loads(bench.tool(*words, timeout=1200))
    scenario.check(seen["converged"] == CHANGES, "?wait=all is answered 200 each time", seen)
    scenario.check(seen["stale_answers"] == 0, "after that, every pod answers by the new table", seen["stale_answers"])
    scenario.figure("convergence, P50", seen["p50_ms"], "ms")
    scenario.figure("convergence, P99", seen["p99_ms"], "ms", at_most=250)
    scenario.figure("convergence, max", seen["max_ms"], "ms")


def two_writers(bench: Bench, scenario: Scenario) -> None:
    first, second = (f"http://{address}:8081" for address in bench.addresses()[:2])
    seen = json.loads(bench.tool("writers", "--admin", first, second, "--rounds", "20"))
    scenario.check(seen["outcomes"] == {"[200, 412]": 20}, "of two writers at once one gets 412", seen["outcomes"])
    scenario.check(not seen["lost"], "no write is lost", seen["lost"])


def document(bench: Bench) -> dict | None:
    if not bench.kube.exists("configmap", DOCUMENT):
        return None
    return bench.kube.get("configmap", DOCUMENT)


def bad_document(bench: Bench, scenario: Scenario) -> None:
    before = bench.statuses()
    for address in bench.addresses():
        bad = {"topic": "bad", "handler": "nobody"}
        answer = bench.admin("PUT", "routes/bad", bad, pod=address)
        scenario.check(answer.status == 422, f"{address} refuses a route without a handler", answer.status)
    good = document(bench)["data"]["routes.yaml"]
    patch = json.dumps({"data": {"routes.yaml": good.replace("handler: echo", "handler: nobody", 1)}})
    bench.kube.kubectl("patch", "configmap", DOCUMENT, "--type", "merge", "-p", patch)
    event = await_that("Event that says why", lambda: warning(bench, "nobody"), 30)
    scenario.check(bool(event), "an Event says why", event)
    after = bench.statuses()
    hashes = lambda statuses: {ip: status["hash"] for ip, status in statuses.items()}
    scenario.check(hashes(before) == hashes(after), "every pod keeps the last good table", hashes(after))
    scenario.check(len(bench.pods()) == 3, "and is ready")
    bench.reset_routes()


def warning(bench: Bench, word: str) -> str | None:
    """The note of a warning about the document that has the word."""
    for event in bench.kube.items("events.events.k8s.io"):
        about = event.get("regarding", {})
        if about.get("name") == DOCUMENT and event.get("type") == "Warning" and word in event.get("note", ""):
            return f"{event['reason']}: {event['note']}"
    return None


def deleted_document(bench: Bench, scenario: Scenario) -> None:
    """The route `live` is not in the seed: whoever serves that has no answer to it."""
    answer = bench.admin("PUT", "routes/live?wait=all", LIVE)
    scenario.check(answer.status == 200, "a route that the seed does not have is live", answer.status)
    revision = answer.json()["revision"]
    load = bench.start("live", "load", "--by", "raw", "--reconnect", "--to", "mcpd:8080", "--topic", "live",
                       "--callers", 5, "--run", "live")
    bench.kube.kubectl("delete", "configmap", DOCUMENT)
    began = time.monotonic()
    await_that("ConfigMap again", lambda: document(bench), 30, every=0.2)
    scenario.figure("a deleted document is there again", round(time.monotonic() - began, 1), "s", at_most=5)
    written = document(bench)["data"]["routes.yaml"]
    scenario.check("live" in written, "it is the last good one, not the seed")
    scenario.check(f"revision: {revision + 1}" in written, "with the next revision", written[:200])
    victim = bench.pods()[0]["metadata"]["name"]
    bench.kube.kubectl("delete", "pod", victim, "--wait=false")
    await_that("three Ready pods", lambda: len(bench.pods()) == 3 and victim not in names(bench), 120)
    time.sleep(5)
    [verdict] = load.stop()
    scenario.check(verdict["lost"] == 0, "no pod ever serves the seed, a restarted one included", verdict["failures"])
    scenario.check(set(names(bench)) <= set(verdict["servers"]), "all pods were asked", verdict["servers"])


def names(bench: Bench) -> list[str]:
    return [pod["metadata"]["name"] for pod in bench.pods()]
