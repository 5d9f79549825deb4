from __future__ import annotations

from tidegate_server.policy_job.lease import Leases
from tidegate_server.store import Store


def test_one_holder_leads_a_project_and_others_lead_other_projects(store: Store) -> None:
    first, second = Leases(store, "first"), Leases(store, "second")

    assert first.fence("shop") is not None
    assert second.fence("shop") is None
    assert second.fence("blog") is not None


def test_a_renewed_lease_keeps_its_fencing_number(store: Store) -> None:
    always_renewing = Leases(store, "first", ttl_ms=5_000)
    fence = always_renewing.fence("shop")

    assert always_renewing.fence("shop") == fence
    assert store.leases.acquire("shop", "first", 5_000) == fence


def test_a_released_lease_can_be_taken_at_once_with_a_higher_number(store: Store) -> None:
    first, second = Leases(store, "first"), Leases(store, "second")
    before = first.fence("shop")
    first.release()
    after = second.fence("shop")

    assert before is not None
    assert after is not None
    assert after.number > before.number


def test_a_lost_lease_is_requested_again(store: Store) -> None:
    leases = Leases(store, "first")
    held = leases.fence("shop")
    assert held is not None
    store.leases.release("shop", held)
    assert store.leases.acquire("shop", "second", 60_000) is not None

    assert leases.fence("shop") == held
    leases.lose("shop")
    assert leases.fence("shop") is None
