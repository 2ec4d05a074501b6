"""The verdict on one property of a pair of titles.

It does not know which properties there are, nor how they are read.
"""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What two titles say of one property, taken together; small enough for an int8 array."""

    UNSAID = 0  # neither says anything
    ONE_SIDE = 1  # only one says something: not a contradiction
    SAME = 2
    DIFFERENT = 3
