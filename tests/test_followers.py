"""What is forgotten, no follower needs any more."""

from __future__ import annotations

import gc

from index.followers import Followers


class Index:
    """Something that follows."""


def test_the_slowest_follower_counts() -> None:
    followers, one, other = Followers(), Index(), Index()
    assert followers.passed() == 0
    followers.note(one, 7)
    followers.note(other, 3)
    assert followers.passed() == 3
    followers.note(other, 9)
    assert followers.passed() == 7
    followers.note(one, None)
    followers.note(one, None)
    assert followers.passed() == 9


def test_nothing_is_passed_while_it_is_held() -> None:
    followers, one = Followers(), Index()
    followers.note(one, 7)
    with followers.holding(), followers.holding():
        assert followers.passed() == 0
    assert followers.passed() == 7


def test_who_is_gone_needs_nothing() -> None:
    followers, one, other = Followers(), Index(), Index()
    followers.note(one, 7)
    followers.note(other, 3)
    del other
    gc.collect()
    assert followers.passed() == 7
