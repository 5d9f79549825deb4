"""Which server, project and environment a command is for.

What is given counts in this order: an option, a variable of the environment, the current
context of `tidegate login`. An address that is given leaves the context out as a whole, so
that a context's token is never sent to another server, and a context named by an option
leaves the variables out, so that nothing is done in a place that nobody thought of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate_server.cli.contexts import Context, Contexts
from tidegate_server.errors import StartupRefused
from tidegate_server.urls import split_url

DEFAULT_PROJECT = "default"
DEFAULT_ENVIRONMENT = "production"


@dataclass(frozen=True, slots=True)
class Given:
    """What the options of a command say; None: nothing."""

    url: str | None = None
    context: str | None = None
    project: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a command goes.

    ``token_from`` says where its token was found, ``warning`` what people should mend.
    """

    url: str
    token: str = field(repr=False)
    project: str = DEFAULT_PROJECT
    environment: str = DEFAULT_ENVIRONMENT
    token_from: str = "TIDEGATE_TOKEN"  # noqa: S105 - the name of a variable
    warning: str = ""


def resolve(given: Given, variables: Mapping[str, str]) -> Target:
    """Find out where a command goes.

    Args:
        given: the command's options.
        variables: the environment; an empty variable is none.

    Raises:
        StartupRefused: no server or no token is named, or a name means nothing.
    """
    if given.context and given.url:
        raise StartupRefused("Give --context or --url, not both: a context has its own address.")
    said = {} if given.context else {name: value for name, value in variables.items() if value}
    url = given.url or said.get("TIDEGATE_URL")
    kept = None if url else Contexts.of_environment(variables)
    context = _context(kept, given, variables) if kept else None
    if url is None and context is None:
        raise StartupRefused(
            "No server is named: set TIDEGATE_URL and TIDEGATE_TOKEN, or keep both with "
            "`tidegate login`."
        )
    base = context or Context("", "")
    token = said.get("TIDEGATE_TOKEN") or base.token
    if not token:
        raise StartupRefused(
            f"No token for {url}: set TIDEGATE_TOKEN. A context's token is sent to the "
            "context's own address only."
        )
    return Target(
        url=check_url(url or base.url),
        token=check_token(token),
        project=given.project or said.get("TIDEGATE_PROJECT") or base.project or DEFAULT_PROJECT,
        environment=given.environment
        or said.get("TIDEGATE_ENVIRONMENT")
        or base.environment
        or DEFAULT_ENVIRONMENT,
        token_from="TIDEGATE_TOKEN"
        if said.get("TIDEGATE_TOKEN")
        else f"the context {given.context or variables.get('TIDEGATE_CONTEXT') or 'in use'}",
        warning=f"others can read {kept.path}, and it holds tokens; `chmod 600` it."
        if kept and kept.readable_by_others
        else "",
    )


def _context(kept: Contexts, given: Given, variables: Mapping[str, str]) -> Context | None:
    name = given.context or variables.get("TIDEGATE_CONTEXT")
    return kept.named(name) if name else kept.current


def check_url(url: str) -> str:
    """An address without its final slash; raises ``StartupRefused`` for what is none."""
    parts = split_url(url)
    if parts is None or parts.query or parts.fragment or parts.username is not None:
        raise StartupRefused(
            f"{url!r} is no address of a server; one looks like https://tidegate.example.com."
        )
    return url.rstrip("/")


def check_token(token: str) -> str:
    """A token without white space around it; raises ``StartupRefused`` for what is none."""
    token = token.strip()
    if not token:
        raise StartupRefused("No token was given; `tidegate token create` makes one.")
    if not all("!" <= character <= "~" for character in token):
        raise StartupRefused(
            "The token is no token: it has spaces or characters that none has. Copy it again "
            "(it is not shown here)."
        )
    return token
