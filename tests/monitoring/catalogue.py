"""What metrics there are: those of docs/metrics.md, those that rules record, and those of others that we rely on."""

import re
from dataclasses import dataclass

ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>counter|gauge|histogram)[^|]*\| (?P<labels>[^|]*)\|")
LABEL = re.compile(r"`(\w+)`: (.*)")

# Labels that a target has, whatever it says of itself.
TARGET = {"cluster", "namespace", "job", "pod", "instance"}


@dataclass
class Metric:
    """What a series is called, and what its labels may say; None is anything."""

    kind: str
    labels: dict


def documented(text):
    """The tables of docs/metrics.md, histograms as the three families that they are."""
    metrics = {}
    for row in filter(None, map(ROW.match, text.splitlines())):
        labels = {}
        for label in filter(None, map(LABEL.match, row["labels"].strip().split("<br>"))):
            labels[label[1]] = _values(label[2])
        if row["kind"] != "histogram":
            metrics[row["name"]] = Metric(row["kind"], labels)
            continue
        for suffix, more in (("_bucket", {"le": None}), ("_sum", {}), ("_count", {})):
            metrics[row["name"] + suffix] = Metric("counter", {**labels, **more})
    return metrics


def _values(words):
    """A list of words in backticks, or prose about what they may be."""
    listed = re.fullmatch(r"(`[^`]+`(, )?)+", words.strip())
    return set(re.findall(r"`([^`]+)`", words)) if listed else None


def standard():
    """Series of Prometheus itself and of the node exporter."""
    anything = {"up": "gauge", "ALERTS": "gauge", "node_load1": "gauge", "node_uname_info": "gauge"}
    anything |= {"node_memory_MemAvailable_bytes": "gauge", "node_memory_MemTotal_bytes": "gauge"}
    anything |= {"node_sockstat_TCP_inuse": "gauge", "node_netstat_Tcp_RetransSegs": "counter"}
    metrics = {name: Metric(kind, {}) for name, kind in anything.items()}
    metrics["ALERTS"].labels = {"alertname": None, "alertstate": {"firing", "pending"}, "severity": None}
    metrics["node_cpu_seconds_total"] = Metric("counter", {"mode": None, "cpu": None})
    metrics["node_network_transmit_bytes_total"] = Metric("counter", {"device": None})
    return metrics


def recorded(rules):
    """Series that rules make; what labels they have is up to their expressions."""
    names = {rule["record"] for rule in rules if "record" in rule}
    return {name: Metric("gauge", None) for name in names}


def unknown_names(file, text, known):
    """Names in prose that look like metrics and are none. `mcpd_tls_*` stands for all that begin so."""
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known} | set(known)
    for name, star in sorted(set(re.findall(r"\b(mcpd_[a-z0-9_]+|mcpd:(?!:)[a-z0-9_:]+)(\*?)", text))):
        fits = any(one.startswith(name) for one in families) if star else name in families
        if not fits:
            yield f"docs/{file}: there is no metric {name}{star}"


def mismatches(selectors, grouped, known):
    """What is asked for and does not exist: metrics, labels, values."""
    metrics = [known[one.metric] for one in selectors if one.metric in known]
    if all(metric.labels is not None for metric in metrics):
        possible = TARGET.union(*(metric.labels for metric in metrics))
        yield from (f"none of the series has a label {label}" for label in sorted(grouped - possible))
    for one in selectors:
        metric = known.get(one.metric)
        if metric is None:
            yield f"there is no metric {one.metric}"
            continue
        if metric.labels is None:
            continue
        for label, operator, value in one.matchers:
            if label in TARGET:
                continue
            if label not in metric.labels:
                yield f"{one.metric} has no label {label}"
                continue
            possible = metric.labels[label]
            asked = value.split("|") if "~" in operator else [value]
            if possible is None or value.startswith("$"):
                continue
            yield from (f"{one.metric}: {label} is never {word}" for word in asked if word not in possible)
