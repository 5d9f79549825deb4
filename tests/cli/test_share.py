"""`tidegate share`: links and badges."""

from __future__ import annotations

from urllib.request import urlopen

from tests.cli.calls import Tidegate
from tests.cli.test_release import started


def test_a_badge_of_a_flag_is_made_shown_and_revoked(checkout: Tidegate) -> None:
    address = checkout.ok("share", "badge", "checkout", "--reason", "for the README").strip()
    with urlopen(address) as answer:
        assert b"checkout" in answer.read()
    listed = checkout.json("share", "list")
    [only] = [each for each in listed if each["flag"] == "checkout"]
    assert (only["kind"], only["expires_at"]) == ("badge", None)
    assert "it is revoked" in checkout.ok("share", "list")
    assert "Give the key of a flag" in checkout.refused("share", "badge", status=2)
    checkout.ok("share", "revoke", only["id"], "--yes")
    assert checkout.json("share", "list") == []


def test_the_report_of_a_release_is_shared(checkout: Tidegate) -> None:
    release = started(checkout)
    address = checkout.ok("share", "report", release, "--lasts", "1d").strip()
    with urlopen(address) as answer:
        assert b"checkout" in answer.read()
    assert checkout.ok("share", "report", "checkout").startswith("http")
    assert "90d" in checkout.refused("share", "report", release, "--lasts", "100d")
