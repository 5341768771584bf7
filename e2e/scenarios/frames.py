"""Many connections through the Service."""

import json

from harness.bench import Bench
from harness.report import Scenario

TITLE = "3,000 frames over 60 connections through the Service, answered by all pods"


def perform(bench: Bench, scenario: Scenario) -> None:
    bench.install()
    words = ["load", "--by", "raw", "--to", "mcpd:8080", "--topic", "echo", "--run", "frames"]
    verdict = json.loads(bench.tool(*words, "--callers", "60", "--requests", "3000"))
    scenario.check(verdict["answered"] == 3000, "every frame is answered with its own body", verdict["answered"])
    scenario.check(verdict["lost"] == 0, "none fails", verdict["failures"])
    scenario.check(verdict["events"].get("connected") == 60, "over 60 connections", verdict["events"])
    names = {pod["metadata"]["name"] for pod in bench.pods()}
    scenario.check(set(verdict["servers"]) == names, "by all three pods", verdict["servers"])
    headless(bench, scenario)
    scenario.figure("P99 of a frame", verdict["p99_ms"], "ms")
    scenario.figure("frames in a second", round(verdict["answered"] / verdict["seconds"]), "1/s")


def headless(bench: Bench, scenario: Scenario) -> None:
    """By mcpd's own image: its binary is static, and so is the resolver in it."""
    name = bench.pods()[0]["metadata"]["name"]
    words = ["exec", name, "-c", "mcpd", "--", "/mcpd", "send", "echo", "hello", "--to", "mcp://mcpd-headless:8080"]
    said = bench.kube.kubectl(*words, check=False)
    scenario.check(said.strip() == "hello", "a headless name resolves inside the image", said)
