"""Holds docs/logging.md against the sources and against the files that it shows parts of."""

import re

# A row of the table of lines: the message, its level, its keys.
ROW = re.compile(r"^\| `(?P<message>[^`]+)` \| `(?P<level>[A-Z]+)` \| (?P<keys>[^|]*)\|", re.MULTILINE)
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EVENT = re.compile(r'tracing::(\w+)!\(((?:[^()]|\([^()]*\))*)"([^"]+)"\s*\)', re.DOTALL)


def problems(page, sources, examples):
    """Messages that nobody writes, keys that they do not have, examples that differ from their files."""
    written = {}
    for source in sources:
        for level, fields, message in EVENT.findall(source):
            written.setdefault(message, []).append((level.upper(), fields))
    for row in ROW.finditer(page):
        yield from _of_row(row["message"], row["level"], re.findall(r"`(\w+)`", row["keys"]), written)
    for block in BLOCK.findall(page):
        if not any(block.strip() in example for example in examples):
            yield f"docs/logging.md: no file of dashboards/stack has this: {block.splitlines()[0]} …"


def _of_row(message, level, keys, written):
    if message not in written:
        yield f"docs/logging.md: nobody writes the line {message!r}"
        return
    for said, _ in written[message]:
        if said != level:
            yield f"docs/logging.md: {message!r} is of level {said}"
    fields = " ".join(fields for _, fields in written[message])
    yield from (
        f"docs/logging.md: {message!r} has no key {key}" for key in keys if not re.search(rf"\b{key}\b", fields)
    )
