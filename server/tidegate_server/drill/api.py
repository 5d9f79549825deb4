"""What the drill asks of its server, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import urllib3

from tidegate_server.drill import flags
from tidegate_server.errors import ServerRefused, ServerUnreachable

Json: TypeAlias = dict[str, Any]

SECONDS = 15.0
"""How long an answer may take; the server has a shorter limit of its own."""

PROJECT = "/api/v1/projects/default"
ENVIRONMENT = f"{PROJECT}/environments/production"


class Api:
    """Requests to a server, none of which is repeated.

    Every method raises ``ServerRefused`` when the server answers with an error, and
    ``ServerUnreachable`` when it does not answer.

    Args:
        url: the server.
        token: an admin token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._http = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {token}"}, retries=False, timeout=SECONDS
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def is_ready(self) -> bool:
        """Return whether the server and its store answer."""
        try:
            self._send("GET", "/health/ready")
        except (ServerRefused, ServerUnreachable):
            return False
        return True

    def set_up(self) -> str:
        """Make the flags and the policy; return a token for the application."""
        self._send("POST", f"{PROJECT}/flags", flags.number_flag(0))
        self._serve(flags.NUMBER, "number", off="none")
        for key in (flags.SWITCH, flags.RELEASED):
            self._send("POST", f"{PROJECT}/flags", {"key": key, "type": "boolean"})
        self._serve(flags.SWITCH, "on", off="off")
        self._send("POST", f"{PROJECT}/policies", flags.POLICY)
        token = {
            "name": "drill",
            "role": "sdk",
            "project": "default",
            "environment": "production",
        }
        return str(self._send("POST", "/api/v1/tokens", token)["secret"])

    def start_release(self) -> str:
        """Start the release and return its id."""
        release = {"flag": flags.RELEASED, "treatment": "on", "policy": flags.POLICY["key"]}
        return str(self._send("POST", f"{ENVIRONMENT}/releases", release)["id"])

    def release(self, release: str) -> Json:
        """Return the release."""
        return self._send("GET", f"{ENVIRONMENT}/releases/{release}")

    def set_number(self, number: int) -> None:
        """Change the number flag; the audit log keeps the number as the reason."""
        path = f"{PROJECT}/flags/{flags.NUMBER}"
        self._send("PUT", path, flags.number_flag(number), number=str(number))

    def number(self) -> int:
        """Return the number that the flag has."""
        return int(self._send("GET", f"{PROJECT}/flags/{flags.NUMBER}")["variants"][0]["value"])

    def numbers_in_the_audit_log(self) -> list[int]:
        """Return the numbers of all changes in the audit log, the earliest first."""
        return [
            int(entry["reason"])
            for entry in self._audit()
            if entry["target"] == flags.NUMBER and entry["reason"].isdigit()
        ][::-1]

    def problem_of_the_audit_log(self) -> str:
        """Return what is wrong with the hash chain of the audit log; empty: nothing."""
        verified = self._send("GET", f"{PROJECT}/audit/verification")
        return str(verified["problem"] or "")

    def kill(self) -> None:
        """Kill the flag of the kill switch."""
        self._send("POST", f"{ENVIRONMENT}/flags/{flags.SWITCH}/kill", {"reason": "a drill"})

    def restore(self) -> None:
        """Restore the flag of the kill switch."""
        self._send("POST", f"{ENVIRONMENT}/flags/{flags.SWITCH}/restore", {"reason": "a drill"})

    def _serve(self, key: str, variant: str, off: str) -> None:
        path = f"{ENVIRONMENT}/flags/{key}"
        default = {"variant": variant}
        targeting = {"enabled": True, "rules": [], "default": default, "off_variant": off}
        self._send("PUT", path, targeting)

    def _audit(self) -> Iterator[Json]:
        cursor = ""
        while True:
            query = f"key={flags.NUMBER}&limit=500{cursor}"
            page = self._send("GET", f"{PROJECT}/audit?{query}")
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"

    def _send(self, method: str, path: str, body: Json | None = None, number: str = "") -> Json:
        headers = {**self._http.headers}
        if method == "PUT":
            headers["If-Match"] = "*"
        if number:
            headers["Tidegate-Reason"] = number
        try:
            answer = self._http.request(method, self._url + path, json=body, headers=headers)
            content: Json = answer.json()
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise ServerUnreachable(f"{method} {path}: no answer ({error}).") from error
        if answer.status >= 400:
            detail = str(content.get("detail", content))
            raise ServerRefused(f"{method} {path}: {answer.status}: {detail}", answer.status)
        return content
