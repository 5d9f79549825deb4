"""A project's configuration as people keep it in files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from marshmallow import Schema

from tidegate_server.admin.configuration.schemas import FORMAT
from tidegate_server.admin.document_reader import ActiveReleases, read_project
from tidegate_server.admin.flags.schemas import FlagFields
from tidegate_server.admin.hooks.schemas import HookFields
from tidegate_server.admin.projects.schemas import EnvironmentFields, ProjectFields
from tidegate_server.admin.segments.schemas import SegmentFields
from tidegate_server.admin.targeting.schemas import TargetingFields
from tidegate_server.admin.webhooks.schemas import WebhookFields
from tidegate_server.documents.concise import without_defaults
from tidegate_server.documents.policy_schemas import PolicyFields
from tidegate_server.domain.change import Stored
from tidegate_server.domain.configuration import SECTIONS
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.targeting_index import index_targetings
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.store import Store

HIDDEN_PATH = "/…"
"""What an export shows instead of the path of a webhook's URL."""

FIELDS: Mapping[Kind, type[Schema]] = {
    Kind.PROJECT: ProjectFields,
    Kind.ENVIRONMENT: EnvironmentFields,
    Kind.FLAG: FlagFields,
    Kind.SEGMENT: SegmentFields,
    Kind.POLICY: PolicyFields,
    Kind.WEBHOOK: WebhookFields,
    Kind.HOOK: HookFields,
    Kind.TARGETING: TargetingFields,
}


def read_whole_project(store: Store, project: str) -> ProjectDocuments:
    """Return everything that a project holds, without the releases that have ended.

    All of it but the releases is read at one moment.
    """
    moment = store.moment(project)
    names = store.keys(project, Kind.ENVIRONMENT)
    while True:
        kinds = [(kind, "") for kind in SECTIONS]
        kinds += [(Kind.TARGETING, name) for name in names]
        environments, flags, segments, policies, webhooks, hooks, *others = store.all_of(
            project, kinds
        )
        if sorted(environments) == names:
            break
        names = sorted(environments)
    targetings = dict(zip(names, others, strict=True))
    indexes = {name: index_targetings(each) for name, each in targetings.items()}
    return ProjectDocuments(
        project=project,
        environments=environments,
        flags=flags,
        segments=segments,
        policies=policies,
        webhooks=webhooks,
        hooks=hooks,
        targetings=targetings,
        releases={
            name: ActiveReleases(store, project, name, frozenset(index.released.values()))
            for name, index in indexes.items()
        },
        indexes=indexes,
        read=moment,
    )


def export(store: Store, project: str, environments: Collection[str] | None) -> dict[str, Any]:
    """Return a project's configuration in JSON, each list in the order of its keys.

    Args:
        store: the store.
        project: the project's key.
        environments: which environments to include; None: all.

    Raises:
        NotFound: there is no such project.
    """
    described = concise(Kind.PROJECT, read_project(store, project).document)
    documents = read_whole_project(store, project)
    chosen = sorted(
        key for key in documents.environments if environments is None or key in environments
    )
    return {
        "project": {"format": FORMAT, "key": project, **described},
        "environments": [
            concise(Kind.ENVIRONMENT, documents.environments[key].document) for key in chosen
        ],
        "flags": [
            exported_flag(documents.flags[key].document, documents, chosen)
            for key in sorted(documents.flags)
        ],
        "segments": _all(Kind.SEGMENT, documents.segments),
        "policies": _all(Kind.POLICY, documents.policies),
        "webhooks": [
            exported_webhook(documents.webhooks[key].document)
            for key in sorted(documents.webhooks)
        ],
        "hooks": [
            exported_hook(stored.document)
            for _, stored in sorted(documents.hooks.items())
            if stored.document.environment in chosen
        ],
    }  # fmt: skip


def concise(kind: Kind, document: Any) -> dict[str, Any]:
    """Return a document in JSON, without fields that have their default."""
    schema = _schema(kind)
    return without_defaults(schema, schema.dump(document))


def exported_flag(
    flag: FlagDefinition, documents: ProjectDocuments, environments: Collection[str]
) -> dict[str, Any]:
    """Return a flag in JSON, with what it serves in these environments."""
    exported = concise(Kind.FLAG, flag)
    if exported.get("salt") == flag.key:
        del exported["salt"]
    if flag.archived is not None:
        exported["archived"] = True
    exported["targeting"] = {
        name: concise(Kind.TARGETING, documents.targetings[name][flag.key].document)
        for name in environments
        if flag.key in documents.targetings.get(name, {})
    }
    return exported


def exported_webhook(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook in JSON, without the path of its URL, which may be a credential."""
    return {**concise(Kind.WEBHOOK, webhook), "url": hidden_url(webhook)}


def hidden_url(webhook: Webhook) -> str:
    """Return the URL of a webhook without its path, which may be a credential."""
    return (
        webhook.url if webhook.url.rstrip("/") == webhook.origin else webhook.origin + HIDDEN_PATH
    )


def exported_hook(hook: Hook) -> dict[str, Any]:
    """Return a hook in JSON, with its id, without its secret."""
    return {"id": hook.id, **concise(Kind.HOOK, hook)}


def _all(kind: Kind, documents: Mapping[str, Stored]) -> list[dict[str, Any]]:
    return [concise(kind, documents[key].document) for key in sorted(documents)]


@cache
def _schema(kind: Kind) -> Schema:
    return FIELDS[kind]()
