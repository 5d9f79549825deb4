"""Which server, project and environment a command uses.

An option takes precedence over an environment variable, and a variable over the current context
of `tidegate login`. There are two exceptions for safety. An address that is given excludes the
context as a whole, so that its token is never sent to another server. A context that an option
names excludes the variables, so that they do not redirect the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate_server.cli.contexts import Context, Contexts
from tidegate_server.errors import StartupRefused

DEFAULT_PROJECT = "default"
DEFAULT_ENVIRONMENT = "production"


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """The options of a command that select its target; None: not given."""

    url: str | None = None
    context: str | None = None
    project: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The server, project and environment of a command.

    ``token_from`` says where the token comes from, ``warning`` what the user should fix.
    """

    url: str
    token: str = field(repr=False)
    project: str = DEFAULT_PROJECT
    environment: str = DEFAULT_ENVIRONMENT
    token_from: str = "TIDEGATE_TOKEN"  # noqa: S105 - the name of a variable
    warning: str = ""


def resolve_target(options: TargetOptions, environ: Mapping[str, str]) -> Target:
    """Return the target of a command.

    Args:
        options: the command's options.
        environ: the environment variables; an empty one counts as not set.

    Raises:
        StartupRefused: no server or no token is given, or one is malformed.
    """
    if options.context and options.url:
        raise StartupRefused("Give --context or --url, not both: a context has its own address.")
    variables = {} if options.context else {key: value for key, value in environ.items() if value}
    url = options.url or variables.get("TIDEGATE_URL")
    contexts = None if url else Contexts.read(environ)
    context = _context(contexts, options, environ) if contexts else None
    if url is None and context is None:
        raise StartupRefused(
            "No server is selected: set TIDEGATE_URL and TIDEGATE_TOKEN, or run `tidegate login`."
        )
    saved = context or Context("", "")
    token = variables.get("TIDEGATE_TOKEN") or saved.token
    if not token:
        raise StartupRefused(
            f"No token for {url}: set TIDEGATE_TOKEN. The token of a context is only sent to the "
            "context's own address."
        )
    return Target(
        url=check_url(url or saved.url),
        token=check_token(token),
        project=options.project
        or variables.get("TIDEGATE_PROJECT")
        or saved.project
        or DEFAULT_PROJECT,
        environment=options.environment
        or variables.get("TIDEGATE_ENVIRONMENT")
        or saved.environment
        or DEFAULT_ENVIRONMENT,
        token_from="TIDEGATE_TOKEN"
        if variables.get("TIDEGATE_TOKEN")
        else f"the context {options.context or environ.get('TIDEGATE_CONTEXT') or 'in use'}",
        warning=f"{contexts.path} contains tokens and others can read it: `chmod 600` it."
        if contexts and contexts.readable_by_others
        else "",
    )


def _context(
    contexts: Contexts, options: TargetOptions, environ: Mapping[str, str]
) -> Context | None:
    name = options.context or environ.get("TIDEGATE_CONTEXT")
    return contexts.get(name) if name else contexts.current


def check_url(url: str) -> str:
    """Return an address without white space around it and without its final slash.

    Raises:
        StartupRefused: it is not the address of a server.
    """
    from tidegate.addresses import server_address  # late: help needs no SDK
    from tidegate.errors import InvalidSetting

    try:
        return server_address(url)
    except InvalidSetting as error:
        raise StartupRefused(str(error)) from None


def check_token(token: str) -> str:
    """Return a token without surrounding white space.

    Raises:
        StartupRefused: it is empty, or has characters that no token has.
    """
    if not token.strip():
        raise StartupRefused("No token was given. Create one with `tidegate token create`.")
    from tidegate.addresses import token_text
    from tidegate.errors import InvalidSetting

    try:
        return token_text(token)
    except InvalidSetting as error:
        raise StartupRefused(str(error)) from None
