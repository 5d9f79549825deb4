"""JSON schemas of stored policies."""

from __future__ import annotations

import time
from typing import Any

from marshmallow import fields

from tidegate_server.documents.fields import StrictInteger
from tidegate_server.documents.policy_schemas import PolicyBody, PolicyFields
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.documents.warnings import warnings_field
from tidegate_server.domain.last_stage import Watcher, watched_checks
from tidegate_server.domain.policy_risks import policy_risks, stored_policy_risks
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key


class PolicyUpdate(PolicyBody):
    """A request to replace a policy, in JSON or YAML."""

    key = path_key()


class WatchedCheckSchema(Strict):
    """What watches a check after the last advance, when little or no control is left."""

    check = StrictInteger(
        attribute="number",
        required=True,
        metadata={"description": "the check's position in the policy, from 0"},
    )
    label = fields.String(required=True)
    watchers = fields.List(
        fields.Enum(Watcher, by_value=True),
        required=True,
        metadata={
            "description": "`holdback`, `probe` (errors), `value_probe` (latency and custom "
            "values), `limit` (of a check that needs no control group)"
        },
    )
    text = fields.String(required=True, metadata={"description": "the watchers in words"})


class PolicyAnswer(PolicyFields, StoredAnswer):
    """A policy."""

    warnings = warnings_field("risks that the policy takes, such as `error_rate: off`")

    after_last_advance = fields.List(
        fields.Nested(WatchedCheckSchema),
        required=True,
        dump_only=True,
        metadata={"description": "what watches each check after the last advance"},
    )

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Compute from the policy what it does not contain."""
        if attr == "after_last_advance":
            return watched_checks(obj.document)
        if attr == "warnings":
            now_ms = int(time.time() * 1_000)
            return (*stored_policy_risks(obj.document), *policy_risks(obj.document, now_ms))
        return super().get_attribute(obj, attr, default)


PolicyPage = page_schema("PolicyPage", PolicyAnswer)


class PolicyRecordAnswer(Strict):
    """How many releases have run under a policy."""

    releases = StrictInteger(required=True)
    completed = StrictInteger(required=True)
    rolled_back = StrictInteger(required=True)
    live = StrictInteger(required=True, metadata={"description": "how many are under way"})
