"""The traffic of the sample shop."""

from __future__ import annotations

import random
import re
from collections import Counter

from examples.shop.traffic import Crowd, Totals


def requests(crowd: Crowd, count: int) -> list[str]:
    dice = random.Random(1)
    return [crowd.next_request(dice, "shop").decode() for _ in range(count)]


def test_the_share_of_logged_out_users_is_respected() -> None:
    sent = requests(Crowd(20_000, 0.6, 0.8, seed=1), 5_000)
    logged_out = sum("session=" not in request for request in sent)
    assert 0.55 < logged_out / len(sent) < 0.65


def test_some_users_are_far_more_active_than_others() -> None:
    sent = requests(Crowd(2_000, 0.6, 0.8, seed=1), 20_000)
    visitors = Counter(re.findall(r"visitor=(\S+?);?\s", " ".join(sent)))
    assert len(visitors) > 1_500
    assert visitors.most_common(1)[0][1] > 10 * 20_000 / 2_000


def test_the_same_seed_makes_the_same_users() -> None:
    assert requests(Crowd(100, 0.6, 0.8, seed=7), 50) == requests(Crowd(100, 0.6, 0.8, seed=7), 50)


def test_totals_add_up() -> None:
    assert Totals(3, 1, 0) + Totals(4, 0, 2) == Totals(7, 1, 2)
