"""The scenarios by their numbers in the order they are run. Each module has a TITLE and `perform(bench, scenario)`."""

from scenarios import (
    balance,
    certificates,
    frames,
    install,
    observe,
    outage,
    rights,
    rollout,
    routes,
    upgrade,
)

SCENARIOS = {
    1: install,
    2: frames,
    3: routes,
    4: outage,
    5: rollout,
    6: balance,
    7: upgrade,
    8: rights,
    9: certificates,
    10: observe,
}
