"""The names of all keys in the store.

All keys of a project share one hash tag, so that one script could change several of them on a
Cluster. The tag names the project and not the environment, because a flag's variants belong to
the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tidegate_server.domain.change import Address
from tidegate_server.domain.evidence import Source
from tidegate_server.domain.kinds import Kind

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


def tokens_of_deleted_places() -> str:
    """Which deleted environment or project a token was of, a hash: id to words."""
    return _key(SERVER, "tokens-of-deleted-places")


EVERYTHING = "tg:{*"
"""A pattern of the names of all keys."""


def all_of_scope(scope: str) -> str:
    """A pattern of the names of all keys of a project, or of the server."""
    return _key(scope, "*")


def scope_of(name: str) -> str:
    """Return the project that a key belongs to; empty: the server."""
    tag = name.partition("{")[2].partition("}")[0]
    return "" if tag == _SERVER_TAG else tag


def parts_of(project: str, name: str) -> list[str]:
    """Return the parts of the name of a key of a project: what it is, then of what."""
    return name.removeprefix(f"tg:{{{project}}}:").split(":")


def stays_after_deletion(project: str, name: str) -> bool:
    """Return whether a key of a project outlives the project."""
    return parts_of(project, name)[0] in STAYING


def is_of_environment(project: str, name: str, environment: str) -> bool:
    """Return whether a key of a project belongs to one of its environments."""
    what, *of = parts_of(project, name)
    if what == "versions":
        kind = of[0]
        own = kind == Kind.ENVIRONMENT and of[1:] == [environment]
        return own or (len(of) == 3 and of[1] == environment)
    return what not in OF_PROJECTS and bool(of) and of[0] == environment


STAYING = frozenset(
    {
        *(
            "audit",
            "audit-chain",
            "audit-of",
            "audit-hours",
            "activity",
            "deletion",
            "deleted-revisions",
            "deleted",
        ),
        *("version", "incarnation"),
    }
)
"""The keys that stay when an environment or a project is deleted."""

OF_PROJECTS = frozenset(
    {
        *("queue", "deliveries", "settled", "hook-calls", "heard", "alerts"),
        *("key-set", "key-set-draft", "key-set-step", "retired-key-sets"),
        *("code-uses", "code-counts", "code-gone", "audit-of", "audit-hours"),
    }
)
"""The keys whose second part is no environment; it may be the same word as one."""


def refused_requests() -> str:
    """The latest refused requests of applications, a sorted set by time."""
    return _key(SERVER, "refused-requests")


def token_uses() -> str:
    """The last use of each token, a hash: id to ``at_ms address``."""
    return _key(SERVER, "token-uses")


def session(digest: str) -> str:
    """A session, in JSON; it expires by itself."""
    return _key(SERVER, "session", digest)


def sessions_of(person: str) -> str:
    """The digests of a person's sessions, a set; some may have expired."""
    return _key(SERVER, "sessions", person)


def sessions_at(provider: str, reference: str) -> str:
    """The digests of the sessions that a provider calls by one name, a set that expires."""
    name = hashlib.sha256(reference.encode()).hexdigest()[:32]
    return _key(SERVER, "sessions-at", provider, name)


def id_token(digest: str) -> str:
    """The sealed ID token of a session; it expires by itself."""
    return _key(SERVER, "id-token", digest)


def sessions_ended() -> str:
    """How often sessions were ended, a counter."""
    return _key(SERVER, "sessions-ended")


def used_once(kind: str, name: str) -> str:
    """That something that counts once was used; it expires by itself."""
    return _key(SERVER, "used-once", kind, name)


def attempts(kind: str, name: str) -> str:
    """How often somebody tried to prove who they are, a counter that expires."""
    return _key(SERVER, "attempts", kind, name)


def known_addresses(person: str) -> str:
    """The addresses from which a person has signed in, a sorted set by time."""
    return _key(SERVER, "known-addresses", person)


def device_sign_in(digest: str) -> str:
    """A program that waits to be signed in, in JSON, by the digest of its secret; it expires."""
    return _key(SERVER, "device-sign-in", digest)


def device_code(code_digest: str) -> str:
    """The digest of the program that shows a code, by the digest of the code; it expires."""
    return _key(SERVER, "device-code", code_digest)


def device_decision(digest: str) -> str:
    """What somebody decided about a waiting program, in JSON; it expires."""
    return _key(SERVER, "device-decision", digest)


def device_question(digest: str) -> str:
    """Whether a waiting program has asked just before; it expires."""
    return _key(SERVER, "device-question", digest)


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


def incarnation(project: str) -> str:
    """What tells versions of a restored store from those before, a random text.

    It is made with a project's first version, and again when a backup is restored, or a failover
    has lost versions.
    """
    return _key(project, "incarnation")


def snapshot(project: str, environment: str) -> str:
    """The environment's flags and segments in their wire form, a hash."""
    return _key(project, "snapshot", environment)


def changes(project: str, environment: str) -> str:
    """The environment's change stream; the entry of version V is ``V-0``."""
    return _key(project, "changes", environment)


def key_set(project: str, digest: str) -> str:
    """A key set, a hash: its chunks by number, in three hexadecimal digits, and its ``size``."""
    return _key(project, "key-set", digest)


def key_set_draft(project: str, draft: str) -> str:
    """A key set that is being written, like ``key_set``. It expires."""
    return _key(project, "key-set-draft", draft)


def key_set_step(project: str, digest: str) -> str:
    """The changes that lead to a key set: the digest of the one before, and a step; it expires."""
    return _key(project, "key-set-step", digest)


def retired_key_sets(project: str, segment: str, list: str) -> str:
    """The key sets that a list of a segment had before, the latest first, a list of their keys."""
    return _key(project, "retired-key-sets", segment, list)


def kills(project: str, environment: str) -> str:
    """Kills in force, a hash: flag to ``version at_ms``."""
    return _key(project, "kills", environment)


def receipts(project: str, environment: str) -> str:
    """Kill receipts, a hash: ``flag|instance`` to elapsed milliseconds."""
    return _key(project, "receipts", environment)


def version_receipt(project: str, environment: str, version: int) -> str:
    """The receipt of one version, a hash.

    ``at``, ``actor`` and ``action`` of its commit; ``confirmed`` (how many instances have reported
    that they apply it), ``slowest`` (in milliseconds), and in ``b<n>`` how many took about
    ``RATIO ** n`` milliseconds.
    """
    return f"{receipts(project, environment)}:{version}"


def seen_users(project: str, environment: str) -> tuple[str, str, str]:
    """The sample of recently seen users.

    When each was last seen, a sorted set by name; their attributes, a hash; the limits of the
    sample, a hash (``store/seen_users.lua``).
    """
    parts = ("seen-times", "seen-attributes", "seen-limits")
    times, attributes, limits = (_key(project, part, environment) for part in parts)
    return times, attributes, limits


def instance_notices(project: str, environment: str) -> str:
    """What instances do that pages show: a stream of ``instance``, ``version`` and ``what``."""
    return _key(project, "instance-notices", environment)


def instance(project: str, environment: str, id: str, source: Source = Source.SERVER) -> str:
    """One SDK instance: the totals that it last reported, and of which report; a hash.

    A server that evaluates flags for clients reports their counts as another instance.
    """
    return _key(project, _of_source("instance", source), environment, id)


def instances(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """SDK instances by the time of their last report, a sorted set."""
    return _key(project, _of_source("instances", source), environment)


def instance_descriptions(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """What SDK instances last said of themselves, a hash by id: see ``describe_instance``."""
    return _key(project, _of_source("instance-descriptions", source), environment)


def instance_sizes(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """How many totals each SDK instance has, a hash by id."""
    return _key(project, _of_source("instance-sizes", source), environment)


def intake(project: str, environment: str, source: Source = Source.SERVER) -> str:
    """What was reported to an environment, a hash.

    ``ignored`` entries of reports, ``fields`` (the sum of the sizes of its instances), and how
    many instances were ``new`` in a ``minute``.
    """
    return _key(project, _of_source("intake", source), environment)


def instance_evaluations(
    project: str, environment: str, id: str, source: Source = Source.SERVER
) -> str:
    """The evaluations that an SDK instance reported in all, a hash: ``flag|variant`` to a number.

    The variant is empty where the application got its own default.
    """
    return _key(project, _of_source("instance-evaluations", source), environment, id)


def evaluated(project: str, environment: str) -> str:
    """When flags were last evaluated, a hash: ``flag`` and ``flag|variant`` to milliseconds."""
    return _key(project, "evaluated", environment)


def askers(project: str, environment: str) -> str:
    """Who last asked for flags and when, a hash: ``flag|application`` to milliseconds."""
    return _key(project, "askers", environment)


def unknown_flags(project: str, environment: str) -> str:
    """The flags that do not exist and were asked for, by time, a sorted set."""
    return _key(project, "unknown-flags", environment)


def unknown_askers(project: str, environment: str) -> str:
    """Who last asked for flags that do not exist, a hash: flag to application."""
    return _key(project, "unknown-askers", environment)


def bulk_evaluations(project: str, environment: str) -> str:
    """When all flags were last evaluated at once, a hash: source to milliseconds."""
    return _key(project, "bulk-evaluations", environment)


def evaluation_series(project: str, environment: str) -> str:
    """The beginning of the keys of evaluations over time: ``:step:number`` follows.

    Each is a hash: ``flag|variant`` to a number, and ``flag|~`` if that is an estimate.
    """
    return _key(project, "evaluations", environment)


def evaluations_at(project: str, environment: str, step: str, number: int) -> str:
    """The evaluations in one step of time."""
    return f"{evaluation_series(project, environment)}:{step}:{number}"


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


def code_branches(project: str) -> str:
    """The branches whose code references are kept, a hash: id to JSON."""
    return _key(project, "code-branches")


def code_uses(project: str, id: str) -> str:
    """Where one branch uses flags, a hash: flag to JSON."""
    return _key(project, "code-uses", id)


def code_counts(project: str, id: str) -> str:
    """How often one branch uses flags, a hash: flag to ``uses tests``."""
    return _key(project, "code-counts", id)


def code_gone(project: str, id: str) -> str:
    """Since when one branch no longer uses flags, a hash: flag to milliseconds."""
    return _key(project, "code-gone", id)


def audit(scope: str) -> str:
    """The audit log of a project, or of the server; a stream."""
    return _key(scope, "audit")


def audit_chain(scope: str) -> str:
    """The ends of an audit log's hash chain, a hash.

    ``number`` and ``hash`` of the latest entry; ``removed_number`` and ``removed_hash`` of the
    last one that was removed because the log was full; ``index_end`` and ``index_number``: the
    position and the number of the latest entry that the index has. Earlier versions, whose index
    had no kinds, kept these as ``indexed`` and ``indexed_number``.
    """
    return _key(scope, "audit-chain")


def audit_of(scope: str, name: str) -> str:
    """The entries of an audit log about a key, an id or an email, a sorted set of positions."""
    return _key(scope, "audit-of", name)


def audit_hours(scope: str, kind: str) -> str:
    """The hours with entries of an audit log about objects of a kind, a sorted set of numbers."""
    return _key(scope, "audit-hours", kind)


def activity(scope: str) -> str:
    """What happened to the documents and instances of a project, or of the server; a stream."""
    return _key(scope, "activity")


def lease(scope: str) -> str:
    """The policy job's lease, a hash."""
    return _key(scope, "lease")


def value(name: str) -> str:
    """A single value of the server, such as its key's fingerprint."""
    return _key(SERVER, "value", name)


def hook_alerts(project: str, hook: str) -> str:
    """The last alerts that a hook received and what they did, a list, the latest first."""
    return _key(project, "alerts", hook)
