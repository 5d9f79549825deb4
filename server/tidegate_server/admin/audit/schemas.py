"""JSON schemas of the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.fields import AnyJson, Instant, Length, Moment, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.audit_chain import Link
from tidegate_server.domain.audited_kinds import AUDITED_KINDS
from tidegate_server.store.logs import AuditEntry, Period
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest

LONGEST_FILTER = 300

ALSO_KEYS = ("flag", "email")
"""The details of an entry that say, besides its target, what it is about; ``audit_index.lua`` has
the same."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of an audit log to return; None: any.

    Attributes:
        period: when it happened.
        object: the kind of document, or what else an action is about: ``flag``, ``release``.
        key: the key of what was changed; the entries of a flag's releases have the flag's, too, and
            those of a person the email. With ``object``: of something of this kind.
        actor: who: the name in the log, or the name or the id of the token alone.
        action: what, as ``noun.verb``.
        environment: where.
        text: words of the actor, the key, the action or the reason, in any case.
    """

    period: Period
    object: str | None = None
    key: str | None = None
    actor: str | None = None
    action: str | None = None
    environment: str | None = None
    text: str | None = None

    def matches(self, entry: AuditEntry) -> bool:
        """Return whether an entry meets every condition but the period."""
        environments = {each["environment"] for each in entry.documents} - {""}
        return (
            any(
                self.object in (None, kind) and self.key in (None, key)
                for kind, key in _objects(entry)
            )
            and self.actor in (None, *_names(entry.actor))
            and self.action in (None, entry.action)
            and self.environment in (None, entry.environment, *environments)
            and (self.text is None or self.text.casefold() in _words(entry))
        )


def _words(entry: AuditEntry) -> str:
    """Return what people search an entry by, each part on its line."""
    parts = (entry.actor, entry.target, entry.details.get("flag", ""), entry.action, entry.reason)
    return "\n".join(map(str, parts)).casefold()


def _objects(entry: AuditEntry) -> Iterator[tuple[str, str]]:
    """Yield the kind and the key of everything that an entry is about."""
    noun = entry.action.partition(".")[0]
    yield noun, entry.target
    for name in ALSO_KEYS:
        if name in entry.details:
            yield noun, entry.details[name]
    for document in entry.documents:
        yield document["kind"], document["key"]


def _names(actor: str) -> set[str]:
    """Return what an actor may be called: ``ann (1f3)``, ``ann`` and ``1f3``.

    Of ``ann (ann@example.com) by token laptop (1f3)``, also what both are called.
    """
    names = {actor}
    for part in actor.split(" by token "):
        name, separator, id = part.removesuffix(")").rpartition(" (")
        names |= {part, name, id} if separator and part.endswith(")") else {part}
    return names


@dataclass(frozen=True, slots=True)
class AuditPageRequest:
    """A page of the entries that a filter lets through."""

    page: PageRequest
    filter: AuditFilter


def _filter_field(description: str) -> fields.String:
    return fields.String(
        load_default=None,
        validate=Length(min=1, max=LONGEST_FILTER),
        metadata={"description": description},
    )


class AuditExportQuery(Strict):
    """Which entries of the audit log to return."""

    object = _filter_field(
        "the kind of what changed: "
        + ", ".join(f"`{each}`" for each in AUDITED_KINDS)
        + ". `context` is a saved one, `deletion` the steps of an environment's or a project's, "
        "`configuration` an import of files, `store` a restore from a backup"
    )
    key = _filter_field(
        "the key or id of what changed; a flag's includes its releases, a person may be an email"
    )
    actor = _filter_field(
        "the whole name of the actor, or the name, the id or the email of a token or a person"
    )
    action = _filter_field("for example `flag.kill`")
    environment = _filter_field("the key of an environment")
    text = _filter_field("text in the actor, the key, the action or the reason, in any case")
    from_ms = Moment(
        data_key="from", load_default=None, metadata={"description": "from this time on"}
    )
    before_ms = Moment(
        data_key="to", load_default=None, metadata={"description": "before this time"}
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the filter."""
        return _audit_filter(data)


class AuditQuery(AuditExportQuery, PageQuery):
    """The query of a page of the audit log."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request for a page."""
        rest = dict(data)
        page = PageRequest(rest.pop("cursor"), rest.pop("limit"))
        return AuditPageRequest(page, _audit_filter(rest))


def _audit_filter(data: Mapping[str, Any]) -> AuditFilter:
    rest = dict(data)
    period = Period(rest.pop("from_ms"), rest.pop("before_ms"))
    if period.is_empty:
        raise ValidationError({"to": ["This must be later than from."]})
    return AuditFilter(period, **rest)


class ChangedDocumentSchema(Strict):
    """How a document changed."""

    kind = fields.String(required=True)
    key = fields.String(required=True)
    environment = fields.String(required=True)
    revision_before = StrictInteger(
        required=True, metadata={"description": "0: the document did not exist"}
    )
    changes = fields.List(
        AnyJson(metadata={"type": "object"}),
        required=True,
        metadata={
            "description": "for each field its `pointer`, its name in words (`field`), and its "
            "values `before` and `after`; one that did not exist is missing. `shortened` names "
            "long values: of those there is the beginning of their JSON, as a string"
        },
    )
    changes_left_out = StrictInteger(
        required=True, metadata={"description": "how many more fields changed"}
    )


class AuditEntryAnswer(Strict):
    """Who did what to what, when and why."""

    id = fields.String(required=True, metadata={"description": "its position in the log"})
    at = Instant(attribute="at_ms", required=True)
    actor = fields.String(required=True)
    action = fields.String(
        required=True, metadata={"description": "`noun.verb`, for example `flag.kill`"}
    )
    target = fields.String(required=True)
    environment = fields.String(required=True)
    reason = fields.String(required=True)
    details = AnyJson(required=True, metadata={"type": "object"})
    address = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "where the request came from; empty: no request made the change. null: "
            "an earlier version added the entry"
        },
    )
    documents = fields.List(
        fields.Nested(ChangedDocumentSchema),
        required=True,
        metadata={"description": "the documents that changed, field by field"},
    )
    number = StrictInteger(
        attribute="link.number",
        required=True,
        dump_default=None,
        allow_none=True,
        metadata={"description": "its number in the hash chain; null: an earlier version added it"},
    )
    hash = fields.String(
        attribute="link.hash",
        required=True,
        dump_default=None,
        allow_none=True,
        metadata={"description": "its hash in the hash chain, in hex"},
    )


class LinkSchema(Strict):
    """A place in the hash chain; the number 0 is before the first entry."""

    number = StrictInteger(required=True)
    hash = fields.String(required=True)


class AuditChainAnswer(Strict):
    """The ends of the hash chain."""

    head = fields.Nested(LinkSchema, required=True, metadata={"description": "of the latest entry"})
    anchor = fields.Nested(
        LinkSchema,
        required=True,
        metadata={"description": "of the last entry that was removed because the log was full"},
    )


class VerificationQuery(Strict):
    """The query of a verification."""

    known = fields.String(
        load_default=None,
        validate=validate.Regexp(
            r"[0-9]{1,15}:[0-9a-f]{64}\Z",
            error="Write the number, a colon and the hash, as an earlier verification showed them.",
        ),
        metadata={"description": "`NUMBER:HASH` that the log must still have; kept elsewhere"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the link; None: none is known."""
        if data["known"] is None:
            return None
        number, _separator, hash = data["known"].partition(":")
        return Link(int(number), hash)


class VerificationAnswer(Strict):
    """Whether the log is as it was written, as far as its own hash chain can tell."""

    chained = StrictInteger(
        required=True, metadata={"description": "how many entries the chain confirms"}
    )
    unchained = StrictInteger(
        required=True,
        metadata={"description": "how many entries of earlier versions have no hash"},
    )
    latest = fields.Nested(
        LinkSchema, required=True, metadata={"description": "of the last entry that is confirmed"}
    )
    broken = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "the id of the first entry that is wrong; empty: entries are missing at "
            "the end; null: none is wrong"
        },
    )
    problem = fields.String(required=True, metadata={"description": "what is wrong; else empty"})


AuditPage = page_schema("AuditPage", AuditEntryAnswer)
