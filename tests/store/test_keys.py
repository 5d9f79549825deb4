from __future__ import annotations

from tidegate_server.domain.change import Address
from tidegate_server.domain.evidence import Source
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import keys


def tag(key: str) -> str:
    """Return the hash tag, by which a Cluster chooses the node."""
    return key[key.index("{") + 1 : key.index("}")]


def all_keys_of(project: str) -> list[str]:
    place = (project, "production")
    release = (*place, "rel_1")
    return [
        *(keys.documents(project, kind) for kind in Kind),
        *(keys.documents(project, kind, "production") for kind in Kind),
        keys.deleted_revisions(project),
        keys.deleted_floor(project),
        keys.version(*place),
        keys.snapshot(*place),
        keys.changes(*place),
        keys.kills(*place),
        keys.receipts(*place),
        *(keys.instance(*place, "i1", source) for source in Source),
        *(keys.instances(*place, source) for source in Source),
        *(keys.instance_descriptions(*place, source) for source in Source),
        *(keys.instance_sizes(*place, source) for source in Source),
        *(keys.intake(*place, source) for source in Source),
        *(keys.evidence(*release, source) for source in Source),
        *(keys.values(*release, 1, source) for source in Source),
        *(keys.failing(*release, source) for source in Source),
        *(keys.failing_filter(*release, source) for source in Source),
        keys.ledger(*release),
        keys.code_branches(project),
        *(name(project, "b") for name in (keys.code_uses, keys.code_counts, keys.code_gone)),
        keys.audit(project),
        keys.audit_chain(project),
        keys.audit_of(project, "checkout"),
        keys.audit_hours(project, "flag"),
        *(keys.versions(project, Address(kind, "x")) for kind in Kind),
        *(keys.versions(project, Address(kind, "x", "production")) for kind in Kind),
        keys.lease(project),
    ]


def test_all_keys_of_a_project_share_one_hash_tag() -> None:
    assert {tag(key) for key in all_keys_of("shop")} == {"shop"}


def test_the_servers_own_keys_share_a_tag_that_no_project_can_have() -> None:
    server = [*all_keys_of(keys.SERVER), keys.value("fingerprint")]
    (own,) = {tag(key) for key in server}
    assert own not in ("", *map(tag, all_keys_of("server")))
    assert "/" in own  # which a project's key cannot hold


def test_all_keys_are_different() -> None:
    named = [key for scope in ("shop", "blog", keys.SERVER) for key in all_keys_of(scope)]
    named += [keys.version("shop", "staging"), keys.evidence("shop", "staging", "rel_1")]
    assert len(set(named)) == len(named)


def test_a_document_is_in_the_hash_of_its_kind_and_environment() -> None:
    address = Address(Kind.TARGETING, "checkout", "production")
    assert keys.documents_at("shop", address) == keys.documents(
        "shop", Kind.TARGETING, "production"
    )
    assert keys.documents_at("shop", address) != keys.documents("shop", Kind.TARGETING, "staging")
