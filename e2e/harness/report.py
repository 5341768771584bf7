"""What a run comes to: correctness fails it, figures are told with their targets."""

import json
import time
from pathlib import Path


class Report:
    """All scenarios of a run."""

    def __init__(self, path: Path, about: dict):
        self.path = path
        self.about = about | {"began": time.strftime("%FT%TZ", time.gmtime())}
        self.scenarios: list[Scenario] = []

    def begin(self, number: int, name: str) -> "Scenario":
        self.scenarios.append(Scenario(number, name))
        return self.scenarios[-1]

    def write(self) -> None:
        """After each scenario, so that a run that is broken off leaves what it has seen."""
        passed = all(scenario.passed for scenario in self.scenarios)
        document = self.about | {"passed": passed, "scenarios": [s.document() for s in self.scenarios]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(document, indent=2) + "\n")

    def summary(self) -> str:
        lines = []
        for scenario in self.scenarios:
            lines.append(f"{scenario.number:>2} {scenario.verdict():<8} {scenario.name}, {scenario.seconds:.0f} s")
            lines += [f"      {figure_line(figure)}" for figure in scenario.figures]
            lines += [f"      not possible: {text}" for text in scenario.not_possible]
            lines += [f"      FAILED: {text}" for text in scenario.failures]
        return "\n".join(lines)


class Scenario:
    """One scenario: what was held to be true of it, and what was measured."""

    def __init__(self, number: int, name: str):
        self.number, self.name = number, name
        self.failures: list[str] = []
        self.figures: list[dict] = []
        self.notes: list[str] = []
        self.not_possible: list[str] = []
        self.checks = 0
        self.seconds = 0.0
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{self.number} {time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def check(self, holds: bool, text: str, seen=None) -> bool:
        """A failure does not end the scenario: what comes after it may tell why."""
        self.checks += 1
        told = text if seen is None else f"{text}: {json.dumps(seen, default=str)[:1500]}"
        self.say(("ok: " if holds else "FAILED: ") + told)
        if not holds:
            self.failures.append(told)
        return holds

    def figure(self, name: str, value, unit: str, at_most: float | None = None) -> None:
        met = None if at_most is None or value is None else value <= at_most
        self.figures.append({"name": name, "value": value, "unit": unit, "target_at_most": at_most, "met": met})
        self.say(figure_line(self.figures[-1]))

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def impossible(self, text: str) -> None:
        self.not_possible.append(text)
        self.say(f"NOT POSSIBLE: {text}")

    @property
    def passed(self) -> bool:
        return not self.failures

    def verdict(self) -> str:
        if self.failures:
            return "FAILED"
        return "partly" if self.not_possible else "passed"

    def document(self) -> dict:
        return {
            "number": self.number,
            "name": self.name,
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "checks": self.checks,
            "failures": self.failures,
            "figures": self.figures,
            "notes": self.notes,
            "not_possible": self.not_possible,
        }


def figure_line(figure: dict) -> str:
    target = {None: "", True: " (met)", False: " (MISSED)"}[figure["met"]]
    bound = "" if figure["target_at_most"] is None else f", target at most {figure['target_at_most']:g}"
    return f"{figure['name']}: {figure['value']} {figure['unit']}{bound}{target}"
