"""For whom flags are evaluated: a typed context, a saved one, or a recently seen user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from tidegate.context import Context
from tidegate.model import Snapshot

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.evaluations.schemas import EvaluationRequest
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.seen_users import flag_for_seen_users, segment_for_seen_users
from tidegate_server.errors import FieldProblem, Invalid, NotFound
from tidegate_server.store import Store

SEEN_CAVEAT = (
    "The targeting key of a seen user is not known. Its hash stands for it, so the user may be in "
    "another bucket than the one shown. Whether uploaded keys have it is what the SDK said last."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """For whom flags are evaluated.

    Attributes:
        context: the context.
        shown: the same as an object.
        caveats: what cannot be told of it.
        prepared: returns a snapshot in the form in which it can be evaluated for the context.
    """

    context: Context
    shown: Mapping[str, Any]
    caveats: tuple[str, ...]
    prepared: Callable[[Snapshot], Snapshot]


def read_subject(
    store: Store,
    project: str,
    environment: str,
    request: EvaluationRequest,
    name: Callable[[str], str],
) -> Subject:
    """Return for whom a request evaluates flags.

    Args:
        store: where saved contexts and seen users are.
        project, environment: where.
        request: the request.
        name: returns the name of the user with a targeting key.

    Raises:
        NotFound: there is no such saved context.
        Invalid: there is no such seen user, or the user gets another targeting key.
    """
    if request.seen is not None:
        return _seen_user(store, project, environment, request, name)
    stored: Mapping[str, Any] = {}
    if request.saved is not None:
        saved = read_document(store, project, Address(Kind.CONTEXT, request.saved))
        stored = saved.document.context
    shown = {**stored, **request.attributes}
    return Subject(Context.of(shown), shown, (), lambda snapshot: snapshot)


def _seen_user(
    store: Store,
    project: str,
    environment: str,
    request: EvaluationRequest,
    name: Callable[[str], str],
) -> Subject:
    sample = store.seen_users.sample(project, environment)
    user = next((each for each in sample.users if each.name == request.seen), None)
    if user is None:
        raise NotFound(f"User {request.seen} was not seen in the last hour.")
    if "targetingKey" in request.attributes:
        message = "A seen user has no other targeting key; leave it out."
        raise Invalid(message, FieldProblem("/context/targetingKey", message))
    attributes = {**user.attributes, **request.attributes}
    return Subject(
        dataclasses.replace(user, attributes=attributes).context,
        attributes,
        (SEEN_CAVEAT,),
        lambda snapshot: replace(
            snapshot,
            flags={key: flag_for_seen_users(flag, name) for key, flag in snapshot.flags.items()},
            segments={
                key: segment_for_seen_users(each, name) for key, each in snapshot.segments.items()
            },
        ),
    )
