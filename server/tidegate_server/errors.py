"""Every error that the server raises on purpose.

::

    TidegateError            slug, message, pointer (which field), mend (what to do)
    ├── Invalid              400/422  a value or a combination that cannot be
    ├── NotFound             404      no such thing
    ├── AlreadyExists        409      the name is taken
    ├── NotPossible          409      right in form, wrong in the present state
    ├── StaleRevision        412      someone changed it first
    ├── RevisionRequired     428      an update without If-Match
    ├── Unauthenticated      401      no token, or one that is not known
    ├── Forbidden            403      a known token that may not do this
    ├── RateLimited          429      more requests than the token may make
    ├── Forgotten            409      an SDK instance that the store no longer knows
    ├── Deposed              --       a policy job that no longer leads
    ├── StoreUnavailable     503      the store cannot be reached or did not confirm
    ├── TooManyAlerts        503      a hook is called too often
    ├── StartupRefused       --       a setting or a folder that stops the start
    ├── Unreadable           400      a text that is not JSON or YAML, or means two things
    ├── ServerRefused        --       what a server answered to a command of the command line
    └── ServerUnreachable    --       no Tidegate server answers at the address of a command
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field: a JSON pointer (``/stages/0/percentage``), and the mend."""

    pointer: str
    detail: str


class TidegateError(Exception):
    """An error with a stable ``slug``, a sentence, and the fields at fault.

    Args:
        message: what is wrong and what mends it, as one or two sentences.
        fields: each field at fault.
    """

    slug = "error"

    def __init__(self, message: str, *fields: FieldProblem) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class Invalid(TidegateError):
    """A value, or a combination of values, that cannot be."""

    slug = "invalid"


class NotFound(TidegateError):
    """No such project, environment, flag, segment, policy, webhook, release or token."""

    slug = "not-found"


class AlreadyExists(TidegateError):
    """The name is taken."""

    slug = "already-exists"


class NotPossible(TidegateError):
    """Right in form, but the present state does not allow it."""

    slug = "not-possible"


class StaleRevision(TidegateError):
    """Someone else changed the document first."""

    slug = "stale-revision"


class RevisionRequired(TidegateError):
    """An update without ``If-Match``."""

    slug = "revision-required"


class Unauthenticated(TidegateError):
    """No token, or one that is not known."""

    slug = "unauthenticated"


class Forbidden(TidegateError):
    """A known token that may not do this."""

    slug = "forbidden"


class RateLimited(TidegateError):
    """A token made more requests than it may.

    Args:
        message: what is wrong and what mends it.
        retry_after: whole seconds after which another request is let through.
    """

    slug = "rate-limited"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Forgotten(TidegateError):
    """An SDK instance continues a count that the store no longer has."""

    slug = "instance-forgotten"


class Deposed(TidegateError):
    """This policy job does not lead any more; nothing was written."""

    slug = "deposed"


class StoreUnavailable(TidegateError):
    """The store cannot be reached, or did not confirm a write as durable."""

    slug = "store-unavailable"


class TooManyAlerts(TidegateError):
    """A hook is called too often."""

    slug = "too-many-alerts"


class StartupRefused(TidegateError):
    """A setting, or the data folder, stops the start."""

    slug = "startup-refused"


class Unreadable(TidegateError):
    """A text that is not JSON or YAML, or that readers would understand differently."""

    slug = "unreadable"


class ServerRefused(TidegateError):
    """A server refused what a command asked of it.

    Args:
        message: the problem document's own words.
        status: the HTTP status.
        fields: each field at fault.
    """

    slug = "server-refused"

    def __init__(self, message: str, status: int, *fields: FieldProblem) -> None:
        super().__init__(message, *fields)
        self.status = status


class ServerUnreachable(TidegateError):
    """No Tidegate server answers at the address that a command uses."""

    slug = "server-unreachable"
