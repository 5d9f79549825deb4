"""A small identity provider: a real HTTP server that speaks OpenID Connect, and lies on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT_ID = "tidegate"
CLIENT_SECRET = "what only the provider and tidegate know: +/% §"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

Claims = dict[str, Any]
Key = RSAKey | ECKey


def new_rsa_key(id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": id, "use": "sig"})


@dataclass(frozen=True, slots=True)
class Granted:
    """What a code stands for."""

    redirect_uri: str
    nonce: str
    challenge: str


@dataclass
class OpenIdProvider:
    """A provider, and what it will say.

    Attributes:
        issuer: its address.
        user: who signs in: the claims of the ID token.
        userinfo: more claims, at another address.
        key: signs.
        published: the keys that it shows.
        algorithm: how it signs.
        change: changes the claims of an ID token before it is signed.
        sign: signs them; None: as usual.
        refusal: the error that a browser brings back instead of a code.
        answer: changes the query that a browser brings back.
        settings: changes what it says about itself.
        asked: the paths that were asked for.
    """

    issuer: str
    user: Claims
    key: Key
    published: list[Key]
    userinfo: Claims = field(default_factory=dict)
    algorithm: str = "RS256"
    change: Callable[[Claims], Claims] = field(default=lambda claims: claims)
    sign: Callable[[Claims], str] | None = None
    refusal: str = ""
    answer: Callable[[dict[str, str]], dict[str, str]] = field(default=lambda query: query)
    settings: Claims = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    secret: str = CLIENT_SECRET
    codes: dict[str, Granted] = field(default_factory=dict)
    """The codes that were not used yet."""

    def metadata(self) -> Claims:
        at = self.issuer
        return {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/keys",
            "userinfo_endpoint": f"{at}/userinfo",
            "end_session_endpoint": f"{at}/end-session",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "authorization_response_iss_parameter_supported": True,
            **self.settings,
        }

    def keys(self) -> Claims:
        return {"keys": [dict(each.as_dict(private=False)) for each in self.published]}

    def authorize(self, query: Mapping[str, str]) -> str:
        """Return where a browser goes after its user has signed in, or said no."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        answer = {"state": query["state"], "iss": self.issuer}
        if self.refusal:
            answer["error"] = self.refusal
        else:
            code = secrets.token_urlsafe(16)
            self.codes[code] = Granted(
                query["redirect_uri"], query["nonce"], query["code_challenge"]
            )
            answer["code"] = code
        return f"{query['redirect_uri']}?{urlencode(self.answer(answer))}"

    def exchange(self, authorization: str, form: Mapping[str, str]) -> tuple[int, Claims]:
        basic = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        id, _, secret = basic.partition(":")
        if (unquote(id), unquote(secret)) != (CLIENT_ID, self.secret):
            return 401, {"error": "invalid_client"}
        granted = self.codes.pop(form.get("code", ""), None)
        if granted is None or granted.redirect_uri != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != granted.challenge:
            return 400, {"error": "invalid_grant"}
        claims = self.change({**self.claims(), "nonce": granted.nonce})
        token = self.sign(claims) if self.sign is not None else self.signed(claims)
        return 200, {"access_token": "at", "token_type": "Bearer", "id_token": token}

    def claims(self) -> Claims:
        now = int(time.time())
        return {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **self.user}

    def signed(self, claims: Claims, header: Mapping[str, Any] | None = None) -> str:
        full = {"alg": self.algorithm, "kid": self.key.kid, **(header or {})}
        return jwt.encode(full, claims, self.key, algorithms=[full["alg"]])

    def logout_token(self, **claims: Any) -> str:
        """Return a token that says that somebody signed out; None leaves a claim out."""
        now = int(time.time())
        all_claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {LOGOUT_EVENT: {}},
            "sub": self.user["sub"],
            **claims,
        }
        said = {name: value for name, value in all_claims.items() if value is not None}
        return self.signed(said, {"typ": "logout+jwt"})


ADA: Claims = {
    "sub": "00u-ada",
    "email": "ada@example.com",
    "email_verified": True,
    "name": "Ada Lovelace",
    "groups": ["devs"],
    "sid": "session-1",
}


@contextmanager
def running_provider(rsa: Key) -> Iterator[OpenIdProvider]:
    """Run a provider that signs with a key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    issuer = f"http://127.0.0.1:{server.server_port}"
    provider = OpenIdProvider(issuer, {**ADA}, rsa, [rsa])
    server.provider = provider  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        provider = self._provider
        parts = urlsplit(self.path)
        provider.asked.append(parts.path)
        query = dict(parse_qsl(parts.query))
        match parts.path:
            case "/.well-known/openid-configuration":
                self._json(200, provider.metadata())
            case "/keys":
                self._json(200, provider.keys())
            case "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "/userinfo":
                self._json(200, {"sub": provider.user["sub"], **provider.userinfo})
            case _:
                self._json(404, {})

    def do_POST(self) -> None:
        provider = self._provider
        provider.asked.append(self.path)
        length = int(self.headers.get("Content-Length", "0"))
        form = dict(parse_qsl(self.rfile.read(length).decode()))
        if self.path == "/token":
            status, answer = provider.exchange(self.headers.get("Authorization", ""), form)
            self._json(status, answer)
        elif self.path == "/end-session":
            self.send_response(302)
            self.send_header("Location", form.get("post_logout_redirect_uri", "/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._json(404, {})

    @property
    def _provider(self) -> OpenIdProvider:
        provider: OpenIdProvider = self.server.provider  # type: ignore[attr-defined]
        return provider

    def _json(self, status: int, content: Claims) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
