"""A small client of the administration API, and the answers that the quickstart reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import urllib3

FINAL_STATES = frozenset({"completed", "rolled_back"})
HELD_STATES = frozenset({"paused", "killed"})


class Refused(Exception):
    """The server answered with an error, not in JSON, or not at all.

    ``status`` is the HTTP status; 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Invitation:
    """The id of a person, and the link with which they sign in."""

    person: str
    link: str


@dataclass(frozen=True, slots=True)
class Arm:
    """The counts of one arm of a release."""

    exposures: int = 0
    outcomes: int = 0
    errors: int = 0
    failing: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Arm:
        return cls(body["exposures"], body["outcomes"], body["errors"], body["failing"])

    @property
    def error_rate(self) -> float | None:
        """Errors per operation that ended; None before the first."""
        return self.errors / self.outcomes if self.outcomes else None


@dataclass(frozen=True, slots=True)
class ReleaseStatus:
    """A release as the API shows it.

    ``evidence`` is the evidence of harm, which rolls the release back at ``rollback_at``;
    ``advance`` is the evidence of safety, which opens the next stage at ``advance_at``.
    """

    id: str
    flag: str
    state: str
    state_by: str
    reason: str
    stage: int
    stages: int
    stage_name: str
    percentage: float
    segments: tuple[str, ...]
    control: Arm
    treatment: Arm
    windows: int = 0
    evidence: float | None = None
    rollback_at: float | None = None
    advance: float | None = None
    advance_at: float | None = None
    decision: str = "none yet"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> ReleaseStatus:
        stage = body["stage"]
        progress = body["progress"] or {}
        last = progress.get("last_decision")
        return cls(
            id=body["id"],
            flag=body["flag"],
            state=body["state"],
            state_by=body["state_by"],
            reason=body["reason"],
            stage=stage["number"],
            stages=stage["of"],
            stage_name=stage["name"],
            percentage=stage["percentage"],
            segments=tuple(stage["segments"]),
            control=Arm.of(progress["control"]) if progress else Arm(),
            treatment=Arm.of(progress["treatment"]) if progress else Arm(),
            windows=progress.get("windows", 0),
            evidence=progress.get("evidence"),
            rollback_at=progress.get("rollback_at"),
            advance=progress.get("advance"),
            advance_at=progress.get("advance_at"),
            decision=f"{last['action']}: {last['reason']}" if last else "none yet",
        )

    @property
    def ended(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def taken_over(self) -> bool:
        """Whether a person has paused, killed or ended it, so it does not go on by itself."""
        by_policy = self.state_by in ("", "policy")
        return not by_policy and (self.ended or self.state in HELD_STATES)

    @property
    def audience(self) -> str:
        """Who gets the treatment in the current stage: ``5 % of everyone``."""
        people = " or ".join(self.segments) if self.segments else "everyone"
        return f"{self.percentage:g} % of {people}"


class Admin:
    """A client for one project and environment of a Tidegate server.

    Args:
        url: where the server listens.
        token: an admin token.
    """

    def __init__(
        self, url: str, token: str, project: str = "default", environment: str = "production"
    ) -> None:
        self._url = url
        self._project = project
        self._environment = environment
        self._http = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {token}"},
            timeout=urllib3.Timeout(10.0),
            retries=urllib3.Retry(3, redirect=False, backoff_factor=0.2),  # of reads only
        )

    def ready(self) -> bool:
        """Return whether the server and its store answer."""
        try:
            return (
                self._http.request("GET", f"{self._url}/health/ready", retries=False).status == 200
            )
        except urllib3.exceptions.HTTPError:
            return False

    def sdk_token(self, name: str) -> str:
        """Create a token for an application and return its secret."""
        answer = self._request(
            "POST",
            "/api/v1/tokens",
            {
                "name": name,
                "role": "sdk",
                "project": self._project,
                "environment": self._environment,
            },
        )
        return str(answer["secret"])

    def invite(self, email: str, name: str, leads_to: str) -> Invitation:
        """Make an admin, and invite them.

        Args:
            email, name: of the new person.
            leads_to: the path of the page to which the link leads afterwards.
        """
        body = {"email": email, "name": name, "grants": [{"role": "admin"}]}
        person = self._request("POST", "/api/v1/people", body)
        wanted = {"signs_in_only": True, "expires_in": "1h"}
        made = self._request("POST", f"/api/v1/people/{person['id']}/invitation", wanted)
        address, _, secret = str(made["link"]).partition("#")
        return Invitation(person["id"], f"{address}?next={quote(leads_to)}#{secret}")

    def has_signed_in(self, invitation: Invitation) -> bool:
        """Return whether a person has used their link."""
        path = f"/api/v1/sessions?person={invitation.person}"
        return bool(self._request("GET", path)["items"])

    def create(self, kind: str, document: Mapping[str, Any]) -> None:
        """Create a document in the project; ``kind`` is the plural: ``flags``."""
        self._request("POST", f"/api/v1/projects/{self._project}/{kind}", document)

    def create_missing(self, kind: str, document: Mapping[str, Any]) -> None:
        """Create a document in the project, unless one with its key exists."""
        try:
            self.create(kind, document)
        except Refused as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise

    def start_release(self, flag: str, treatment: str, policy: str, reason: str) -> ReleaseStatus:
        """Start a release of the variant ``treatment``."""
        answer = self._request(
            "POST",
            f"{self._environment_path()}/releases",
            {"flag": flag, "treatment": treatment, "policy": policy, "reason": reason},
        )
        return ReleaseStatus.of(answer)

    def release(self, release: str) -> ReleaseStatus:
        return ReleaseStatus.of(
            self._request("GET", f"{self._environment_path()}/releases/{quote(release)}")
        )

    def targeting(self, flag: str) -> dict[str, Any]:
        """Return what a flag serves in the environment, and whether it is killed."""
        return self._request("GET", f"{self._environment_path()}/flags/{quote(flag)}")

    def live_instances(self) -> int:
        """Return the number of live instances."""
        items = self._request("GET", f"{self._environment_path()}/instances")["items"]
        return sum(1 for item in items if item["live"])

    def ledger(self, release: str) -> list[dict[str, Any]]:
        """Return every decision of a release, the oldest first."""
        return self._all(f"{self._environment_path()}/releases/{quote(release)}/ledger")

    def explanation(self, release: str) -> dict[str, Any]:
        """Return the explanation of a release."""
        return self._request(
            "GET", f"{self._environment_path()}/releases/{quote(release)}/explanation"
        )

    def audit(self) -> list[dict[str, Any]]:
        """Return the audit log of the project, the oldest entry first."""
        return self._all(f"/api/v1/projects/{self._project}/audit")

    def _all(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        query = "limit=100"
        while True:
            page = self._request("GET", f"{path}?{query}")
            items += page["items"]
            if page["next_cursor"] is None:
                return items[::-1]
            query = f"limit=100&cursor={quote(page['next_cursor'])}"

    def _environment_path(self) -> str:
        return f"/api/v1/projects/{self._project}/environments/{self._environment}"

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            answer = self._http.request(method, self._url + path, json=body)
        except urllib3.exceptions.HTTPError as error:
            raise Refused(f"{method} {path}: no answer ({error})") from error
        try:
            content = json.loads(answer.data)
        except ValueError:
            content = None
        if answer.status >= 400 or not isinstance(content, dict):
            raise Refused(
                f"{method} {path} -> {answer.status}: {answer.data.decode(errors='replace')}",
                answer.status,
            )
        return content
