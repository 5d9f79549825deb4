"""The names of all keys in the store.

All keys of a project share one hash tag, so that one script could change several of them on a
Cluster. The tag names the project and not the environment, because a flag's variants belong to
the project.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.evidence import Source

SERVER = ""
"""The scope of documents outside of projects: the projects themselves, and tokens."""

_SERVER_TAG = "/server"


def _key(scope: str, *parts: str) -> str:
    return ":".join((f"tg:{{{scope or _SERVER_TAG}}}", *parts))


def _of_source(name: str, source: Source) -> str:
    """Return the name of a key that servers and clients have separately."""
    return name if source is Source.SERVER else f"{source.value}-{name}"


def documents(scope: str, kind: Kind, environment: str = "") -> str:
    """The hash of all documents of a kind; of one environment, if the kind belongs to one."""
    return _key(scope, kind.value, environment) if environment else _key(scope, kind.value)


def documents_at(scope: str, address: Address) -> str:
    """The hash in which a document is a field."""
    return documents(scope, address.kind, address.environment)


def token_uses() -> str:
    """The last use of each token, a hash: id to ``at_ms address``."""
    return _key(SERVER, "token-uses")


def deleted_revisions(scope: str) -> str:
    """The last revision of each deleted document of a scope, a hash: about 100 bytes for each."""
    return _key(scope, "deleted-revisions")


def deleted_floor(scope: str) -> str:
    """The highest revision of the documents that earlier versions deleted, a number."""
    return _key(scope, "deleted")


def versions(scope: str, address: Address) -> str:
    """The versions of a document, the latest first, a list: ``revision`` and MessagePack."""
    place = (address.environment, address.key) if address.environment else (address.key,)
    return _key(scope, "versions", address.kind.value, *place)


def version(project: str, environment: str) -> str:
    """The environment's version, a counter."""
    return _key(project, "version", environment)


def snapshot(project: str, environment: str) -> str:
    """The environment's flags and segments in their wire form, a hash."""
    return _key(project, "snapshot", environment)


def changes(project: str, environment: str) -> str:
    """The environment's change stream; the entry of version V is ``V-0``."""
    return _key(project, "changes", environment)


def kills(project: str, environment: str) -> str:
    """Kills in force, a hash: flag to ``version at_ms``."""
    return _key(project, "kills", environment)


def receipts(project: str, environment: str) -> str:
    """Kill receipts, a hash: ``flag|instance`` to elapsed milliseconds."""
    return _key(project, "receipts", environment)


def instance(project: str, environment: str, id: str, source: Source = Source.SERVER) -> str:
    """One SDK instance: its description and the totals it last reported; a hash.

    A server that evaluates flags for clients reports their counts as another instance.
    """
    return _key(project, _of_source("instance", source), environment, id)


def instances(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """SDK instances by the time of their last report, a sorted set."""
    return _key(project, _of_source("instances", source), environment)


def instance_sizes(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """How many totals each SDK instance has, a hash by id."""
    return _key(project, _of_source("instance-sizes", source), environment)


def intake(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """What was reported to an environment, a hash.

    ``ignored`` entries of reports, ``fields`` (the sum of the sizes of its instances), and how
    many instances were ``new`` in a ``minute``.
    """
    return _key(project, _of_source("intake", source), environment)


def evidence(project: str, environment: str, release: str, source: Source = Source.SERVER) -> str:
    """A release's counters, a hash: ``step|stratum|arm|measure``, and ``generation``."""
    return _key(project, _of_source("evidence", source), environment, release)


def values(
    project: str, environment: str, release: str, step: int, source: Source = Source.SERVER
) -> str:
    """The histograms of one step of a release, a hash: ``stratum|arm|measure|bucket``."""
    return _key(project, _of_source("values", source), environment, release, str(step))


def samples(
    project: str, environment: str, release: str, step: int, source: Source = Source.SERVER
) -> str:
    """The samples of users in one step of a release, a hash.

    Of each stratum: ``stratum|bits`` (how many zero bits the hashes of its users end in),
    ``stratum|size``, and a field ``stratum|hash`` for each user.
    """
    return _key(project, _of_source("samples", source), environment, release, str(step))


def failing(project: str, environment: str, release: str, source: Source = Source.SERVER) -> str:
    """The failing users of the release's current generation, a set."""
    return _key(project, _of_source("failing", source), environment, release)


def failing_filter(
    project: str, environment: str, release: str, source: Source = Source.SERVER
) -> str:
    """A Bloom filter of the failing users that the set has no room for, a bitmap."""
    return _key(project, _of_source("failing-filter", source), environment, release)


def overruns(project: str, environment: str) -> str:
    """The releases whose last evaluation took too long, a hash: id to seconds."""
    return _key(project, "overruns", environment)


def release_evidence(
    project: str, environment: str, release: str, steps: Iterable[int]
) -> tuple[str, ...]:
    """Return the keys of a release's evidence, with the values and samples of these steps."""
    place = (project, environment, release)
    return tuple(
        name
        for source in Source
        for name in (
            evidence(*place, source),
            failing(*place, source),
            failing_filter(*place, source),
            *step_evidence(*place, steps, source),
        )
    )


def step_evidence(
    project: str, environment: str, release: str, steps: Iterable[int], source: Source
) -> tuple[str, ...]:
    """Return the keys of what is deleted when a release leaves these steps: values and samples."""
    place = (project, environment, release)
    return tuple(name(*place, step, source) for step in steps for name in (values, samples))


def ledger(project: str, environment: str, release: str) -> str:
    """A release's ledger, a stream."""
    return _key(project, "ledger", environment, release)


def series(project: str, environment: str, release: str) -> str:
    """The readings of a release over time, a hash by slot."""
    return _key(project, "series", environment, release)


def message_counter(project: str) -> str:
    """How many messages the project's webhooks were ever sent, a counter."""
    return _key(project, "messages")


def queue(project: str, webhook: str) -> str:
    """The messages that wait for a webhook, a sorted set by when they are due."""
    return _key(project, "queue", webhook)


def deliveries(project: str, webhook: str) -> str:
    """A webhook's messages, waiting and settled, a hash by id."""
    return _key(project, "deliveries", webhook)


def webhook_keys(project: str, webhook: str) -> tuple[str, ...]:
    """Return the keys of everything stored for a webhook except its document."""
    return (queue(project, webhook), deliveries(project, webhook), settled(project, webhook))


def settled(project: str, webhook: str) -> str:
    """The ids of a webhook's settled messages, the latest first, a list."""
    return _key(project, "settled", webhook)


def hook_calls(project: str, hook: str) -> str:
    """How often a hook was called in the current period, a counter that expires."""
    return _key(project, "hook-calls", hook)


def heard_alerts(project: str, hook: str) -> str:
    """The alerts that a hook has acted on, a sorted set by time."""
    return _key(project, "heard", hook)


def audit(scope: str) -> str:
    """The audit log of a project, or of the server; a stream."""
    return _key(scope, "audit")


def audit_chain(scope: str) -> str:
    """The ends of an audit log's hash chain, a hash.

    ``number`` and ``hash`` of the latest entry; ``removed_number`` and ``removed_hash`` of the
    last one that was removed because the log was full.
    """
    return _key(scope, "audit-chain")


def lease(scope: str) -> str:
    """The policy job's lease, a hash."""
    return _key(scope, "lease")


def value(name: str) -> str:
    """A single value of the server, such as its key's fingerprint."""
    return _key(SERVER, "value", name)
