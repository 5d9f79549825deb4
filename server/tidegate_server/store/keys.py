"""The names of everything in the store.

All keys of a project share one hash tag, so one script can change several of them on a
Cluster too; a flag's variants belong to the project, which is why the tag is the
project's and not the environment's.
"""

from __future__ import annotations

from tidegate_server.domain.change import Address, Kind

SERVER = ""
"""The scope of what belongs to no project: projects themselves, tokens."""

_SERVER_TAG = "/server"


def _key(scope: str, *parts: str) -> str:
    return ":".join((f"tg:{{{scope or _SERVER_TAG}}}", *parts))


def documents(scope: str, kind: Kind, environment: str = "") -> str:
    """The hash of all documents of a kind, in an environment where the kind has one."""
    return _key(scope, kind.value, environment) if environment else _key(scope, kind.value)


def documents_at(scope: str, address: Address) -> str:
    """The hash in which a document is a field."""
    return documents(scope, address.kind, address.environment)


def deleted(scope: str) -> str:
    """The highest revision of all documents of a scope that were deleted, a number."""
    return _key(scope, "deleted")


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


def instance(project: str, environment: str, id: str) -> str:
    """One SDK instance: what it is, and the totals it last reported; a hash."""
    return _key(project, "instance", environment, id)


def instances(project: str, environment: str) -> str:
    """SDK instances by the time of their last report, a sorted set."""
    return _key(project, "instances", environment)


def evidence(project: str, environment: str, release: str) -> str:
    """A release's counters, a hash: ``step|stratum|arm|measure``, and ``generation``."""
    return _key(project, "evidence", environment, release)


def values(project: str, environment: str, release: str, step: int) -> str:
    """How values are distributed in one step of a release: ``stratum|arm|measure|bucket``."""
    return _key(project, "values", environment, release, str(step))


def failing(project: str, environment: str, release: str) -> str:
    """The users who failed in the release's present generation, a set."""
    return _key(project, "failing", environment, release)


def failing_filter(project: str, environment: str, release: str) -> str:
    """What remembers failing users beyond the set's room, a bitmap."""
    return _key(project, "failing-filter", environment, release)


def ledger(project: str, environment: str, release: str) -> str:
    """A release's ledger, a stream."""
    return _key(project, "ledger", environment, release)


def message_counter(project: str) -> str:
    """How many messages the project's webhooks were sent ever, a counter."""
    return _key(project, "messages")


def queue(project: str, webhook: str) -> str:
    """Messages that wait for a webhook by when they are due, a sorted set."""
    return _key(project, "queue", webhook)


def deliveries(project: str, webhook: str) -> str:
    """A webhook's messages, waiting and settled, a hash by their ids."""
    return _key(project, "deliveries", webhook)


def of_webhook(project: str, webhook: str) -> tuple[str, ...]:
    """Everything that is kept for a webhook beside its document."""
    return (queue(project, webhook), deliveries(project, webhook), settled(project, webhook))


def settled(project: str, webhook: str) -> str:
    """The ids of a webhook's settled messages, the latest first, a list."""
    return _key(project, "settled", webhook)


def hook_calls(project: str, hook: str) -> str:
    """How often a hook was called in the present span of time, a counter that expires."""
    return _key(project, "hook-calls", hook)


def heard_alerts(project: str, hook: str) -> str:
    """The alerts that a hook has acted on by when it did, a sorted set."""
    return _key(project, "heard", hook)


def audit(scope: str) -> str:
    """The audit log of a project, or of the server; a stream."""
    return _key(scope, "audit")


def lease(scope: str) -> str:
    """The policy job's lease, a hash."""
    return _key(scope, "lease")


def value(name: str) -> str:
    """A single value of the server, such as its key's fingerprint."""
    return _key(SERVER, "value", name)
