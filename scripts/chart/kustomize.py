#!/usr/bin/env python3
"""Makes k8s/ (a kustomize base and its overlays) out of what the chart renders.

    scripts/chart/kustomize.py write HELM FOLDER       writes FOLDER/base and FOLDER/overlays
    scripts/chart/kustomize.py compare HELM KUBECTL    builds k8s/ and compares it, object by object, with the chart

What is rendered with which values: VALUES below. Needs PyYAML.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

CHART = "helm/mcpd"
BASE = ["k8s/values/base.yaml"]
# Later files go before earlier ones.
VALUES = {
    "dev": [*BASE, "k8s/values/dev.yaml"],
    "prod": [*BASE, f"{CHART}/values-ha.yaml"],
    "monitoring": [*BASE, "k8s/values/monitoring.yaml"],
}
# What an overlay has without the chart's help.
BESIDE = {"monitoring": ["../../../dashboards"]}
NAMESPACE = "mcpd"
# Says who looks after an object, and that is not Helm here.
HELMS_OWN = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
NOTE = "# Made of the chart by `scripts/chart/generate`; change it there, or in an overlay of your own.\n"


def rendered(helm, values):
    """What the chart renders, as texts by the name of their template."""
    command = [helm, "template", "mcpd", CHART, "--namespace", NAMESPACE, "--skip-tests"]
    command += [word for file in values for word in ("--values", file)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    files = {}
    for document in re.split(r"^---\n", HELMS_OWN.sub("", out), flags=re.MULTILINE):
        source, _, text = document.partition("\n")
        if source.startswith("# Source: "):
            files.setdefault(Path(source).name, []).append(text.strip() + "\n")
    return {name: "---\n".join(texts) for name, texts in sorted(files.items())}


def objects(files):
    """The objects in texts, by what tells them apart."""
    found = (item for text in files.values() for item in yaml.safe_load_all(text) if item)
    return {identity(item): item for item in found}


def identity(item):
    return item["apiVersion"], item["kind"], item["metadata"]["name"]


def changes(old, new, path=""):
    """Operations of RFC 6902 that make `new` of `old`. Lists of different lengths are replaced as a whole."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            place = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in new:
                yield {"op": "remove", "path": place}
            elif key not in old:
                yield {"op": "add", "path": place, "value": new[key]}
            else:
                yield from changes(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (before, after) in enumerate(zip(old, new)):
            yield from changes(before, after, f"{path}/{at}")
    else:
        yield {"op": "replace", "path": path, "value": new}


class Dumper(yaml.SafeDumper):
    """Texts of several lines as such."""


Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)
# The value of two operations may be the same object, for which YAML would write an alias.
Dumper.ignore_aliases = lambda *_: True


def dump(value):
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


def target(key):
    """How kustomize names an object to be patched."""
    group, _, version = key[0].rpartition("/")
    named = {"group": group, "version": version, "kind": key[1], "name": key[2]}
    return {name: value for name, value in named.items() if value}


def patches(base, wanted):
    """What an overlay does to the objects of the base."""
    for key, old in base.items():
        if key not in wanted:
            gone = {"$patch": "delete", "apiVersion": key[0], "kind": key[1], "metadata": {"name": key[2]}}
            yield {"target": target(key), "patch": dump(gone)}
        elif operations := list(changes(old, wanted[key])):
            # kustomize trims the patch, and with it the last newline of a text at its end, were there no comment.
            yield {"target": target(key), "patch": dump(operations) + "# the end\n"}


def kustomization(**fields):
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return NOTE + dump({**head, **{name: value for name, value in fields.items() if value}})


def write(helm, folder):
    files = rendered(helm, BASE)
    base = objects(files)
    texts = {f"base/{name}": NOTE + text for name, text in files.items()}
    texts["base/kustomization.yaml"] = kustomization(namespace=NAMESPACE, resources=list(files))
    for overlay, values in VALUES.items():
        wanted = objects(rendered(helm, values))
        added = [item for key, item in wanted.items() if key not in base]
        resources = ["../../base", *BESIDE.get(overlay, [])]
        if added:
            texts[f"overlays/{overlay}/added.yaml"] = NOTE + "---\n".join(dump(item) for item in added)
            resources.append("added.yaml")
        texts[f"overlays/{overlay}/kustomization.yaml"] = kustomization(
            namespace=NAMESPACE, resources=resources, patches=list(patches(base, wanted))
        )
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def without_dashboards(built):
    """Objects less the dashboards, which have to be there and be all that the chart has, too."""
    names = {f"mcpd-dashboard-{file.stem}" for file in Path(CHART, "files").glob("*.json")}
    is_dashboard = lambda item: "grafana_dashboard" in item["metadata"].get("labels", {})
    found = {item["metadata"]["name"] for item in built.values() if is_dashboard(item)}
    if found != names:
        sys.exit(f"dashboards: {sorted(found ^ names)} are not both in k8s/ and in the chart")
    return {key: item for key, item in built.items() if not is_dashboard(item)}


def compare(helm, kubectl):
    for folder, values in {"base": BASE, **{f"overlays/{name}": files for name, files in VALUES.items()}}.items():
        wanted = objects(rendered(helm, values))
        for item in wanted.values():
            item["metadata"]["namespace"] = NAMESPACE
        command = [kubectl, "kustomize", f"k8s/{folder}"]
        built = objects({folder: subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout})
        if folder == "overlays/monitoring":
            built = without_dashboards(built)
        different = [key for key in {**wanted, **built} if wanted.get(key) != built.get(key)]
        if different:
            sys.exit(f"k8s/{folder}: not what the chart renders: {different}")
        print(f"k8s/{folder}: {len(built)} objects, as the chart renders them")


match sys.argv[1:]:
    case ["write", helm_path, folder_path]:
        write(helm_path, Path(folder_path))
    case ["compare", helm_path, kubectl_path]:
        compare(helm_path, kubectl_path)
    case _:
        sys.exit(__doc__)
