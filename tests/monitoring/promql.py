"""Just enough of PromQL to see which series an expression asks for. Whether it is valid at all, promtool says."""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""
    (?P<text>'[^']*'|"(?:[^"\\]|\\.)*")
  | (?P<time>\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*|\$__rate_interval)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^=<>(){}\[\],@])
  | (?P<space>\s+)
    """,
    re.VERBOSE,
)
# Words that labels follow in brackets.
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = GROUPING | {"and", "or", "unless", "bool", "offset"}


@dataclass
class Selector:
    """One selection of series."""

    metric: str
    # Label, operator, value.
    matchers: list = field(default_factory=list)
    window: str = ""
    # The innermost function or aggregation around it.
    within: str = ""


def tokens(expression):
    """Kinds and texts, without spaces."""
    at = 0
    while at < len(expression):
        match = TOKEN.match(expression, at)
        if not match:
            raise ValueError(f"what is {expression[at:at + 20]!r}?")
        at = match.end()
        if match.lastgroup != "space":
            yield match.lastgroup, match.group()


def read(expression):
    """Selectors and the labels that the expression groups or joins by."""
    rest = list(tokens(expression))
    selectors, grouped = [], set()
    # The function or aggregation in front of each bracket that is open, and of the next one.
    around, called = [], ""
    at = 0
    while at < len(rest):
        kind, text = rest[at]
        following = rest[at + 1][1] if at + 1 < len(rest) else ""
        at += 1
        if text in GROUPING and following == "(":
            end = rest.index(("sign", ")"), at)
            grouped |= {word for kind, word in rest[at:end] if kind == "word"}
            at = end + 1
        elif kind == "word" and text not in WORDS:
            if following in ("(", "by", "without"):
                called = text
                continue
            selector, at = _selector(text, rest, at)
            selector.within = around[-1] if around else ""
            selectors.append(selector)
        elif text == "(":
            around.append(called)
            called = ""
        elif text == ")":
            around.pop()
    return selectors, grouped


def _selector(metric, rest, at):
    selector = Selector(metric)
    if at < len(rest) and rest[at][1] == "{":
        end = rest.index(("sign", "}"), at)
        inside = [part for part in rest[at + 1 : end] if part[1] != ","]
        for label, operator, value in zip(inside[::3], inside[1::3], inside[2::3]):
            selector.matchers.append((label[1], operator[1], value[1][1:-1]))
        at = end + 1
    if at < len(rest) and rest[at][1] == "[":
        selector.window = rest[at + 1][1]
        at = rest.index(("sign", "]"), at) + 1
    return selector, at
