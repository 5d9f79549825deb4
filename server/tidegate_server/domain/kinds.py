"""The kinds of documents. It imports nothing, so that commands know them at once."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kind of a document. Targeting, releases and progress belong to an environment."""

    PROJECT = "project"
    ENVIRONMENT = "environment"
    FLAG = "flag"
    SEGMENT = "segment"
    POLICY = "policy"
    WEBHOOK = "webhook"
    HOOK = "hook"
    SHARE = "share"
    CONTEXT = "context"
    TARGETING = "targeting"
    RELEASE = "release"
    PROGRESS = "progress"
    CHANGE_REQUEST = "change_request"
    SCHEDULED_CHANGE = "scheduled_change"
    DELETION = "deletion"
    TOKEN = "token"  # noqa: S105 - the word, not a secret
    PERSON = "person"
    GROUP = "group"
    ROLE = "role"
    CREDENTIAL = "credential"
    EMAIL = "email"
    INVITATION = "invitation"
    IDENTITY_PROVIDER = "identity_provider"
    IDENTITY = "identity"

    @property
    def words(self) -> str:
        """The kind as messages call it: ``change request``."""
        return self.value.replace("_", " ")
