#!/usr/bin/env python3
"""Sees whether mcpd would start with what the chart gives it: lays /etc/mcpd out as the kubelet would, and has `mcpd check` look.

    scripts/chart/start.py HELM MCPD VALUES...

For each file of values. Secrets that the chart only names are made up. Needs PyYAML and openssl.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

CHART = "helm/mcpd"
MOUNTED = "/etc/mcpd"
# What stands in for the keys of Secrets and ConfigMaps that are not the chart's.
MADE_UP = {
    "tokens.yaml": "tokens: []\n",
    "principals.yaml": Path("examples/principals.yaml").read_text(encoding="utf-8"),
    "routes.yaml": Path("examples/routes.yaml").read_text(encoding="utf-8"),
}


def certificate(folder):
    """A certificate that signs itself, its key, and the same as a CA."""
    key, crt = folder / "tls.key", folder / "tls.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", crt]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    texts = {file.name: file.read_text(encoding="ascii") for file in (key, crt)}
    return {**texts, "ca.crt": texts["tls.crt"]}


def rendered(helm, values):
    command = [helm, "template", "mcpd", CHART, "--namespace", "test", "--values", values]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [item for item in yaml.safe_load_all(out) if item]


def lay_out(items, folder, made_up):
    """Writes what the pod's configuration volume would have."""
    data = {
        (item["kind"].lower(), item["metadata"]["name"]): {**item.get("data", {}), **item.get("stringData", {})}
        for item in items
        if item["kind"] in ("ConfigMap", "Secret")
    }
    pod = next(item for item in items if item["kind"] == "Deployment")["spec"]["template"]["spec"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "config")
    for source in volume["projected"]["sources"]:
        ((kind, named),) = source.items()
        texts = data.get((kind.lower(), named["name"]), made_up)
        for file in named["items"]:
            path = folder / file["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            # Where it is for this test is said in the text as well.
            path.write_text(texts[file["key"]].replace(MOUNTED, str(folder)), encoding="utf-8")
    # Documents that the server would get from the API server: for `mcpd check` a seed is the same.
    for file in ("routes.yaml", "handlers.yaml"):
        for texts in data.values():
            if set(texts) == {file}:
                (folder / "seed").mkdir(exist_ok=True)
                (folder / "seed" / file).write_text(texts[file], encoding="utf-8")


def seeds(folder):
    """The variable that names the seeds, if there are any and the mode is one that has them."""
    has_store = "kubernetes:" in (folder / "mcpd.yaml").read_text(encoding="utf-8")
    return {"MCPD__KUBERNETES__SEED": str(folder / "seed")} if has_store and (folder / "seed").exists() else {}


def would_start(helm, mcpd, values, made_up):
    with tempfile.TemporaryDirectory() as name:
        lay_out(rendered(helm, values), Path(name), made_up)
        done = subprocess.run(
            [mcpd, "check", "--config", f"{name}/mcpd.yaml"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            # Nothing of the developer's own may make up for what is missing.
            env={"PATH": "/usr/bin:/bin", "HOSTNAME": "mcpd-0", "POD_NAME": "mcpd-0", **seeds(Path(name))},
        )
        said = re.sub(r"/tmp/[a-z0-9_]+", MOUNTED, done.stdout.strip())
        print(f"{values}: {said.splitlines()[-1]}")
        if done.returncode != 0:
            sys.exit(f"{values}: mcpd would not start:\n{said}")


def main(helm, mcpd, files):
    with tempfile.TemporaryDirectory() as name:
        made_up = {**MADE_UP, **certificate(Path(name))}
    for values in files:
        would_start(helm, mcpd, values, made_up)


if len(sys.argv) < 4:
    sys.exit(__doc__)
main(sys.argv[1], sys.argv[2], sys.argv[3:])
