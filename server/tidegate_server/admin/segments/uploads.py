"""Uploads of keys to a list of a segment, as a stream.

An upload holds 8 bytes of each key, whatever its size. Nothing changes until all of it has come;
then one commit gives the list its new keys. So an upload that breaks off changes nothing, and one
that is sent again does not either, if the first one came through.

Threads and greenlets: each upload works in its own, and lets others work every few milliseconds.
``UploadTurns`` has a lock around its counts.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, TypeAlias

from tidegate.evaluation.key_sets import HASH_BYTES

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import read_document, read_project_documents
from tidegate_server.documents.key_streams import KeyFormat, decompressed, read_keys
from tidegate_server.domain.change import Address, Change
from tidegate_server.domain.flags import KeySet
from tidegate_server.domain.key_hashes import CHUNKS, Difference, KeyHashes, Mode, compare
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.segment_edits import UploadedKeys, key_set_of, upload_keys
from tidegate_server.errors import ApprovalRequired, FieldProblem, Invalid, Overloaded
from tidegate_server.store import Store
from tidegate_server.web.etags import IfMatch

ListName: TypeAlias = Literal["included", "excluded"]

MAX_TEXT = 256 * 1024 * 1024
"""The longest text of an upload, in bytes, decompressed."""

MAX_SECONDS = 900.0
"""How long an upload may take to arrive."""

MAX_UPLOADS = 4
MAX_UPLOADS_OF_CALLER = 2
RETRY_SECONDS = 5

SALT_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Upload:
    """What to do with the keys of a request.

    Attributes:
        list: the list of the segment.
        mode: what the keys are for.
        form: how they are written.
        column: as for ``read_keys``.
        gzip: whether the text is compressed.
        allow_empty: whether a replacement may leave no keys.
        dry_run: only say what would change.
    """

    list: ListName
    mode: Mode
    form: KeyFormat
    column: str = ""
    gzip: bool = False
    allow_empty: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What an upload did.

    Attributes:
        segment: the key of the segment.
        list: the list that has other keys now.
        received: how many keys came, repetitions included.
        added, removed: how many keys joined and left the list.
        count: how many it has now.
        revision: of the segment.
        dry_run: nothing was changed.
    """

    segment: str
    list: str
    received: int
    added: int
    removed: int
    count: int
    revision: int
    dry_run: bool


class UploadTurns:
    """Limits how many uploads a process takes at once, since each needs memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_caller: Counter[str] = Counter()

    @contextmanager
    def turn(self, caller: str) -> Iterator[None]:
        """Take a turn, and give it back at the end.

        Raises:
            Overloaded: there are too many uploads already.
        """
        with self._lock:
            if (
                self._of_caller.total() >= MAX_UPLOADS
                or self._of_caller[caller] >= MAX_UPLOADS_OF_CALLER
            ):
                raise Overloaded(
                    f"Other keys are being uploaded; try again in {RETRY_SECONDS} seconds.",
                    RETRY_SECONDS,
                )
            self._of_caller[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._of_caller[caller] -= 1


def upload(
    store: Store,
    project: str,
    key: str,
    pieces: Iterable[bytes],
    what: Upload,
    if_match: IfMatch,
    *,
    actor: str,
    reason: str,
    secret_key: bytes,
) -> UploadResult:
    """Upload keys to a list of a segment.

    Args:
        store: the store.
        project: the project.
        key: the segment.
        pieces: the text with the keys, as it arrives.
        what: what to do with them.
        if_match: the revisions of the segment that the caller accepts.
        actor: who.
        reason: why.
        secret_key: the server's, for the salt of a list that has no keys yet.

    Raises:
        NotFound: there is no such segment.
        StaleRevision: ``if_match`` does not accept its revision.
        Invalid: a line is not a key, there are too many, or an open release forbids it.
    """
    address = Address(Kind.SEGMENT, key)
    stored = read_document(store, project, address)
    if_match.check(stored.revision, f"segment {key}")
    present = key_set_of(stored.document, what.list)
    salt = new_salt(project, key, what.list, secret_key) if present is None else present.salt
    text = decompressed(pieces) if what.gzip else pieces
    hashes = _collect(read_keys(_limited(text), what.form, what.column), salt)
    if not hashes.keys and not (what.mode is Mode.REPLACE and what.allow_empty):
        message = (
            "There are no keys in the body. To remove all keys, replace with allow_empty=true; on "
            "the command line add --allow-empty."
        )
        raise Invalid(f"Nothing was changed. {message}", FieldProblem("", message))
    compared: _Compared | None = None

    def make() -> Change:
        nonlocal compared
        documents = read_project_documents(store, project)
        segment = documents.segment(key)
        if_match.check(segment.revision, f"segment {key}")
        before = key_set_of(segment.document, what.list)
        if before is not None and before.salt != salt:
            raise Invalid("The list has got another salt meanwhile. Upload the keys again.")
        if compared is None or compared.before != before:
            compared = _compare(store, project, hashes, what, before, salt)
        uploaded = compared.uploaded(what.list)
        change = upload_keys(
            documents, key, uploaded, actor=actor, now_ms=store.now_ms(), reason=reason
        )
        if what.dry_run or uploaded.after is None or not change.key_sets:
            return change
        # Only now: a change that is refused writes nothing.
        if not compared.draft:
            compared.write(store, project)
        switches = tuple(replace(each, draft=compared.draft) for each in change.key_sets)
        return replace(change, key_sets=switches)

    if what.dry_run:
        make()
        revision = stored.revision
    else:
        try:
            revision = commit_with_retry(store, make).stored(address).revision
        except ApprovalRequired:
            raise ApprovalRequired(
                "Nothing was changed: a protected environment uses this segment, so other people "
                "must approve its changes, and a change request cannot keep uploaded keys. Upload "
                "them to a segment that nothing uses there, and propose to name that one."
            ) from None
    assert compared is not None
    difference = compared.difference
    return UploadResult(
        key,
        what.list,
        hashes.keys,
        difference.added,
        difference.removed,
        difference.count,
        revision,
        what.dry_run,
    )


def new_salt(project: str, segment: str, list: str, secret_key: bytes) -> str:
    """Return the salt of a list without keys: two first uploads at once have the same one."""
    place = f"key-set\n{project}\n{segment}\n{list}"
    return hmac.digest(secret_key, place.encode(), "sha256").hex()[:SALT_DIGITS]


@dataclass(slots=True)
class _Compared:
    """An upload compared with the key set of the list."""

    before: KeySet | None
    salt: str
    difference: Difference
    draft: str = ""

    @property
    def after(self) -> KeySet | None:
        if not self.difference.count:
            return None
        return KeySet(self.difference.digest, self.salt, self.difference.count)

    def uploaded(self, list: str) -> UploadedKeys:
        difference = self.difference
        return UploadedKeys(
            list=list,
            before=self.before,
            after=self.after,
            chunks=difference.chunks,
            added=difference.added,
            removed=difference.removed,
        )

    def write(self, store: Store, project: str) -> None:
        """Write the new key set as a draft, and the step that leads to it."""
        before = None if self.before is None else self.before.digest
        size = self.difference.count * HASH_BYTES
        changed = self.difference.changed
        for draft in store.key_sets.write_draft(project, before, changed, size):
            self.draft = draft
            _let_others_work()
        step = self.difference.step
        if before is not None and step is not None:
            store.key_sets.put_step(project, self.difference.digest, before, step)


def _compare(
    store: Store,
    project: str,
    hashes: KeyHashes,
    what: Upload,
    before: KeySet | None,
    salt: str,
) -> _Compared:
    chunks: Iterable[bytes] = (
        (b"" for _ in range(CHUNKS))
        if before is None
        else (each for several in store.key_sets.chunks(project, before.digest) for each in several)
    )
    return _Compared(before, salt, compare(hashes, what.mode, chunks, _let_others_work))


def _collect(keys: Iterable[list[str]], salt: str) -> KeyHashes:
    hashes = KeyHashes()
    prefix = f"{salt}:"
    for several in keys:
        for key in several:
            hashes.add(sha256(f"{prefix}{key}".encode()).digest())
        _let_others_work()
    return hashes


def _limited(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a text, limited in size and time."""
    size = 0
    deadline = time.monotonic() + MAX_SECONDS
    for piece in pieces:
        size += len(piece)
        if size > MAX_TEXT:
            raise Invalid(
                f"Nothing was changed. The text is longer than {MAX_TEXT // 1024**2} MB; upload it "
                "in parts, the second and further ones with mode add."
            )
        if time.monotonic() > deadline:
            raise Invalid(
                f"Nothing was changed. The upload took longer than {MAX_SECONDS / 60:.0f} minutes; "
                "upload the keys in parts, or compress them with gzip."
            )
        yield piece


def _let_others_work() -> None:
    time.sleep(0)  # under gevent: another greenlet's turn
