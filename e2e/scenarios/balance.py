"""Connections spread over new pods, or stay."""

import time

from harness.bench import Bench
from harness.kube import await_that
from harness.report import Scenario
from scenarios.rollout import check_lossless, start

TITLE = "scale 1 → 3 with 900 connections, rebalance off and on; scale 3 → 1"
CONNECTIONS = 900
ON = {"replicaCount": 1, "rebalance": {"enabled": True, "interval": "10s"}}
OFF = {"replicaCount": 1}


def perform(bench: Bench, scenario: Scenario) -> None:
    stay(bench, scenario)
    spread(bench, scenario)


def scale(bench: Bench, replicas: int) -> None:
    bench.kube.kubectl("scale", "deployment/mcpd", f"--replicas={replicas}")


def hold(bench: Bench, name: str):
    load = bench.start(name, "hold", "--to", "mcpd:8080", "--connections", CONNECTIONS, "--rate", 150)
    await_that("900 connections", lambda: sum(counts(bench)) >= CONNECTIONS, 60)
    return load


def counts(bench: Bench) -> list[int]:
    return [status["connections"] for status in bench.statuses().values()]


def stay(bench: Bench, scenario: Scenario) -> None:
    """The default: nobody is asked to move."""
    bench.install(OFF)
    load = hold(bench, "stay")
    scale(bench, 3)
    bench.await_settled()
    time.sleep(60)
    seen = counts(bench)
    [held] = load.stop()
    scenario.check(held["moved"] == 0 and held["lost"] == 0, "off, nobody is asked to move in a minute", held["moved"])
    scenario.check(sorted(seen)[:2] == [0, 0], "and new pods have no connection", seen)


def spread(bench: Bench, scenario: Scenario) -> None:
    # Fewer pods first, so that none of the old ones' drains is taken for balance.
    bench.install(ON)
    load = hold(bench, "spread")
    scale(bench, 3)
    began = time.monotonic()
    bench.await_settled()
    share = CONNECTIONS / 3
    even = lambda: len(seen := counts(bench)) == 3 and all(abs(count - share) <= share * 0.2 for count in seen)
    await_that("connections within 20 % of even", even, 420, every=2)
    scenario.figure("from 1 → 3 pods until connections are within 20 % of even", round(time.monotonic() - began), "s")
    scenario.note(f"connections of the three pods: {counts(bench)}")
    loads = {"client crate": start(bench, "shrink")}
    time.sleep(3)
    scale(bench, 1)
    bench.await_settled(OFF)
    [verdict] = loads["client crate"].stop()
    check_lossless(scenario, "client crate", verdict, "scaling from 3 to 1")
    [held] = load.stop()
    scenario.check(held["lost"] == 0, "no connection ended without CLOSING", {"lost": held["lost"], "examples": held["examples"]})
    last = held["timeline"][-1]
    scenario.check(sum(last.values()) == CONNECTIONS, "all 900 are on the pod that is left", last)
    scenario.figure("connections moved", held["moved"], "")
