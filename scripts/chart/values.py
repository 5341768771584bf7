#!/usr/bin/env python3
"""Holds the chart's values, their schema, their comments and the unit tests against each other.

    scripts/chart/values.py CHART

Every value has a default and a place in the schema, and is set by a unit test. Needs PyYAML.
"""

import json
import sys
from pathlib import Path

import yaml

# What no template looks at: the condition of a parent chart, and what such a chart says to all its children.
NOT_OURS = {"enabled", "global"}


def resolved(schema, root):
    """A schema without its reference, if it is one."""
    if "$ref" in schema:
        return root["definitions"][schema["$ref"].rpartition("/")[2]]
    for part in schema.get("allOf", []):
        return resolved(part, root)
    return schema


def of_schema(schema, root, path=""):
    """Paths of all values that the schema knows; where it stops asking, so does this."""
    schema = resolved(schema, root)
    properties = schema.get("properties")
    # Documents and raw configuration have keys of their own.
    if not properties or path in {"config", "routes.seed", "handlers.seed", "auth.principals", "tls.certManager.issuerRef"}:
        yield path
        return
    for name, child in properties.items():
        # What may be said of a probe is Kubernetes' choice; the chart has defaults for some of it.
        if path.startswith("probes."):
            yield path
            return
        yield from of_schema(child, root, f"{path}.{name}".lstrip("."))


def has(values, path):
    """Whether there is a default for a path."""
    for name in path.split("."):
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def set_by(value, path=""):
    """Paths that a `set` of a unit test sets, with all that lead there."""
    yield path
    if isinstance(value, dict):
        for name, child in value.items():
            steps = name.split(".")
            for length in range(1, len(steps)):
                yield f"{path}.{'.'.join(steps[:length])}".lstrip(".")
            yield from set_by(child, f"{path}.{name}".lstrip("."))


def main(chart):
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    tested = set()
    for suite in sorted((chart / "tests").glob("*_test.yaml")):
        for test in yaml.safe_load(suite.read_text(encoding="utf-8"))["tests"]:
            tested.update(set_by(test.get("set", {})))
    known = [path for path in of_schema(schema, schema) if path not in NOT_OURS]
    problems = [f"{path}: has no default in values.yaml" for path in known if not has(values, path)]
    problems += [f"{path}: no unit test sets it" for path in known if path not in tested]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(known)} values, each with a default, a place in the schema and a unit test")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(Path(sys.argv[1]))
