"""Policies as the API answers with them: canonical JSON."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.policy_schemas import PolicyBody, PolicyFields
from tidegate_server.web.document_schemas import Page, StoredAnswer, path_key


class PolicyUpdate(PolicyBody):
    """A policy as it shall be; YAML is welcome too."""

    key = path_key()


class PolicyAnswer(PolicyFields, StoredAnswer):
    """A policy."""


class PolicyPage(Page):
    """A page of policies."""

    items = fields.List(fields.Nested(PolicyAnswer), required=True)
