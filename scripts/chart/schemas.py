#!/usr/bin/env python3
"""Makes JSON schemas for kubeconform out of what Kubernetes and the makers of custom resources publish as Go modules.

    scripts/chart/schemas.py FOLDER     FOLDER/v<version>/<kind>-<group>-<version>.json, FOLDER/custom/…

Strict: a key that the OpenAPI document does not know is an error. What is there already is left alone. Needs go and PyYAML.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

# The minors that rendered manifests have to be valid for; e2e runs one of them.
KUBERNETES = ["v1.34.4", "v1.35.4", "v1.36.3", "v1.37.2"]
KINDS = {
    ("", "ConfigMap"), ("", "Pod"), ("", "Secret"), ("", "Service"), ("", "ServiceAccount"), ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"), ("networking.k8s.io", "NetworkPolicy"), ("policy", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "Role"), ("rbac.authorization.k8s.io", "RoleBinding"),
}
CUSTOM = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
    "github.com/cert-manager/cert-manager@v1.21.2": ["deploy/crds/cert-manager.io_certificates.yaml"],
    "github.com/kedacore/keda/v2@v2.21.0": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    # The experimental channel serves v1alpha2 as well.
    "sigs.k8s.io/gateway-api@v1.6.3": ["config/crd/experimental/gateway.networking.k8s.io_tcproutes.yaml"],
}
TEXT_OR_NUMBER = {"anyOf": [{"type": "string"}, {"type": "number"}]}


def module(name):
    """The folder that go has unpacked a module into."""
    # In an empty folder: inside a module, go would look at that one's requirements.
    with tempfile.TemporaryDirectory() as empty:
        command = ["go", "mod", "download", "-json", name]
        done = subprocess.run(command, cwd=empty, check=True, stdout=subprocess.PIPE)
    return Path(json.loads(done.stdout)["Dir"])


def strict(schema):
    """A schema without descriptions, that takes no unknown key."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return TEXT_OR_NUMBER
    left_out = {"description", "format", "default", "x-kubernetes-group-version-kind"}
    result = {
        key: {name: strict(item) for name, item in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
        if key not in left_out
    }
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in result and not open_ended:
        result.setdefault("additionalProperties", False)
    return result


def references(schema):
    """Names of the definitions that a schema mentions."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from references(item)


def closure(name, definitions):
    """A definition with all that it needs, in one schema."""
    needed, waiting = {}, [name]
    while waiting:
        current = waiting.pop()
        if current not in needed:
            needed[current] = definitions[current]
            waiting.extend(references(definitions[current]))
    return {**needed[name], "definitions": needed}


def standard(version):
    """File names and schemas of the kinds of Kubernetes itself."""
    source = module(f"k8s.io/kubernetes@{version}") / "api/openapi-spec/swagger.json"
    published = json.loads(source.read_text(encoding="utf-8"))["definitions"]
    definitions = {name: strict(schema) for name, schema in published.items()}
    # Says `string`, and the API server takes numbers.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = TEXT_OR_NUMBER
    for name, schema in published.items():
        for is_of in schema.get("x-kubernetes-group-version-kind", []):
            if (is_of["group"], is_of["kind"]) in KINDS:
                yield file_name(**is_of), closure(name, definitions)


def custom():
    """The same of custom resources."""
    for name, files in CUSTOM.items():
        folder = module(name)
        for file in files:
            spec = yaml.safe_load((folder / file).read_text(encoding="utf-8"))["spec"]
            for version in spec["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                # Every object has more of these than a definition says.
                schema["properties"]["metadata"] = {"type": "object"}
                yield file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def file_name(group, version, kind):
    """As kubeconform looks for it."""
    parts = [kind.lower(), group.partition(".")[0], version]
    return "-".join(part for part in parts if part) + ".json"


def write(folder, schemas):
    """All or nothing: a folder that is there is complete."""
    if folder.exists():
        return
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, schema in schemas():
        (unfinished / name).write_text(json.dumps(schema), encoding="utf-8")
    unfinished.rename(folder)


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    for version in KUBERNETES:
        write(target / version, lambda: standard(version))
    write(target / "custom", custom)


main(sys.argv[1:])
