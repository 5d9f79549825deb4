"""Parses JSON documents into the values of ``tidegate.model``.

A known field of the wrong type is an error that names its JSON pointer. An unknown field is an
error in a condition, since ignoring it would serve the wrong people. Elsewhere it is ignored,
so that an older SDK works with a newer server.

A large snapshot is parsed while the application works. So each flag is decoded by itself, in C,
and a caller can let other threads run in between. Most flags are plain (``_PlainFlag``): C checks
their conditions, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from tidegate.errors import InvalidCondition, WireError
from tidegate.evaluation import operators
from tidegate.evaluation.old_notations import in_present_notation
from tidegate.flag_documents import FlagDocuments
from tidegate.model import (
    SCHEMA_VERSION,
    All,
    AnyOf,
    Comparison,
    Condition,
    Flag,
    InKeySet,
    InSegment,
    NoneOf,
    Rule,
    Segment,
    Snapshot,
    Update,
    Value,
)
from tidegate.runtime.decoders import new_decoder
from tidegate.runtime.late_imports import load
from tidegate.wire_errors import BadCondition, decoding_error, error_below, escape_pointer

T = TypeVar("T")

MAX_DEPTH = 32
"""How many levels deep conditions may nest."""

DIGEST_DIGITS = 64
"""The length of a key set's digest: a SHA-256 in hexadecimal digits."""

SLICE_BYTES = 32 * 1024
"""How much of a snapshot is parsed without a pause: half a millisecond's work."""


class _SnapshotParts(msgspec.Struct, frozen=True):
    schema: int
    project: str
    environment: str
    version: int
    flags: dict[str, msgspec.Raw]
    segments: dict[str, msgspec.Raw]
    incarnation: str = ""


class _UpdateParts(msgspec.Struct, frozen=True):
    version: int
    flags: dict[str, msgspec.Raw]
    segments: dict[str, msgspec.Raw]


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema: int


class _TextComparison(
    msgspec.Struct, frozen=True, tag_field="operator", forbid_unknown_fields=True
):
    attribute: Annotated[str, msgspec.Meta(min_length=1)]


class _Equals(_TextComparison, frozen=True, tag="equals"):
    value: str


class _In(_TextComparison, frozen=True, tag="in"):
    value: tuple[str, ...]


_PlainCondition: TypeAlias = _Equals | _In


class _PlainRule(Rule, frozen=True):
    when: _PlainCondition  # type: ignore[assignment] # only what is decoded matters


class _PlainFlag(Flag, frozen=True):
    """A flag whose rules only compare attributes with texts, to check it and to index it.

    It takes half the time of a flag, each of whose conditions is a call of Python.
    """

    rules: tuple[_PlainRule, ...] = ()


def parse_snapshot(
    document: object,
    broken: dict[str, WireError] | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Snapshot:
    """Parse a snapshot.

    Args:
        document: JSON, as text, as bytes or decoded.
        broken: if given, a flag or segment that cannot be read is left out of the snapshot
            and its error is added here under ``flags/KEY`` or ``segments/KEY``.
        pause: called after each ``SLICE_BYTES``.

    Raises:
        WireError: it is not a snapshot, or it has a newer schema.
    """
    try:
        parts = _decode_parts(_SnapshotParts, document)
    except WireError:
        _refuse_newer(_decode_parts(_SchemaOnly, document).schema)
        raise
    _refuse_newer(parts.schema)
    flags = FlagDocuments(_decode_flag)
    for key, flag_text in _each(parts.flags, pause):
        plain = _plain_flag(flag_text)
        flag = plain or _located("flags", key, flag_text, _decode_flag, broken)
        if flag is not None:
            flags.put(key, flag_text, flag, compares_only=plain is not None)
    segments = {}
    for key, segment_text in _each(parts.segments, pause):
        segment = _located("segments", key, segment_text, _decode_segment, broken)
        if segment is not None:
            segments[key] = segment
    return Snapshot(
        project=parts.project,
        environment=parts.environment,
        version=parts.version,
        flags=flags,
        segments=segments,
        schema=parts.schema,
        incarnation=parts.incarnation,
    )


def parse_update(document: object, broken: dict[str, WireError] | None = None) -> Update:
    """Parse an update; ``document`` and ``broken`` are as in ``parse_snapshot``.

    Raises:
        WireError: it is not an update.
    """
    parts = _decode_parts(_UpdateParts, document)
    flags = _changes("flags", parts.flags, _decode_flag, broken)
    segments = _changes("segments", parts.segments, _decode_segment, broken)
    return Update(parts.version, flags, segments)


def parse_flag(document: object) -> Flag:
    """Parse a flag; ``document`` is as in ``parse_snapshot``.

    Raises:
        WireError: it is not a flag.
    """
    return _decode_flag(_json_text(document))


def flag_documents(flags: Mapping[str, Flag]) -> FlagDocuments:
    """Return flags as documents."""
    return FlagDocuments(_decode_flag).changed(flags)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot as JSON, in UTF-8."""
    flags: Any = snapshot.flags
    if isinstance(flags, FlagDocuments):
        flags = {key: msgspec.Raw(text) for key, text in flags.texts.items()}
    parts = msgspec.structs.asdict(snapshot)
    return msgspec.json.encode({**parts, "flags": flags})


def parse_stored_condition(document: object) -> Condition:
    """Parse a condition that an earlier version may have stored; else as ``parse_condition``."""
    return parse_condition(document, stored=True)


def parse_condition(document: object, depth: int = 0, *, stored: bool = False) -> Condition:
    """Parse a condition and check its operators and values.

    Raises:
        WireError: it is not exactly one of the six forms, has an unknown field or operator
            or a value that does not fit the operator, or nests deeper than ``MAX_DEPTH``.
    """
    fields = _mapping(document)
    if depth > MAX_DEPTH:
        raise WireError("", f"conditions nest deeper than {MAX_DEPTH}; use a segment")
    if "attribute" in fields and _COMPARED.issuperset(fields):
        return _parse_comparison(fields, stored)
    if "key_set" in fields:
        return _parse_key_set(fields)
    forms = [form for form in _FORMS if form in fields]
    if len(forms) != 1:
        raise WireError("", f"give exactly one of {', '.join(_FORMS)}")
    form = forms[0]
    allowed = _COMPARED if form == "attribute" else (form,)
    for name in fields:
        if name not in allowed:
            raise WireError(f"/{escape_pointer(name)}", f"unknown field next to {form}; remove it")
    if form == "segment":
        return InSegment(_text(fields, "segment"))
    parts = _list(fields, form, lambda part: parse_condition(part, depth + 1, stored=stored))
    if form == "all":
        return All(parts)
    return AnyOf(parts) if form == "any" else NoneOf(parts)


def to_wire(value: Any) -> Any:
    """Return any value of ``tidegate.model`` as JSON."""
    if isinstance(value, Value):
        return {name: to_wire(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_wire(item) for item in value]
    return value


_FORMS = ("attribute", "segment", "all", "any", "none")
_COMPARED = frozenset({"attribute", "operator", "value"})
_HEXADECIMAL = frozenset("0123456789abcdef")
_REMOVED = b"null"
_NOT_EITHER = "give either a variant or a split"


def _parse_comparison(fields: Mapping[str, Any], stored: bool) -> Comparison:
    attribute, operator, value = (
        fields.get("attribute"),
        fields.get("operator"),
        fields.get("value"),
    )
    if operator == "equals" and isinstance(value, str) and isinstance(attribute, str) and attribute:
        # By far the most frequent comparison. Many flags compare the same attributes.
        return Comparison(sys.intern(attribute), "equals", value)
    attribute = sys.intern(_text(fields, "attribute"))
    if not attribute:
        raise WireError("/attribute", "must not be empty")
    operator = _text(fields, "operator")
    if operator not in operators.OPERATORS:
        known = ", ".join(operators.OPERATORS)
        message = f"there is no operator {operator!r}; use one of: {known}"
        raise WireError("/operator", message, operator)
    try:
        operators.compile(operator, value)
    except InvalidCondition as error:
        present = in_present_notation(operator, value) if stored else value
        if present != value:
            return _parse_comparison({**fields, "value": present}, stored=False)
        raise WireError("/value", f"{operator}: {error}") from None
    return Comparison(attribute, operator, tuple(value) if isinstance(value, list) else value)


def _parse_key_set(fields: Mapping[str, Any]) -> InKeySet:
    for name in fields:
        if name not in ("key_set", "salt", "count"):
            raise WireError(f"/{escape_pointer(name)}", "unknown field next to key_set; remove it")
    count = fields.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise WireError("/count", "must be a whole number of at least 1")
    digest = _text(fields, "key_set")
    # It becomes the name of a file.
    if len(digest) != DIGEST_DIGITS or not _HEXADECIMAL.issuperset(digest):
        raise WireError("/key_set", f"must be {DIGEST_DIGITS} lower-case hexadecimal digits")
    return InKeySet(digest, _text(fields, "salt"), count)


def _mapping(document: object) -> Mapping[str, Any]:
    # JSON objects are dicts, and that check is much faster.
    if not isinstance(document, dict) and not isinstance(document, Mapping):
        raise WireError("", "must be an object")
    return document


def _list(fields: Mapping[str, Any], name: str, parse: Callable[[object], T]) -> tuple[T, ...]:
    documents = fields.get(name, ())
    if not isinstance(documents, (list, tuple)):
        raise WireError(f"/{name}", "must be a list")
    if not documents:
        return ()
    parsed: list[T] = []
    try:
        for document in documents:
            parsed.append(parse(document))
    except WireError as error:
        raise error_below(f"/{name}/{len(parsed)}", error) from None
    return tuple(parsed)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise WireError(f"/{name}", "must be a string" if name in fields else "is missing")
    return value


# The parts of a snapshot, decoded in C


def _decode_parts(type_: type[T], document: object) -> T:
    """Decode a document up to its flags and segments, which stay JSON."""
    try:
        return _decode(type_, _json_text(document))
    except WireError:
        decoded = _decoded_otherwise(document)
        if decoded is None:
            raise
    # Half a surrogate pair, which C does not read: only the part that contains it is broken.
    parts = _decode(type_, _json_text({**decoded, "flags": {}, "segments": {}}))
    for kind in ("flags", "segments"):
        getattr(parts, kind, {}).update(
            {
                key: msgspec.Raw(load("json").dumps(part).encode())
                for key, part in decoded[kind].items()
            }
        )
    return parts


def _decoded_otherwise(document: object) -> Mapping[str, Any] | None:
    """Return a document that only the standard library can read; None for any other."""
    json = load("json")
    try:
        text = document if isinstance(document, bytes | str) else json.dumps(document)
        decoded: object = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    if isinstance(decoded, dict):
        kinds = [decoded.get(kind) for kind in ("flags", "segments")]
        if all(isinstance(parts, dict) for parts in kinds) and not _is_unicode(decoded):
            return decoded
    return None


def _is_unicode(decoded: object) -> bool:
    try:
        load("json").dumps(decoded, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_text(document: object) -> bytes | str:
    if isinstance(document, bytes | str):
        return document
    try:
        return msgspec.json.encode(document, enc_hook=_as_dict)
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError("", f"must be JSON: {error}") from None


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


@cache
def _decoder(type_: type) -> msgspec.json.Decoder[Any]:
    return new_decoder(type_, _decode_condition)


def _decode(type_: type[T], text: bytes | str) -> T:
    try:
        decoded: T = _decoder(type_).decode(text)  # type: ignore[arg-type] # a bug of mypy
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        # A new error: the traceback of this one would keep the whole document in memory.
        raise decoding_error(error, text) from None
    return decoded


def _decode_condition(type_: type, value: object) -> Condition:
    assert type_ is Condition
    try:
        return parse_condition(value, stored=True)
    except WireError as error:
        raise BadCondition(error) from None


def _plain_flag(text: bytes) -> Flag | None:
    """Return a flag; None if it is not plain, or cannot be read."""
    try:
        flag: Flag = _decoder(_PlainFlag).decode(text)
        _check_serves(flag)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, WireError):
        return None
    return flag


def _decode_flag(text: bytes | str) -> Flag:
    flag = _decode(Flag, text)
    _check_serves(flag)
    return flag


def _decode_segment(text: bytes | str) -> Segment:
    return _decode(Segment, text)


def _check_serves(flag: Flag) -> None:
    # Without a call for each: a snapshot has thousands.
    serve = flag.default
    if (serve.variant is None) == (not serve.split):
        raise WireError("/default", _NOT_EITHER)
    for index, rule in enumerate(flag.rules):
        serve = rule.serve
        if (serve.variant is None) == (not serve.split):
            raise WireError(f"/rules/{index}/serve", _NOT_EITHER)


def _refuse_newer(schema: int) -> None:
    if schema > SCHEMA_VERSION:
        raise WireError("/schema", f"{schema} is newer than {SCHEMA_VERSION}: update the SDK")


def _changes(
    kind: str,
    parts: Mapping[str, msgspec.Raw],
    decode: Callable[[bytes], T],
    broken: dict[str, WireError] | None,
) -> dict[str, T | None]:
    """Return the changed parts of an update; None for one that is removed."""
    changes: dict[str, T | None] = {}
    for key, raw in parts.items():
        text = bytes(raw)
        if text == _REMOVED:
            changes[key] = None
        elif (part := _located(kind, key, text, decode, broken)) is not None:
            changes[key] = part
    return changes


def _each(
    parts: Mapping[str, msgspec.Raw], pause: Callable[[], None]
) -> Iterator[tuple[str, bytes]]:
    """Yield each part's key and JSON; call ``pause`` after each ``SLICE_BYTES``."""
    done = 0
    for key, raw in parts.items():
        text = bytes(raw)
        yield key, text
        done += len(text)
        if done >= SLICE_BYTES:
            done = 0
            pause()


def _located(
    kind: str,
    key: str,
    text: bytes,
    decode: Callable[[bytes], T],
    broken: dict[str, WireError] | None,
) -> T | None:
    """Return a decoded part; None if it cannot be read and ``broken`` takes its error."""
    try:
        return decode(text)
    except WireError as error:
        failure = error_below(f"/{kind}/{escape_pointer(key)}", error)
    if broken is None:
        raise failure
    broken[f"{kind}/{key}"] = failure
    return None
