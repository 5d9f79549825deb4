"""Every exception of the server.

HTTP statuses are set in one place, ``web.problem_documents`` (those of OFREP in ``ofrep``)::

    TidegateError                    slug, message, fields (each with a pointer and the fix)
    ├── Invalid                      422  a value, or a combination of values, is not valid
    │   └── ReasonRequired           422  an environment requires a reason for every change
    ├── InvalidEvaluationRequest     400  an OFREP request body cannot be read
    ├── NotFound                     404  no such document
    │   └── NotKept                  404  a version of a document is no longer kept
    ├── AlreadyExists                409  the key is taken
    ├── NotPossible                  409  a valid request that the present state does not allow
    ├── ApprovalRequired             409  a protected environment asks for a change request
    ├── StaleRevision                412  someone else changed the document first
    ├── RevisionRequired             428  an update without If-Match
    ├── Unauthenticated              401  no token or session, or an unknown one
    │   ├── WrongPassword            401  an email and a password do not fit
    │   ├── SecondFactorRequired     401  the password is right, and a one-time code is needed
    │   └── SignInRefused            401  a sign-in with an identity provider came to nothing
    ├── DeviceNotSignedIn            400  a program waits to be signed in, and is not yet
    │   ├── AsksTooSoon              400  it asks again too soon
    │   ├── SignInDenied             400  a person has refused it
    │   └── DeviceCodeExpired        400  its code has expired, or was used
    ├── Forbidden                    403  the caller may not do this
    ├── RateLimited                  429  too many requests
    ├── InstanceForgotten            409  the store no longer knows an SDK instance
    ├── Overloaded                   503  too much is being computed already
    ├── Abandoned                    408  whoever asked for a computation has gone
    ├── TooManyAlerts                503  a hook receives too many alerts
    ├── StoreUnavailable             503  the store cannot be reached or did not confirm a write
    ├── LeaseLost                    --   another process runs the policy job now
    ├── ProviderFailed               --   an identity provider is out of reach, or answers nonsense
    ├── TokenRefused                 --   what an identity provider signed is not valid
    ├── QueryFailed                  --   a Prometheus query gave no value
    ├── Unreadable                   --   a text is not JSON or YAML, or is ambiguous
    ├── StartupRefused               --   a setting or the data folder prevents the start
    │   └── PortTaken                --   another program listens on the port
    ├── ServerRefused                --   the server refused a request of the command line
    └── ServerUnreachable            --   no Tidegate server answers a command
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tidegate_server.near_misses import question


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field.

    Attributes:
        pointer: JSON pointer of the field, ``/stages/0/percentage``; empty: the whole document.
        detail: what is wrong and how to fix it.
        suggestions: what the person may have meant.
        name: the name that does not exist, if that is the problem; suggestions are computed from
            it and from ``known`` if someone gets to see the problem.
        known: the names that exist.
    """

    pointer: str
    detail: str
    suggestions: tuple[str, ...] = field(default=(), compare=False)
    name: str = field(default="", compare=False, repr=False)
    known: Collection[str] = field(default=(), compare=False, repr=False)


class TidegateError(Exception):
    """Base class of the server's exceptions; ``slug`` identifies each class and never changes.

    Args:
        message: what is wrong and how to fix it, in one or two sentences.
        fields: the fields that are wrong.
    """

    slug = "error"

    def __init__(self, message: str, *fields: FieldProblem) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    @property
    def suggestions(self) -> tuple[str, ...]:
        """What the person may have meant who wrote a name that does not exist."""
        return tuple(dict.fromkeys(each for problem in self.fields for each in problem.suggestions))


class Invalid(TidegateError):
    """A value, or a combination of values, is not valid."""

    slug = "invalid"


class ReasonRequired(Invalid):
    """A change has no reason, and an environment requires one."""

    slug = "reason-required"


class InvalidEvaluationRequest(TidegateError):
    """An OFREP request body cannot be read.

    Args:
        code: OpenFeature's error code.
        message: what is wrong.
    """

    slug = "invalid-evaluation-request"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFound(TidegateError):
    """There is no such project, environment, flag, segment, policy, webhook, release or token.

    Args:
        message: what there is not.
        suggestions: what there is and may have been meant; the message gets a question.
    """

    slug = "not-found"

    def __init__(self, message: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message + question(suggestions))
        self._suggestions = suggestions

    @property
    def suggestions(self) -> tuple[str, ...]:
        """What there is and may have been meant."""
        return self._suggestions


class NotKept(NotFound):
    """A version of a document is no longer kept, or an earlier version of Tidegate kept none."""

    slug = "not-kept"


class AlreadyExists(TidegateError):
    """The key is taken."""

    slug = "already-exists"


class NotPossible(TidegateError):
    """The request is valid, but the present state does not allow it."""

    slug = "not-possible"


class ApprovalRequired(TidegateError):
    """A protected environment lets others approve this change before it is made."""

    slug = "approval-required"


class StaleRevision(TidegateError):
    """Someone else changed the document first."""

    slug = "stale-revision"


class RevisionRequired(TidegateError):
    """An update has no ``If-Match``."""

    slug = "revision-required"


class Unauthenticated(TidegateError):
    """A request has no token and no session, or an unknown one."""

    slug = "unauthenticated"


class WrongPassword(Unauthenticated):
    """An email and a password, or a one-time code, do not fit."""

    slug = "wrong-password"


class SecondFactorRequired(Unauthenticated):
    """The password is right, and signing in needs a one-time code or a recovery code, too."""

    slug = "second-factor-required"


class DeviceNotSignedIn(TidegateError):
    """Nobody has approved a program that waits to be signed in; the slugs are those of RFC 8628."""

    slug = "authorization-pending"


class AsksTooSoon(DeviceNotSignedIn):
    """A program that waits to be signed in asks again too soon."""

    slug = "slow-down"


class SignInDenied(DeviceNotSignedIn):
    """A person has refused to sign a program in."""

    slug = "access-denied"


class DeviceCodeExpired(DeviceNotSignedIn):
    """Nobody approved a program in time, or it has got its token already."""

    slug = "expired-token"


class SignInRefused(Unauthenticated):
    """A sign-in with an identity provider came to nothing; the message is for whoever tried."""

    slug = "sign-in-refused"


class Forbidden(TidegateError):
    """The caller may not do this."""

    slug = "forbidden"


class RateLimited(TidegateError):
    """A token, a person or an address made too many requests.

    Args:
        message: what is wrong and how to fix it.
        retry_after: whole seconds until the next request is accepted.
    """

    slug = "rate-limited"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InstanceForgotten(TidegateError):
    """An SDK instance continues totals that the store no longer has."""

    slug = "instance-forgotten"


class Overloaded(TidegateError):
    """Too much is being computed already, or one computation took too long.

    Args:
        message: what is wrong and how to fix it.
        retry_after: seconds after which to try again.
    """

    slug = "overloaded"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Abandoned(TidegateError):
    """Whoever asked for a computation has closed the connection: nobody reads the answer."""

    slug = "abandoned"


class TooManyAlerts(TidegateError):
    """A hook receives too many alerts."""

    slug = "too-many-alerts"


class StoreUnavailable(TidegateError):
    """The store cannot be reached, or did not confirm that a write is durable."""

    slug = "store-unavailable"


class LeaseLost(TidegateError):
    """This process no longer holds the policy job's lease; nothing was written."""

    slug = "deposed"


class ProviderFailed(TidegateError):
    """An identity provider cannot be reached, or answers what it must not.

    The message is for the operator, and goes on after a colon.
    """

    slug = "provider-failed"


class TokenRefused(TidegateError):
    """A token of an identity provider, or a code for it, is not valid.

    The message is for the operator, and goes on after a colon.
    """

    slug = "token-refused"


class QueryFailed(TidegateError):
    """A Prometheus query gave no value."""

    slug = "query-failed"


class Unreadable(TidegateError):
    """A text is not JSON or YAML, or parsers would read it differently."""

    slug = "unreadable"


class StartupRefused(TidegateError):
    """A setting or the data folder prevents the start."""

    slug = "startup-refused"


class PortTaken(StartupRefused):
    """Another program listens on the port."""

    slug = "port-taken"


class ServerRefused(TidegateError):
    """The server refused a request of the command line.

    Args:
        message: the detail of the problem document.
        status: the HTTP status.
        fields: the fields that are wrong.
        hint: a command that helps, as a sentence.
        problem: the slug of the problem document; empty: the answer was none.
    """

    slug = "server-refused"

    def __init__(
        self,
        message: str,
        status: int,
        *fields: FieldProblem,
        hint: str = "",
        problem: str = "",
    ) -> None:
        super().__init__(message, *fields)
        self.status = status
        self.hint = hint
        self.problem = problem


class ServerUnreachable(TidegateError):
    """No Tidegate server answers at the URL that a command uses."""

    slug = "server-unreachable"
