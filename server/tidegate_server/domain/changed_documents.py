"""What a change did to each document, field by field, as the audit log keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tidegate_server.domain.change import Address, ChangedDocument
from tidegate_server.domain.json_differences import Absent, Difference, Json, differences

MAX_CHANGES = 100
"""How many changes of one document an entry keeps; it counts the others."""

MAX_VALUE = 1_000
"""How long a value may be, in characters of JSON; of a longer one the entry keeps the beginning."""

BEGINNING = 200
"""How many characters the beginning has."""


def changed_document(
    address: Address, before: Json | Absent, after: Json | Absent, revision: int
) -> ChangedDocument:
    """Return how a document changed.

    A document that was created or deleted has one change for each field that is not empty.

    Args:
        address: where the document is.
        before, after: the document as the API shows it, without secrets; ``ABSENT``: there is none.
        revision: the document's revision before the change; 0: it did not exist.
    """
    if isinstance(before, Absent) or isinstance(after, Absent):
        found = differences(_filled_fields(before), _filled_fields(after))
    else:
        found = differences(before, after)
    return ChangedDocument(
        kind=address.kind,
        key=address.key,
        environment=address.environment,
        revision_before=revision,
        changes=tuple(_kept(found[:MAX_CHANGES])),
        changes_left_out=max(0, len(found) - MAX_CHANGES),
    )


def _filled_fields(document: Json | Absent) -> Json:
    if isinstance(document, Absent):
        return {}
    return {name: value for name, value in document.items() if _is_filled(value)}


def _is_filled(value: Json) -> bool:
    return bool(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def _kept(found: Sequence[Difference]) -> Iterator[dict[str, Json]]:
    for each in found:
        kept: dict[str, Json] = {"pointer": each.pointer, "field": each.field}
        shortened: list[str] = []
        for name, value in (("before", each.before), ("after", each.after)):
            if isinstance(value, Absent):
                continue
            text = json.dumps(value, ensure_ascii=False)
            if len(text) > MAX_VALUE:
                shortened.append(name)
                value = f"{text[:BEGINNING]}…"
            kept[name] = value
        if shortened:
            kept["shortened"] = shortened
        yield kept
