"""JSON schemas of stored policies."""

from __future__ import annotations

import time
from typing import Any

from marshmallow import fields

from tidegate_server.documents.policy_schemas import PolicyBody, PolicyFields
from tidegate_server.documents.warnings import WarningSchema
from tidegate_server.domain.policy_risks import policy_risks, stored_policy_risks
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key


class PolicyUpdate(PolicyBody):
    """A request to replace a policy, in JSON or YAML."""

    key = path_key()


class PolicyAnswer(PolicyFields, StoredAnswer):
    """A policy."""

    warnings = fields.List(
        fields.Nested(WarningSchema),
        required=True,
        dump_only=True,
        metadata={"description": "risks that the policy takes, such as `error_rate: off`"},
    )

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Compute the warnings from the policy."""
        if attr == "warnings":
            now_ms = int(time.time() * 1_000)
            return (*stored_policy_risks(obj.document), *policy_risks(obj.document, now_ms))
        return super().get_attribute(obj, attr, default)


PolicyPage = page_schema("PolicyPage", PolicyAnswer)
