"""Faults, each with the alerts that it has to cause. A fault lasts for as long as its block."""

import signal
import socket
from contextlib import contextmanager

from fleet import stop_group

# Connections of one client to one pod.
CROWD = 160
# More than there are series for.
MANY_ROUTES = 205
GARBAGE = b"GET / HTTP/1.1\r\n\r\n" * 4


@contextmanager
def from_the_start(_fleet):
    """A server without routes, a certificate that is good for a day, and much less traffic than in other weeks."""
    broken = {("McpdNotRunning", "mcpd-broken"), ("McpdReloadRefused", "mcpd-broken")}
    yield broken | {("McpdCertificateExpires", "mcpd-tls"), ("McpdRequestsUnusual", "mcpd")}


@contextmanager
def a_server_is_killed(fleet):
    """The only one of its job."""
    fleet.broken.kill()
    yield {("McpdTargetDown", "mcpd-broken"), ("McpdDown", "mcpd-broken")}


@contextmanager
def the_upstream_hangs(fleet):
    """Requests for it come to their deadlines, its breaker opens, and the budget burns."""
    fleet.upstream.process.send_signal(signal.SIGSTOP)
    loop = "while :; do mcpd send orders/9 >/dev/null 2>&1; sleep 0.1; done"
    loops = [fleet.background("sh", "-c", loop, to=fleet.a.data) for _ in range(4)]
    yield {("McpdUpstreamFailing", "mcpd"), ("McpdBreakerOpen", "mcpd"), ("McpdErrorBudgetBurn", "mcpd")}
    _end(loops)
    fleet.upstream.process.send_signal(signal.SIGCONT)


@contextmanager
def a_change_that_one_pod_refuses(fleet):
    """One pod takes more routes than there are series for; the other gets a document that is not one."""
    before = fleet.b.routes.read_text(encoding="utf-8")
    more = "".join(f"  - {{name: r{at}, topic: many/{at}, handler: echo}}\n" for at in range(MANY_ROUTES))
    fleet.a.routes.write_text(before.replace("revision: 1", "revision: 2") + more, encoding="utf-8")
    fleet.b.routes.write_text("routes: none of your business\n", encoding="utf-8")
    # The last ones by name have no series of their own.
    loops = [fleet.background("sh", "-c", "while mcpd send many/99; do sleep 0.2; done", to=fleet.a.data)]
    yield {("McpdReloadRefused", "mcpd"), ("McpdReplicasDiverged", "mcpd"), ("McpdSeriesCap", "mcpd")}
    _end(loops)
    fleet.a.routes.write_text(before.replace("revision: 1", "revision: 3"), encoding="utf-8")
    fleet.b.routes.write_text(before.replace("revision: 1", "revision: 3"), encoding="utf-8")


@contextmanager
def more_than_a_handler_can_do(fleet):
    """Requests for a handler that does one at a time, and for one that takes three seconds."""
    loop = "while :; do mcpd send {} >/dev/null 2>&1; sleep 0.1; done"
    loops = [fleet.background("sh", "-c", loop.format("narrow"), to=fleet.a.data) for _ in range(3)]
    loops += [fleet.background("sh", "-c", loop.format("sluggish"), to=fleet.b.data) for _ in range(3)]
    yield {("McpdShedding", "mcpd"), ("McpdRequestsSlow", "mcpd"), ("McpdRequestP99High", "mcpd")}
    _end(loops)


@contextmanager
def a_crowd_that_speaks_http(fleet):
    """Many connections to one pod, and others that do not speak MCP."""
    host, port = fleet.a.data.split(":")
    crowd = [socket.create_connection((host, int(port))) for _ in range(CROWD)]
    garbage = 'while :; do printf \'%s\' "$1" | timeout 2 bash -c "cat > /dev/tcp/$2/$3"; sleep 0.5; done'
    loops = [fleet.background("bash", "-c", garbage, "garbage", GARBAGE.decode(), host, port, to=fleet.a.data)]
    yield {("McpdConnectionSkew", "mcpd"), ("McpdFrameErrors", "mcpd")}
    _end(loops)
    for one in crowd:
        one.close()


@contextmanager
def somebody_guesses(fleet):
    """Tokens that nobody has, several a second."""
    loop = "while :; do MCPD_TOKEN=guess mcpd send echo >/dev/null 2>&1; sleep 0.1; done"
    loops = [fleet.background("sh", "-c", loop, to=f"mcps://{fleet.strict.data}") for _ in range(3)]
    yield {("McpdAuthenticationFailing", "mcpd-tls")}
    _end(loops)


@contextmanager
def nobody_takes_spans(fleet):
    """Jaeger is away."""
    fleet.jaeger.process.kill()
    yield {("McpdSpansDropped", "mcpd")}


def _end(loops):
    for loop in loops:
        stop_group(loop)


# In this order: traces are asked for before the last one.
ALL = [
    from_the_start,
    a_server_is_killed,
    the_upstream_hangs,
    a_change_that_one_pod_refuses,
    more_than_a_handler_can_do,
    a_crowd_that_speaks_http,
    somebody_guesses,
]
LAST = nobody_takes_spans
