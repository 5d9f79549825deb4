"""What simulations and backtests share: bounded time, and a named policy."""

from __future__ import annotations

from tidegate_server.admin.document_reader import read_document
from tidegate_server.documents import shipped
from tidegate_server.documents.lint import check_standalone
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import Policy
from tidegate_server.errors import FieldProblem, Invalid, NotFound
from tidegate_server.store import Store

TIME_LIMIT_SECONDS = 10.0
"""A computation that takes longer is cut short, and answers with the runs that it finished."""


def find_policy(store: Store, project: str, policy: Policy | str) -> Policy:
    """Return a policy given in a request, or find the one with a key.

    A key names a policy of the project, or one that comes with Tidegate.

    Raises:
        Invalid: the policy in the request is not valid.
        NotFound: there is no policy with this key.
    """
    if isinstance(policy, Policy):
        try:
            return check_standalone(policy)
        except Invalid as error:
            problems = [
                FieldProblem(f"/policy{each.pointer}", each.detail) for each in error.fields
            ]
            raise Invalid(error.message, *problems) from None
    try:
        stored: Policy = read_document(store, project, Address(Kind.POLICY, policy)).document
    except NotFound:
        if not shipped.is_shipped(policy):
            raise
        return shipped.policy(policy)
    return stored
