"""JSON schemas of stored policies."""

from __future__ import annotations

from tidegate_server.documents.policy_schemas import PolicyBody, PolicyFields
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key


class PolicyUpdate(PolicyBody):
    """A request to replace a policy, in JSON or YAML."""

    key = path_key()


class PolicyAnswer(PolicyFields, StoredAnswer):
    """A policy."""


PolicyPage = page_schema("PolicyPage", PolicyAnswer)
