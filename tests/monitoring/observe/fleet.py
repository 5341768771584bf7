"""The laptop's stack without containers: servers of mcpd, load, Prometheus, Jaeger and a node exporter, all on loopback."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import scaled
import servers
import yaml

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "dashboards/stack"


# What examples/trust.yaml says, as variables.
TRUST = {
    "MCPD__AUTH__PRINCIPALS": str(ROOT / "examples/principals.yaml"),
    "MCPD__AUTH__JWT__JWKS_FILE": str(ROOT / "examples/jwks.json"),
    "MCPD__AUTH__JWT__ISSUER": "https://login.example",
    "MCPD__AUTH__JWT__AUDIENCE": "mcpd",
}


class Server:
    """One mcpd with a folder of its own, which holds its documents and its log."""

    def __init__(self, fleet, name, job, config, routes, **settings):
        self.fleet, self.name, self.job = fleet, name, job
        self.folder = fleet.folder / name
        self.folder.mkdir()
        self.data, self.sidecar = f"127.0.0.1:{servers.free_port()}", f"127.0.0.1:{servers.free_port()}"
        self.log = self.folder / "log"
        self.routes = self.folder / "routes.yaml"
        if routes:
            shutil.copy(STACK / routes, self.routes)
        self.command = [fleet.mcpd, "serve", "--config", str(STACK / config), "--routes", str(self.routes)]
        self.environment = {
            **os.environ,
            "MCPD__DATA__LISTEN": self.data,
            "MCPD__SIDECAR__LISTEN": self.sidecar,
            "MCPD__SERVER_ID": name,
            # So that an outage of the receiver shows soon, and all the time, however long the exporter pauses.
            "MCPD__TRACING__TIMEOUT": "1s",
            "MCPD__TRACING__QUEUE": "32",
            "OTEL_EXPORTER_OTLP_ENDPOINT": fleet.jaeger.otlp,
            "K8S_POD_NAME": name,
            "K8S_NAMESPACE": "default",
            "K8S_NODE_NAME": "laptop",
            **settings,
        }
        self.process = None

    def start(self):
        """Starts it, and waits until it answers; whether it is ready is another matter."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=log
            )
        self.fleet.closing.callback(self.kill)
        servers.await_answer(self.process, f"http://{self.sidecar}/metrics")
        return self

    def kill(self):
        """Ends it without ceremony."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def drain(self):
        """Has it stop as it does for Kubernetes, and does not wait for the end."""
        self.process.send_signal(signal.SIGTERM)

    def lines(self):
        """The log so far, line by line; those that are no JSON are left out."""
        for line in self.log.read_text(encoding="utf-8").splitlines():
            if line.startswith("{"):
                yield json.loads(line)


class Jaeger:
    """A real Jaeger, all in one."""

    FLAGS = (
        "query.grpc-server.host-port",
        "admin.http.host-port",
        "collector.http-server.host-port",
        "collector.grpc-server.host-port",
        "collector.otlp.http.host-port",
    )

    def __init__(self, closing):
        program = subprocess.run(
            [ROOT / "tests/support/jaeger"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
        self.url = f"http://127.0.0.1:{servers.free_port()}"
        self.otlp = f"http://127.0.0.1:{servers.free_port()}"
        ports = {flag: f"127.0.0.1:{servers.free_port()}" for flag in self.FLAGS}
        ports |= {"query.http-server.host-port": self.url[7:], "collector.otlp.grpc.host-port": self.otlp[7:]}
        command = [
            program,
            f"--config-file={STACK / 'jaeger.yaml'}",
            *(f"--{flag}={port}" for flag, port in ports.items()),
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = closing.enter_context(servers.running("jaeger", command, **quiet))
        servers.await_answer(self.process, f"{self.url}/api/services")

    def spans(self, trace, wanted):
        """The spans of a trace by name and server, once all that are wanted are there."""
        deadline = time.monotonic() + servers.PATIENCE
        while time.monotonic() < deadline:
            found = servers.get(f"{self.url}/api/traces/{trace}")
            found = found["data"][0] if found and found["data"] else {"spans": [], "processes": {}}
            tags = {key: {tag["key"]: tag["value"] for tag in one["tags"]} for key, one in found["processes"].items()}
            spans = {
                (span["operationName"], tags[span["processID"]]["service.instance.id"]): span for span in found["spans"]
            }
            if all(name in spans for name in wanted):
                return spans, tags
            time.sleep(0.5)
        raise AssertionError(f"Jaeger has {sorted(spans)} of {trace}, and not {sorted(set(wanted) - set(spans))}")


class Prometheus:
    """A real Prometheus that looks at everything each second, with rules whose minutes are seconds."""

    def __init__(self, closing, folder, targets, history):
        for name, text in scaled.rules(ROOT / "dashboards").items():
            (folder / name).write_text(text, encoding="utf-8")
        jobs = [{"job_name": job, "static_configs": list(map(_target, targets[job]))} for job in targets]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules-*.yaml"],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        data = folder / "data"
        (folder / "history").write_text(history, encoding="utf-8")
        command = [
            servers.program("promtool"),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "--quiet",
            "--max-block-duration=162h",
            folder / "history",
            data,
        ]
        subprocess.run(command, check=True)
        flags = ["--storage.tsdb.retention.time=35d"]
        self.url = closing.enter_context(servers.prometheus(folder / "prometheus.yaml", data, flags))
        self.began = time.time()

    def ask(self, query, **parameters):
        """What Prometheus answers to this now; with `step`, over all the time since it began."""
        kind = "query"
        if parameters:
            kind = "query_range"
            parameters |= {"start": self.began, "end": time.time()}
        with urlopen(f"{self.url}/api/v1/{kind}?{urlencode({'query': query, **parameters})}", timeout=60) as answer:
            return json.load(answer)["data"]["result"]

    def names(self):
        """Every metric that there has been."""
        with urlopen(f"{self.url}/api/v1/label/__name__/values", timeout=60) as answer:
            return json.load(answer)["data"]

    def firing(self):
        """Names of alerts that fire at this moment, with their jobs."""
        found = self.ask('ALERTS{alertstate="firing"}')
        return {(series["metric"]["alertname"], series["metric"].get("job", "")) for series in found}


def _target(target):
    address, labels = target
    return {"targets": [address], "labels": {"cluster": "laptop", "namespace": "default", **labels}}


class Fleet:
    """Everything together."""

    def __init__(self, mcpd, folder):
        self.mcpd, self.folder = str(Path(mcpd).resolve()), folder
        self.closing = ExitStack()

    def __enter__(self):
        self.jaeger = Jaeger(self.closing)
        self.upstream = Server(self, "upstream-0", "mcpd-upstream", "upstream.yaml", "upstream-routes.yaml").start()
        self.a = self._edge("mcpd-0")
        # Asks its clients for a sign of life each second, so that there is something to see of that.
        self.b = self._edge("mcpd-1", MCPD__HEARTBEAT__INTERVAL="1s")
        # Asks everybody who they are, by TLS.
        self.strict = self._edge("mcpd-tls-0", job="mcpd-tls", **self._certificate(), **TRUST)
        # Without a document of routes.
        self.broken = Server(self, "mcpd-broken-0", "mcpd-broken", "upstream.yaml", None).start()
        exporter = f"127.0.0.1:{servers.free_port()}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.closing.enter_context(
            servers.running("node exporter", [servers.program("prometheus-node-exporter"), f"--web.listen-address={exporter}"], **quiet)
        )
        targets = {}
        for server in (self.upstream, self.a, self.b, self.strict, self.broken):
            targets.setdefault(server.job, []).append((server.sidecar, {"pod": server.name}))
        targets["load-nodes"] = [(exporter, {})]
        self.prometheus = Prometheus(self.closing, self.folder, targets, scaled.history("mcpd"))
        for server in (self.a, self.b):
            self.background(STACK / "load", to=server.data)
        self.background(self.mcpd, "ping", "--count", "0", to=self.b.data)
        return self

    def __exit__(self, *_):
        self.closing.close()

    def _edge(self, name, job="mcpd", **settings):
        server = Server(self, name, job, "mcpd.yaml", "routes.yaml", **settings)
        handlers = (STACK / "handlers.yaml").read_text(encoding="utf-8")
        (server.folder / "handlers.yaml").write_text(
            handlers.replace("upstream:8080", self.upstream.data), encoding="utf-8"
        )
        return server.start()

    def _certificate(self):
        """Settings for TLS with a certificate that is good for a day."""
        key, certificate = self.folder / "tls.key", self.folder / "tls.crt"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            certificate,
        ]
        subprocess.run(command, check=True, capture_output=True)
        return {"MCPD__DATA__TLS__CERTIFICATE": str(certificate), "MCPD__DATA__TLS__KEY": str(key)}

    def background(self, *command, to):
        """Something that goes on until the end, or until it is ended."""
        # A group of its own, since a shell has children.
        process = subprocess.Popen(
            command, env=self._client(to), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.closing.callback(stop_group, process)
        return process

    def send(self, *arguments, to):
        """What `mcpd send` says on standard output and error."""
        done = subprocess.run(
            [self.mcpd, "send", *arguments],
            env=self._client(to),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout, done.stderr

    def change_routes(self, server):
        """Somebody gives a server one more route, by the admin API."""
        command = [
            self.mcpd,
            "routes",
            "set",
            "audit",
            "--topic",
            "audit/#",
            "--handler",
            "discard",
            "--admin",
            server.sidecar,
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=60)

    def _client(self, to):
        path = f"{Path(self.mcpd).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "MCPD_TO": to, "MCPD_TLS_CA": str(self.folder / "tls.crt")}


def stop_group(process):
    """Ends a process and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
