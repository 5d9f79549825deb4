"""Give environments new context keys."""

from __future__ import annotations

import secrets

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_commits import StoredWithSecret, with_secret
from tidegate_server.admin.document_reader import read_project_documents
from tidegate_server.domain.change import Change
from tidegate_server.domain.project_documents import environment_address
from tidegate_server.domain.project_edits import rotate_context_key
from tidegate_server.store import Store
from tidegate_server.web.context_keys import context_key

ID_BYTES = 16


def new_context_key(
    store: Store, secret_key: bytes, project: str, environment: str, actor: str, reason: str
) -> StoredWithSecret:
    """Give an environment its first context key, or another one; raises ``NotFound``."""
    key_id = secrets.token_hex(ID_BYTES)

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        now_ms = store.now_ms()
        return rotate_context_key(
            documents, environment, key_id, actor=actor, now_ms=now_ms, reason=reason
        )

    stored = commit_with_retry(store, make_change).stored(environment_address(environment))
    return with_secret(stored, context_key(secret_key, key_id))
