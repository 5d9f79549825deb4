"""The kinds of objects that entries of the audit log are about."""

from __future__ import annotations

from typing import Final

from tidegate_server.domain.kinds import Kind

HIDDEN: Final = (Kind.PROGRESS, Kind.CREDENTIAL, Kind.EMAIL, Kind.INVITATION, Kind.IDENTITY)
"""Kinds of documents that no entry names: it names the release or the person they belong to."""

NO_DOCUMENTS: Final = ("tag", "session", "configuration", "store")
"""What else an action can be about: all flags with a tag, sessions, an import of files, a restore
from a backup."""

AUDITED_KINDS: Final = (*(each.value for each in Kind if each not in HIDDEN), *NO_DOCUMENTS)
"""Each kind by which entries can be found."""
