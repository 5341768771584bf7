"""Servers that tests start: each on a port of loopback that nobody has, awaited until it answers, ended by its id."""

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

SUPPORT = Path(__file__).resolve().parents[1] / "support"
# How long a server may take to answer; a loaded machine is slow.
PATIENCE = 120


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def program(name):
    """Where this program of Prometheus is."""
    found = subprocess.run([SUPPORT / "prometheus", name], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


@contextmanager
def running(name, command, **options):
    """A process that is ended when it is not needed any more, politely first."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            print(f"{name} does not end by itself", file=sys.stderr)
            process.kill()
            process.wait()


def await_answer(process, url):
    """Waits until this is answered with 200."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"{url} does not answer")


@contextmanager
def prometheus(config, data, flags=()):
    """Yields its address."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={url[7:]}",
        "--log.level=error",
        *flags,
    ]
    with running("prometheus", command) as process:
        await_answer(process, f"{url}/-/ready")
        yield url


def get(url):
    """What is answered, as JSON, or nothing when it is an error."""
    try:
        with urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except (URLError, OSError):
        return None
