"""What an import of a whole configuration would change in a project, and the change itself.

Each document is checked as its ordinary edit checks it, but among the documents as they all will
be: a flag may name a segment that comes with it, and a variant may leave a flag together with the
rule that served it. The result is one change, so that all of it happens or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from tidegate_server.domain import flag_edits, flag_validation
from tidegate_server.domain.change import Address, Change, Delete, Guard, KindGuard, Put, Stored
from tidegate_server.domain.configuration import (
    MAX_OBJECTS,
    ORDER,
    SECTIONS,
    Configuration,
    ImportPlan,
    ImportProblem,
    WantedFlag,
)
from tidegate_server.domain.field_problems import check_key
from tidegate_server.domain.flags import Archived, FlagDefinition, Targeting
from tidegate_server.domain.hook_edits import delete_hook, hook_address, put_hook
from tidegate_server.domain.import_refreshes import import_refreshes
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.domain.policy_edits import delete_policy, put_policy
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    flag_address,
    kind_guards,
    policy_address,
    segment_address,
    targeting_address,
    webhook_address,
)
from tidegate_server.domain.project_edits import edit_environment
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.related_documents import RelatedFlags, users_of_segments
from tidegate_server.domain.safe_variants import served_by_kills
from tidegate_server.domain.segment_edits import delete_segment, put_segment
from tidegate_server.domain.webhook_edits import delete_webhook, put_webhook
from tidegate_server.errors import FieldProblem, TidegateError


def plan_import(
    documents: ProjectDocuments,
    wanted: Configuration,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
    networks: AllowedNetworks = PUBLIC_ONLY,
    new_secret_id: Callable[[], str] = str,
    still_asked: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> ImportPlan:
    """Return what an import of a configuration changes.

    Args:
        documents: everything that the project holds.
        wanted: the configuration.
        actor: who imports it.
        now_ms: the store's time.
        reason: why.
        networks: where webhooks may be.
        new_secret_id: returns the id of the secret of a new webhook.
        still_asked: by flag, who asked for it lately, in sentences; such flags are not deleted.
    """
    planner = _Planner(
        documents, wanted, actor, reason, now_ms, networks, new_secret_id, still_asked
    )
    return planner.plan()


class _Planner:
    """The state of one planning: the documents as they will be, and what writes them."""

    def __init__(
        self,
        present: ProjectDocuments,
        wanted: Configuration,
        actor: str,
        reason: str,
        now_ms: int,
        networks: AllowedNetworks,
        new_secret_id: Callable[[], str],
        still_asked: Mapping[str, Sequence[str]],
    ) -> None:
        self._present = present
        self._wanted = wanted
        self._actor = actor
        self._reason = reason
        self._now_ms = now_ms
        self._networks = networks
        self._new_secret_id = new_secret_id
        self._still_asked = still_asked
        self._problems: list[ImportProblem] = []
        self._kept: list[Address] = []
        self._written: dict[Address, Put | Delete] = {}
        self._guards: dict[Address, Guard] = {}
        self._kind_guards: dict[KindGuard, None] = {}
        self._guard_everything = False
        self._forgotten: tuple[str, ...] = ()
        self._final: dict[Kind, dict[str, Stored]] = {
            kind: dict(present.of(kind)) for kind in SECTIONS
        }
        self._targetings: dict[str, dict[str, Stored]] = {
            environment: dict(targetings) for environment, targetings in present.targetings.items()
        }

    def plan(self) -> ImportPlan:
        """Return the plan."""
        self._make_final()
        self._related = RelatedFlags(self._targetings)
        for edit in (
            *(self._edit_environments, self._edit_segments, self._edit_webhooks),
            *(self._edit_policies, self._edit_flags, self._edit_targetings, self._edit_hooks),
            self._delete,
        ):
            edit()
        shown = [each for each in self._written.values() if each.address.kind in ORDER]
        writes = sorted(shown, key=_place)
        objects = {(_object_kind(each.address), each.address.key) for each in writes}
        if len(objects) > MAX_OBJECTS:
            message = (
                f"This would change {len(objects):,} objects; one import changes at most "
                f"{MAX_OBJECTS:,}. Import a part of the files first."
            )
            self._problem(Address(Kind.PROJECT, self._present.project), FieldProblem("", message))
        change = None if self._problems or not writes else self._change()
        return ImportPlan(tuple(writes), tuple(self._kept), tuple(self._problems), change)

    # The documents as they will be

    def _make_final(self) -> None:
        wanted = self._wanted
        self._overlay(Kind.ENVIRONMENT, wanted.environments, self._final_environment)
        self._overlay(Kind.SEGMENT, wanted.segments)
        self._overlay(Kind.POLICY, wanted.policies)
        self._overlay(Kind.WEBHOOK, wanted.webhooks)
        self._overlay(Kind.HOOK, wanted.hooks)
        definitions = {
            key: replace(
                each.definition,
                salt=each.definition.salt or self._salt(key),
                archived=self._archived(key, each.archived),
            )
            for key, each in (wanted.flags or {}).items()
        }
        self._overlay(Kind.FLAG, None if wanted.flags is None else definitions)
        for kind, documents in self._final.items():
            self._leave_out(kind, documents)
        self._make_final_targetings()

    def _overlay(
        self,
        kind: Kind,
        documents: Mapping[str, Any] | None,
        final: Callable[[str, Any], Any] = lambda _, document: document,
    ) -> None:
        for key, document in (documents or {}).items():
            before = self._before(Address(kind, key))
            revision = 0 if before is None else before.revision
            self._final[kind][key] = Stored(final(key, document), revision, self._now_ms)

    def _final_environment(self, key: str, document: Environment) -> Environment:
        before = self._before(environment_address(key))
        if before is None:
            return document
        present: Environment = before.document
        return replace(
            document,
            context_key_id=present.context_key_id,
            retiring_context_key_id=present.retiring_context_key_id,
            context_key_retires_ms=present.context_key_retires_ms,
        )

    def _leave_out(self, kind: Kind, documents: dict[str, Stored]) -> None:
        """Remove what is to be deleted from the documents as they will be."""
        chosen = self._wanted.of(kind)
        if chosen is None:
            return
        for key in sorted(documents.keys() - chosen.keys()):
            if self._wanted.prune and kind is not Kind.ENVIRONMENT:
                del documents[key]
            else:
                self._kept.append(Address(kind, key))

    def _make_final_targetings(self) -> None:
        flags = self._final[Kind.FLAG]
        for environment in self._final[Kind.ENVIRONMENT]:
            targetings = self._targetings.setdefault(environment, {})
            for key in targetings.keys() - flags.keys():
                del targetings[key]
            for key, stored in flags.items():
                if key not in targetings and stored.document.variants:
                    first = flag_edits.first_targeting(stored.document)
                    targetings[key] = Stored(first, 0, self._now_ms)
        for key, wanted in (self._wanted.flags or {}).items():
            for environment, targeting in wanted.targetings.items():
                before = self._targetings.get(environment, {}).get(key)
                if before is not None:
                    was: Targeting = before.document
                    after = replace(
                        targeting, kill=was.kill, release=was.release, disabled=was.disabled
                    )
                    self._targetings[environment][key] = Stored(
                        after, before.revision, self._now_ms
                    )

    def _salt(self, key: str) -> str:
        before = self._before(flag_address(key))
        return key if before is None else str(before.document.salt)

    def _archived(self, key: str, archived: bool) -> Archived | None:
        before = self._before(flag_address(key))
        if not archived:
            return None
        if before is not None and before.document.archived is not None:
            present: Archived = before.document.archived
            return present
        return Archived(self._actor, self._reason, self._now_ms)

    # Edits

    def _edit_environments(self) -> None:
        for key, environment in (self._wanted.environments or {}).items():
            address = environment_address(key)
            if self._before(address) is not None:
                self._edit(address, edit_environment, environment)
                continue
            # Its first targetings depend on every flag.
            self._guard_everything = True
            with self._reported(address):
                check_key(f"environment {key}", key)
                self._written[address] = Put(address, environment, 0)
                for flag in self._targetings[key]:
                    where = targeting_address(key, flag)
                    first = flag_edits.first_targeting(self._final[Kind.FLAG][flag].document)
                    self._written[where] = Put(where, first, 0)

    def _edit_segments(self) -> None:
        # Few flags have a release; to look at all others for each segment would take long.
        released = self._documents(self._related.released())
        for key, segment in (self._wanted.segments or {}).items():
            self._edit(segment_address(key), put_segment, segment, released, now_ms=self._now_ms)

    def _edit_webhooks(self) -> None:
        released = self._documents(self._related.released())
        for key, webhook in (self._wanted.webhooks or {}).items():
            new = replace(webhook, secret_id=self._new_secret_id())
            self._edit(webhook_address(key), put_webhook, new, released, networks=self._networks)

    def _edit_policies(self) -> None:
        for key, policy in (self._wanted.policies or {}).items():
            self._edit(policy_address(key), put_policy, policy)

    def _edit_hooks(self) -> None:
        for key, hook in (self._wanted.hooks or {}).items():
            address = hook_address(key)
            if self._before(address) is not None:
                self._edit(address, put_hook, hook)
                continue
            problem = FieldProblem(
                "/id",
                f"There is no hook {key!r}. The secret of a new hook is shown only once, so create "
                "it with `tidegate hook create` and export it; or leave this one out.",
            )
            self._problem(address, problem)

    def _edit_flags(self) -> None:
        for key, wanted in (self._wanted.flags or {}).items():
            before = self._before(flag_address(key))
            if before is None:
                self._create_flag(key, wanted)
            else:
                self._edit_flag(key, wanted, before.document)

    def _create_flag(self, key: str, wanted: WantedFlag) -> None:
        address = flag_address(key)
        self._edit(address, flag_edits.new_flag, wanted.definition)
        put = self._written.get(address)
        if isinstance(put, Put) and wanted.archived:
            archived = Archived(self._actor, self._reason, self._now_ms)
            self._written[address] = replace(put, document=replace(put.document, archived=archived))

    def _edit_flag(self, key: str, wanted: WantedFlag, was: FlagDefinition) -> None:
        address = flag_address(key)
        related = self._documents(self._related.to(key))
        now = {"now_ms": self._now_ms}
        self._edit(address, flag_edits.edit_flag, wanted.definition, related, **now)
        if flag_validation.removed_variants(was, wanted.definition):
            self._guard_everything = True
        if wanted.archived == (was.archived is not None):
            return
        edited = self._written.get(address)
        if wanted.archived:
            self._guard_everything = True
            self._edit(address, flag_edits.archive_flag, key, related, **now)
        else:
            self._edit(address, flag_edits.unarchive_flag, key, related)
        put = self._written.get(address)
        if isinstance(edited, Put) and isinstance(put, Put):
            both = replace(edited.document, archived=put.document.archived)
            self._written[address] = replace(edited, document=both)

    def _edit_targetings(self) -> None:
        for wanted in (self._wanted.flags or {}).values():
            for environment, targeting in wanted.targetings.items():
                self._edit_targeting(environment, targeting)

    def _edit_targeting(self, environment: str, targeting: Targeting) -> None:
        key = targeting.flag
        address = targeting_address(environment, key)
        known = self._final[Kind.ENVIRONMENT].keys()
        if environment not in known:
            names = ", ".join(sorted(known)) or "none"
            message = f"There is no environment {environment!r}; there are {names}."
            self._problem(address, FieldProblem("", message, name=environment, known=known))
            return
        final = self._targetings[environment].get(key)
        if final is None:  # the definition has no variants, which is a problem of its own
            return
        before = self._present.targetings.get(environment, {}).get(key)
        if before is None:
            definition = self._final[Kind.FLAG][key].document
            before = Stored(flag_edits.first_targeting(definition), 0, self._now_ms)
        was: Targeting = before.document
        documents = self._documents(self._related.to(key), {(environment, key): before})
        edit = partial(flag_edits.edit_targeting, documents, environment, targeting)
        self._make(address, edit, now_ms=self._now_ms)
        if before.revision and served_by_kills(targeting).keys() - served_by_kills(was).keys():
            self._guard_everything = True

    # Deletions

    def _delete(self) -> None:
        released = self._related.released()
        deleted = {kind: self._pruned(kind) for kind in self._final}
        self._guard_everything |= any(deleted.values())
        for key in deleted[Kind.HOOK]:
            self._edit(hook_address(key), delete_hook, key)
        for key in deleted[Kind.POLICY]:
            self._edit(policy_address(key), delete_policy, key)
        for key in deleted[Kind.FLAG]:
            own = {
                (environment, key): targetings[key]
                for environment, targetings in self._present.targetings.items()
                if key in targetings
            }
            documents = self._documents(self._related.to(key), own)
            asked = self._still_asked.get(key, ())
            self._edit(flag_address(key), flag_edits.delete_flag, key, documents, still_asked=asked)
        for key in deleted[Kind.WEBHOOK]:
            self._edit(webhook_address(key), delete_webhook, key, self._documents(released))
        self._forgotten = tuple(deleted[Kind.WEBHOOK])
        segments, policies = self._final[Kind.SEGMENT], self._final[Kind.POLICY]
        users = users_of_segments(self._targetings, segments, policies)
        for key in deleted[Kind.SEGMENT]:
            named = users[key]
            documents = replace(
                self._documents(named.flags | released),
                segments={each: segments[each] for each in named.segments},
                policies={each: policies[each] for each in named.policies},
            )
            self._edit(segment_address(key), delete_segment, key, documents)

    def _pruned(self, kind: Kind) -> list[str]:
        """Return the keys of what is to be deleted."""
        return sorted(self._present.of(kind).keys() - self._final[kind].keys())

    # One document

    def _documents(
        self,
        flags: Iterable[str] = (),
        instead: Mapping[tuple[str, str], Stored] = MappingProxyType({}),
    ) -> ProjectDocuments:
        """Return the documents as they will be, with the targetings of these flags only.

        The ordinary edits look through all targetings that they get, which for each of thousands
        of flags would take minutes.

        Args:
            flags: the flags.
            instead: by environment and flag, targetings that are not yet as they will be.
        """
        chosen = frozenset(flags)
        targetings = {
            environment: {key: by_flag[key] for key in chosen if key in by_flag}
            for environment, by_flag in self._targetings.items()
        }
        for (environment, flag), stored in instead.items():
            targetings[environment][flag] = stored
        return ProjectDocuments(
            project=self._present.project,
            environments=self._final[Kind.ENVIRONMENT],
            flags=self._final[Kind.FLAG],
            segments=self._final[Kind.SEGMENT],
            policies=self._final[Kind.POLICY],
            webhooks=self._final[Kind.WEBHOOK],
            hooks=self._final[Kind.HOOK],
            targetings=targetings,
            releases=self._present.releases,
            read=self._present.read,
        )

    def _edit(
        self,
        address: Address,
        edit: Callable[..., Change],
        subject: object,
        documents: ProjectDocuments | None = None,
        **more: object,
    ) -> None:
        """Edit one document as it is among all others as they will be.

        Args:
            address: the document.
            edit: the ordinary edit, which gets the documents and the subject.
            subject: the document as it is to be, or the key of one to delete.
            documents: the documents as they will be; None: no edit of this kind looks at
                targetings.
            more: further arguments of the edit.
        """
        chosen = self._documents() if documents is None else documents
        documents_of_kind = cast("dict[str, Stored]", chosen.of(address.kind))
        final, before = documents_of_kind.pop(address.key, None), self._before(address)
        if before is not None:
            documents_of_kind[address.key] = before
        try:
            self._make(address, partial(edit, chosen, subject), **more)
        finally:
            documents_of_kind.pop(address.key, None)
            if final is not None:
                documents_of_kind[address.key] = final

    def _make(self, address: Address, edit: Callable[..., Change], **more: object) -> None:
        with self._reported(address):
            change = edit(actor=self._actor, reason=self._reason, **more)
            self._kind_guards.update(dict.fromkeys(change.kind_guards))
            for write in change.writes:
                if isinstance(write, Guard):
                    self._guards[write.address] = write
                elif isinstance(write, Put) and write.expected == 0:
                    self._written[write.address] = replace(write, before=None)
                else:
                    self._written[write.address] = write

    @contextmanager
    def _reported(self, address: Address) -> Iterator[None]:
        """Report what the ordinary edit of a document raises as problems of the document."""
        try:
            yield
        except TidegateError as error:
            for problem in error.fields or (FieldProblem("", error.message),):
                self._problem(address, problem)

    def _problem(self, address: Address, problem: FieldProblem) -> None:
        self._problems.append(ImportProblem(address, problem))

    def _before(self, address: Address) -> Stored | None:
        return self._present.get(address)

    # The whole change

    def _change(self) -> Change:
        if self._guard_everything:
            # All but releases, which the policy job changes all the time.
            everything = kind_guards(self._present, *SECTIONS, Kind.TARGETING)
            self._kind_guards.update(dict.fromkeys(everything))
        guarded = (each for each in self._guards.values() if each.address not in self._written)
        return Change(
            scope=self._present.project,
            writes=(*self._written.values(), *guarded),
            refreshes=tuple(import_refreshes(self._present, self._written)),
            kind_guards=tuple(self._kind_guards),
            forgotten=self._forgotten,
        )


def _place(write: Put | Delete) -> tuple[int, str, str]:
    return ORDER.index(write.address.kind), write.address.key, write.address.environment


def _object_kind(address: Address) -> Kind:
    """Return the kind of the object that a document belongs to: a targeting is part of a flag."""
    return Kind.FLAG if address.kind is Kind.TARGETING else address.kind
