"""The shipped rules on a clock that runs twenty times as fast, so that what takes an hour can be watched."""

import re
import time

# Minutes of the rules are three seconds here.
FACTOR = 20
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MINUTE = 60
WEEK = 7 * SECONDS["d"]


def rules(folder):
    """Names and texts of the rules."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("rules-*.yaml"))}
    return {name: _learning(text) if "learning" in name else _fast(text) for name, text in texts.items()}


def _fast(text):
    # Windows, patience, and how often rules are looked at.
    text = re.sub(r"\[(\d+)([smhd])\]", lambda found: f"[{_shorter(found)}]", text)
    text = re.sub(r"(?m)^(\s+(?:for|interval): )(\d+)([smhd])$", lambda found: found[1] + _shorter(found, 2), text)
    # Events within windows that are shorter by as much, and what a sample of a rate stands for.
    text = text.replace("vector(1000)", "vector(50)").replace("vector(200)", "vector(10)")
    return text.replace("* 30 >=", "* 1.5 >=")


def _learning(text):
    """Its weeks are those of the history below; only its patience is shortened."""
    return text.replace("interval: 1m", "interval: 1s").replace("for: 2m", "for: 6s").replace(">= 30\n", ">= 20\n")


def _shorter(found, at=1):
    return f"{int(found[at]) * SECONDS[found[at + 1]] * 1000 // FACTOR}ms"


def history(job):
    """Four weeks' usual rate of requests around this hour, for the learning alert: much more than there will be."""
    now = int(time.time())
    lines = ["# TYPE mcpd:requests:rate2m gauge"]
    labels = f'{{cluster="laptop",namespace="default",job="{job}"}}'
    for week in (4, 3, 2, 1):
        middle = now - week * WEEK
        for at in range(middle - 60 * MINUTE, middle + 60 * MINUTE, MINUTE):
            lines.append(f"mcpd:requests:rate2m{labels} {1000 + at % 120} {at}")
    return "\n".join([*lines, "# EOF", ""])
