"""Made-up traffic: a day and a week with their ups and downs, noise that remembers a little, and shifts at known times."""

import math
import random
from dataclasses import dataclass

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

# A Monday, at midnight.
START = 1767571200
# Four weeks to learn from, one in which nothing happens, one with shifts.
QUIET = START + 4 * WEEK
SHIFTED = START + 5 * WEEK
END = START + 6 * WEEK

# Requests a second: how many on average, and how much of that is noise.
MEAN = 100.0
SIGMA = 10.0
# How much of a minute's noise is that of the minute before.
RHO = 0.5
# A shift is three standard deviations, up or down, for half an hour, every eight hours and some minutes.
SHIFT = 3 * SIGMA
LENGTH = 30 * MINUTE
EVERY = 8 * HOUR


@dataclass(frozen=True)
class Shift:
    """From when on, and which way."""

    begins: int
    by: float


def usual(time):
    """Requests a second without noise: less at night, and less on Saturdays and Sundays."""
    day = 1 - 0.4 * math.cos(2 * math.pi * (time % DAY) / DAY)
    weekend = 0.7 if (time - START) % WEEK >= 5 * DAY else 1.0
    return MEAN * day * weekend


def shifts(seed):
    """The shifts of the last week, at minutes that the seed says."""
    choose = random.Random(f"shifts {seed}")
    firsts = range(SHIFTED + HOUR, END - 2 * HOUR, EVERY)
    return [Shift(first + MINUTE * choose.randrange(60), choose.choice([-SHIFT, SHIFT])) for first in firsts]


def counter(seed):
    """Time and value of a counter of requests, once a minute."""
    noise = random.Random(f"noise {seed}")
    # So that the noise as a whole has the standard deviation that is wanted.
    fresh = SIGMA * math.sqrt(1 - RHO * RHO)
    shifted = {time: one.by for one in shifts(seed) for time in range(one.begins, one.begins + LENGTH, MINUTE)}
    total, deviation = 0.0, noise.gauss(0, SIGMA)
    for time in range(START, END, MINUTE):
        yield time, total
        deviation = RHO * deviation + noise.gauss(0, fresh)
        total += MINUTE * max(0.0, usual(time) + deviation + shifted.get(time, 0.0))
