"""Commits of what people configure: projects, environments, flags, segments, policies, webhooks.

Every function takes the documents as they were read and gives the one commit that does the
edit, or raises. The present revisions are those of the documents given: who answers an
``If-Match`` compares it with them first. An edit that changes nothing only guards.
"""

from tidegate_server.domain.flag_edits import (
    delete_flag,
    edit_flag,
    edit_targeting,
    first_targeting,
    new_flag,
)
from tidegate_server.domain.policy_edits import delete_policy, put_policy
from tidegate_server.domain.project_edits import (
    edit_environment,
    edit_project,
    new_environment,
    new_project,
)
from tidegate_server.domain.segment_edits import delete_segment, put_segment
from tidegate_server.domain.webhook_edits import (
    delete_webhook,
    put_webhook,
    rotate_secret,
    try_webhook,
)

__all__ = [
    "delete_flag",
    "delete_policy",
    "delete_segment",
    "delete_webhook",
    "edit_environment",
    "edit_flag",
    "edit_project",
    "edit_targeting",
    "first_targeting",
    "new_environment",
    "new_flag",
    "new_project",
    "put_policy",
    "put_segment",
    "put_webhook",
    "rotate_secret",
    "try_webhook",
]
