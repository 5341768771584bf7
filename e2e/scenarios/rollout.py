"""Rollouts, evictions, and a kill that shows that losses would be seen."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from harness.bench import Bench
from harness.kube import NotPossible, await_that
from harness.report import Scenario

TITLE = "five rollouts, evictions and a kill under load"
ROLLOUTS = 5


def perform(bench: Bench, scenario: Scenario) -> None:
    bench.install()
    at_rest(bench, scenario)
    rollouts(bench, scenario)
    evictions(bench, scenario)
    try:
        killed(bench, scenario)
    except NotPossible as text:
        scenario.impossible(str(text))


def start(bench: Bench, name: str, *words):
    """The same load everywhere: 20 callers by the client crate, or 10 by the protocol alone; 50 ms in the ledger."""
    run = f"{name}{int(time.time())}"
    return bench.start(name, "load", "--to", "mcpd:8080", "--run", run, "--ledger", "http://ledger:8090", *words)


def start_both(bench: Bench, name: str) -> dict:
    return {
        "client crate": start(bench, f"{name}-client"),
        "raw client": start(bench, f"{name}-raw", "--by", "raw", "--callers", 10),
    }


def check_lossless(scenario: Scenario, who: str, verdict: dict, during: str) -> None:
    kept = ("answered", "lost", "duplicated", "invented", "ran_unanswered", "failures", "examples", "events", "max_ms")
    seen = {key: verdict[key] for key in kept}
    scenario.check(verdict["lost"] == 0 and not verdict["failures"], f"{who}: none lost, no error seen in {during}", seen)
    scenario.check(verdict["duplicated"] == 0 and verdict["invented"] == 0, f"{who}: none ran twice or never in {during}")


def at_rest(bench: Bench, scenario: Scenario) -> None:
    loads = start_both(bench, "rest")
    time.sleep(30)
    for who, load in loads.items():
        [verdict] = load.stop()
        check_lossless(scenario, who, verdict, "30 s at rest")
        scenario.figure(f"{who}: P50 at rest", verdict["p50_ms"], "ms")
        scenario.figure(f"{who}: P99 at rest", verdict["p99_ms"], "ms")


def rollouts(bench: Bench, scenario: Scenario) -> None:
    loads = start_both(bench, "rollout")
    times = []
    for n in range(ROLLOUTS):
        before = {pod["metadata"]["name"] for pod in bench.pods()}
        # A static value: it is in the pods' configuration, so they are made anew.
        times.append(bench.upgrade({"config": {"limits": {"close_linger": f"{1900 + n}ms"}}}))
        after = {pod["metadata"]["name"] for pod in bench.pods()}
        scenario.check(not before & after, f"rollout {n + 1}: every pod is a new one, {times[-1]:.0f} s")
    # What still stops belongs to the last rollout.
    bench.await_settled()
    for who, load in loads.items():
        [verdict] = load.stop()
        check_lossless(scenario, who, verdict, f"{ROLLOUTS} rollouts")
        scenario.figure(f"{who}: requests in {ROLLOUTS} rollouts", verdict["answered"], "")
        scenario.figure(f"{who}: lost in {ROLLOUTS} rollouts", verdict["lost"], "", at_most=0)
        scenario.figure(f"{who}: P99 in rollouts", verdict["p99_ms"], "ms")
        scenario.figure(f"{who}: max in rollouts", verdict["max_ms"], "ms")
    scenario.figure("a rollout of three pods, median", round(sorted(times)[len(times) // 2], 1), "s")


def evict(bench: Bench, pod: dict) -> str:
    name, namespace = pod["metadata"]["name"], bench.kube.namespace
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    return bench.kube.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body), check=False)


def evictions(bench: Bench, scenario: Scenario) -> None:
    bench.install()
    await_that("room for a disruption", lambda: disruptions(bench) == 1, 60)
    loads = start_both(bench, "evict")
    time.sleep(3)
    first, second = bench.pods()[:2]
    with ThreadPoolExecutor() as both:
        answers = list(both.map(lambda pod: evict(bench, pod), (first, second)))
    granted = [answer for answer in answers if '"status":"Success"' in answer]
    refused = [answer for answer in answers if "disruption budget" in answer]
    scenario.check(len(granted) == 1 and len(refused) == 1, "of two evictions at once one is refused", answers)
    bench.await_settled()
    for who, load in loads.items():
        [verdict] = load.stop()
        check_lossless(scenario, who, verdict, "an eviction")


def disruptions(bench: Bench) -> int:
    return bench.kube.get("poddisruptionbudget", "mcpd")["status"].get("disruptionsAllowed", 0)


def killed(bench: Bench, scenario: Scenario) -> None:
    """The negative control: without it, nobody would know that a loss is seen at all."""
    loads = start_both(bench, "kill")
    time.sleep(5)
    for pod in bench.pods():
        bench.node.kill_9(bench.container(pod))
        time.sleep(5)
    await_that("three Ready pods", lambda: len(bench.pods()) == 3, 120)
    verdicts = {who: load.stop()[0] for who, load in loads.items()}
    for who, verdict in verdicts.items():
        seen = {key: verdict[key] for key in ("answered", "lost", "ran_unanswered", "duplicated", "failures")}
        scenario.check(verdict["lost"] > 0, f"{who}: kill -9 does show losses", seen)
        scenario.check(verdict["duplicated"] == 0, f"{who}: and even then none ran twice", verdict["duplicated"])
