"""What rules must have: names that exist, somebody to tell, a section in the runbook, tests."""

import re

import catalogue
import promql
import yaml

SEVERITIES = {"critical", "page", "warning", "ticket", "info"}
RUNBOOK = "https://github.com/mcpd/mcpd/blob/main/docs/runbook.md#"
PARTS = ("**Cause.**", "**Check.**", "**Cure.**")


def load(folder):
    """The rules of all files, in one list."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("rules-*.yaml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts(rules):
    """Names of alerts; one may have several rules."""
    return {rule["alert"] for rule in rules if "alert" in rule}


def problems(rules, known):
    """Whatever a rule asks for that does not exist, or does not say."""
    for rule in rules:
        name = rule.get("alert") or rule["record"]
        read = promql.read(rule["expr"])
        yield from (f"{name}: {problem}" for problem in catalogue.mismatches(*read, known))
        if "alert" not in rule:
            continue
        if not re.fullmatch(r"Mcpd[A-Z]\w+", name):
            yield f"{name}: is not called Mcpd…"
        if rule["labels"].get("severity") not in SEVERITIES:
            yield f"{name}: has no severity of {sorted(SEVERITIES)}"
        notes = rule["annotations"]
        if not notes.get("summary", "").endswith("."):
            yield f"{name}: has no sentence as its summary"
        if notes.get("runbook_url") != RUNBOOK + name.lower():
            yield f"{name}: does not lead to its section of the runbook"


def undocumented(rules, runbook):
    """Alerts without a section, sections without an alert, and sections that lack a part."""
    parts = re.split(r"^### (\w+)$", runbook, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    yield from (f"docs/runbook.md: no section {name}" for name in sorted(alerts(rules) - set(sections)))
    yield from (f"docs/runbook.md: no alert {name}" for name in sorted(set(sections) - alerts(rules)))
    for name, text in sections.items():
        yield from (f"docs/runbook.md: {name} lacks {part}" for part in PARTS if part not in text)


def untested(rules, folder):
    """Alerts that no test sees firing, and what the healthy server lacks of what they ask for."""
    fired, healthy = set(), set()
    for path in sorted(folder.glob("*.yaml")):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            if path.stem == "healthy":
                healthy |= {re.split(r"[{ ]", series["series"])[0] for series in test["input_series"]}
            for one in test["promql_expr_test"]:
                for sample in one["exp_samples"]:
                    fired |= set(re.findall(r'alertname="(\w+)", alertstate="firing"', sample["labels"]))
    yield from (f"{name}: no test sees it firing" for name in sorted(alerts(rules) - fired))
    for rule in rules:
        asked = {selector.metric for selector in promql.read(rule["expr"])[0]}
        missing = sorted(metric for metric in asked - healthy if ":" not in metric)
        if missing:
            yield f"{rule.get('alert') or rule['record']}: the healthy server of the tests has no {', '.join(missing)}"
