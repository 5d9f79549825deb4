"""Signing in on a device that has no browser, or not the right one (RFC 8628)."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.device_sign_ins import service
from tidegate_server.admin.device_sign_ins.schemas import (
    DeviceCodeBody,
    DeviceSignInAnswer,
    DeviceSignInBody,
    NewDeviceSignIn,
    StartedAnswer,
)
from tidegate_server.admin.tokens.schemas import NewTokenAnswer
from tidegate_server.domain.device_sign_ins import INTERVAL_S, VALID_MS
from tidegate_server.web import responses
from tidegate_server.web.backend import current_caller, public_address
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint, Who

blueprint = Blueprint("device_sign_ins", __name__, description="Sign in on a device")

COLLECTION = f"{SERVER_PREFIX}/device-sign-ins"
ITEM = f"{COLLECTION}/<key:code>"
PAGE = "/device"


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=None,
    body=DeviceSignInBody,
    response=StartedAnswer,
    etag=False,
    errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
)
def begin_device_sign_in(new: NewDeviceSignIn) -> Response:
    """Begin to sign a program in: show its user the code and the address of the page."""
    started = service.begin(new)
    page = f"{public_address()}{PAGE}"
    answer = {
        "device_code": started.secret,
        "user_code": started.waiting.code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?code={started.waiting.code}",
        "expires_in": VALID_MS // 1000,
        "interval": INTERVAL_S,
    }
    return responses.value(StartedAnswer(), answer)


@blueprint.operation(
    "POST",
    f"{COLLECTION}/token",
    permission=None,
    body=DeviceCodeBody,
    response=NewTokenAnswer,
    status=HTTPStatus.CREATED,
    errors=(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
)
def take_device_token(given: dict[str, str]) -> Response:
    """Get the token once a person has approved the code. Until then the problem's type says why.

    `authorization-pending`: ask again after the interval. `slow-down`: wait longer.
    `access-denied`: a person has refused. `expired-token`: begin again.
    """
    stored = service.take_token(given["device_code"])
    return responses.document(NewTokenAnswer(), stored, stored.revision, status=HTTPStatus.CREATED)


@blueprint.operation(
    "GET",
    ITEM,
    permission=None,
    who=Who.SESSION,
    response=DeviceSignInAnswer,
    etag=False,
    errors=(HTTPStatus.TOO_MANY_REQUESTS,),
)
def get_device_sign_in(code: str) -> Response:
    """Get the program that waits with a code."""
    return responses.value(DeviceSignInAnswer(), service.find(current_caller(), code))


@blueprint.operation(
    "POST",
    f"{ITEM}/approve",
    permission=None,
    who=Who.SESSION,
    response=DeviceSignInAnswer,
    etag=False,
    errors=(HTTPStatus.TOO_MANY_REQUESTS,),
)
def approve_device_sign_in(code: str) -> Response:
    """Approve a program: it gets a token of your own."""
    waiting = service.decide(current_caller(), code, approved=True)
    return responses.value(DeviceSignInAnswer(), waiting)


@blueprint.operation(
    "POST",
    f"{ITEM}/refuse",
    permission=None,
    who=Who.SESSION,
    response=DeviceSignInAnswer,
    etag=False,
    errors=(HTTPStatus.TOO_MANY_REQUESTS,),
)
def refuse_device_sign_in(code: str) -> Response:
    """Refuse a program."""
    waiting = service.decide(current_caller(), code, approved=False)
    return responses.value(DeviceSignInAnswer(), waiting)
