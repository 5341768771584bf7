"""TLS from a Secret that is replaced while connections are open."""

import base64
import hashlib
import json
import ssl
import tempfile
import time
from pathlib import Path

from harness.bench import Bench
from harness.kube import await_that, run
from harness.report import Scenario

TITLE = "TLS: a Secret rotated in place"
SECRET = "e2e-tls"


class Authority:
    """A CA and what it signs, by openssl."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.key, self.certificate = folder / "ca.key", folder / "ca.crt"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run(["openssl", "req", "-x509", *key, "-keyout", self.key, "-out", self.certificate, "-days", "2",
             "-subj", "/CN=e2e", "-addext", "basicConstraints=critical,CA:TRUE"])

    def issue(self, serial: int) -> tuple[str, str]:
        """PEM of a certificate for the Service, and of its key."""
        key, request, certificate = (self.folder / f"{serial}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.folder / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{self.name}\n")
        run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", key, "-out", request, "-subj", f"/CN={self.name}"])
        run(["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-days", "1",
             "-set_serial", serial, "-extfile", extensions, "-out", certificate])
        return certificate.read_text(), key.read_text()


def fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def set_secret(bench: Bench, certificate: str, key: str, authority: str) -> None:
    encoded = lambda text: base64.b64encode(text.encode()).decode()
    data = {"tls.crt": encoded(certificate), "tls.key": encoded(key), "ca.crt": encoded(authority)}
    bench.kube.apply({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                      "metadata": {"name": SECRET}, "data": data})


def perform(bench: Bench, scenario: Scenario) -> None:
    name = f"mcpd.{bench.kube.namespace}.svc"
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder), name)
        first, second = authority.issue(1), authority.issue(2)
        trusted = authority.certificate.read_text()
    set_secret(bench, *first, trusted)
    bench.install({"tls": {"enabled": True, "existingSecret": SECRET}})
    output = bench.helm("test", "mcpd", "--logs", "--timeout", "2m")
    scenario.check("Succeeded" in output, "helm test succeeds with TLS")
    # The authority stays the same, and the observer's mount may change with the Secret as it likes.
    ca = {"secret": {"secretName": SECRET, "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    observer = bench.start("certificates", "certificates", "--to", f"{name}:8080", "--ca", "/ca/ca.crt",
                           volumes={"/ca": ca})
    time.sleep(5)
    set_secret(bench, *second, trusted)
    rotated = time.time()
    scenario.say("the Secret is replaced")
    await_that("new certificate", lambda: fingerprint(second[0]) in last_line(bench, observer.name), 200, every=2)
    time.sleep(10)
    check(scenario, observer.stop(), rotated, fingerprint(first[0]), fingerprint(second[0]))


def last_line(bench: Bench, pod: str) -> str:
    return bench.kube.kubectl("logs", pod, "--tail=1")


def check(scenario: Scenario, seen: list[dict], rotated: float, old: str, new: str) -> None:
    scenario.check(all(look["ok"] for look in seen), "every new connection is made",
                   [look for look in seen if not look["ok"]][:3])
    scenario.check({look["shown"] for look in seen} == {old, new}, "it is shown the old or the new certificate")
    fresh = [look["at"] / 1000 - rotated for look in seen if look["shown"] == new]
    scenario.figure("from the changed Secret to the new certificate (the kubelet's part is up to 90 s)",
                    round(fresh[0], 1), "s", at_most=120)
    scenario.check(all(look["old_lives"] for look in seen), "the old connection lives on through all of it", len(seen))
    after = json.dumps(seen[-1])
    scenario.say(f"the last look: {after}")
