"""The address of every page, for the tests of what holds on all of them.

A new page needs a line here: ``test_pages.py`` compares these with the routes. Names in braces
are filled in by ``filled_server.py``.
"""

from __future__ import annotations

_PROJECT = "/p/{project}"
_PLACE = "/p/{project}/e/{environment}"
_SETTINGS = f"{_PROJECT}/settings"

PAGES = (
    *(f"{_PLACE}/begin", f"{_PLACE}/begin?with=javascript&step=connect"),
    *(f"{_PLACE}/begin/tour?story={story}&scene=5" for story in ("healthy", "harmful")),
    *(f"{_PLACE}/begin?step={step}" for step in ("flag", "segment", "policy", "release")),
    *("/sign-in", "/sign-in/kept", "/sign-in/link", "/invitation", "/device", "/projects"),
    *(f"{_PLACE}/flags", f"{_PLACE}/flags?q=nothing", f"{_PLACE}/flags?state=releasing"),
    *(f"{_PLACE}/flags/new", f"{_PLACE}/flags/checkout", f"{_PLACE}/flags/search"),
    *(f"{_PLACE}/flags/banner", f"{_PLACE}/flags/banner/rules", f"{_PLACE}/flags/checkout/kill"),
    *(f"{_PLACE}/flags/search/restore", f"{_PLACE}/kills", f"{_PLACE}/kill"),
    *(f"{_PLACE}/kill?tag=payments", f"{_PLACE}/restore?tag=payments"),
    *(f"{_PLACE}/flags/checkout?step=day", f"{_PLACE}/flags/banner/playground"),
    *(f"{_PLACE}/flags/banner/history", f"{_PLACE}/flags/banner/history/targeting/1"),
    f"{_PLACE}/flags/banner/history/definition/1?with=1",
    *(f"{_PLACE}/flags/banner/edit", f"{_PLACE}/flags/banner/promote?to=staging"),
    f"{_PLACE}/flags/banner/share",
    *(f"{_PLACE}/flags/banner/copy", f"{_PLACE}/flags/checkout/clean-up"),
    *(f"{_PROJECT}/segments/staff/history", f"{_PROJECT}/segments/staff/history/1"),
    *(f"{_PROJECT}/segments/staff/upload", f"{_PLACE}/flags?archived=true&sort=owner"),
    *(
        f"{_PLACE}/releases",
        f"{_PLACE}/releases?all=yes",
        f"{_PLACE}/releases/new",
        f"{_PLACE}/releases/new?flag=banner",
    ),
    *(f"{_PLACE}/releases/{{live}}", f"{_PLACE}/releases/{{over}}"),
    *(f"{_PLACE}/releases/{{live}}/rollback", f"{_PLACE}/releases/{{live}}/pause"),
    *(f"{_PLACE}/releases/{{over}}/share", f"{_PLACE}/releases/{{live}}/share"),
    "/shared/{project}/{shared}/{shared_secret}",
    *(f"{_PLACE}/releases/{{over}}/replay", f"{_PLACE}/releases/{{over}}/compare"),
    f"{_PLACE}/releases/{{over}}/compare?policy=seldom",
    *(
        f"{_PLACE}/instances",
        f"{_PLACE}/instances?show=behind",
        f"{_PLACE}/search",
        f"{_PLACE}/search?q=check",
    ),
    *(f"{_PROJECT}/segments", f"{_PROJECT}/segments/new", f"{_PROJECT}/segments/staff"),
    f"{_PROJECT}/segments/staff/edit",
    *(f"{_PROJECT}/policies", f"{_PROJECT}/policies/new?from=careful"),
    *(f"{_PROJECT}/policies/careful", f"{_PROJECT}/policies/careful/edit"),
    f"{_PROJECT}/policies/seldom?traffic=600&fails=1&times=3",
    *(f"{_PROJECT}/changes", f"{_PROJECT}/changes?state=approved"),
    *(f"{_PROJECT}/change-requests/{{request}}", "/changes", "/change-requests/{server_request}"),
    *(f"{_PROJECT}/schedules", f"{_PROJECT}/schedules/{{schedule}}", f"{_PROJECT}/schedules/new"),
    f"{_PROJECT}/schedules/new/yaml",
    f"{_PROJECT}/schedules/new?flag=banner&environment=production",
    *(f"{_PROJECT}/audit", f"{_PROJECT}/audit?key=checkout", f"{_PROJECT}/audit?actor=nobody"),
    *(f"{_PROJECT}/audit/verify", f"{_PROJECT}/audit/{{entry}}", "/audit", "/audit/verify"),
    *(f"{_PROJECT}/audit/{{entry}}/bring-back/0", "/audit/{server_entry}"),
    "/audit/{person_entry}/bring-back/0",
    *(f"{_SETTINGS}/environments", f"{_SETTINGS}/people", f"{_SETTINGS}/people/{{person}}"),
    f"{_SETTINGS}/people/{{person}}/withdraw?role=responder&project={{project}}",
    *(f"{_SETTINGS}/people/{{person}}/{act}" for act in ("deactivate", "delete", "end-sessions")),
    f"{_SETTINGS}/people/{{person}}/reset-second-factor",
    f"{_SETTINGS}/people/{{person}}/unlink?identity=none",
    *(
        f"{_SETTINGS}/groups",
        f"{_SETTINGS}/groups/{{group}}",
        f"{_SETTINGS}/groups/{{group}}/delete",
    ),
    f"{_SETTINGS}/groups/{{group}}/withdraw?role=developer&project={{project}}",
    *(f"{_SETTINGS}/roles", f"{_SETTINGS}/roles/{{role}}", f"{_SETTINGS}/roles/{{role}}/delete"),
    f"{_SETTINGS}/sessions",
    *(f"{_SETTINGS}/tokens", f"{_SETTINGS}/tokens/{{token}}"),
    f"{_SETTINGS}/tokens/{{token}}/revoke",
    *(f"{_SETTINGS}/identity-providers", f"{_SETTINGS}/identity-providers/{{provider}}"),
    f"{_SETTINGS}/identity-providers/{{provider}}/delete",
    *(f"{_SETTINGS}/webhooks", f"{_SETTINGS}/webhooks/chat", f"{_SETTINGS}/webhooks/chat/delete"),
    *(f"{_SETTINGS}/webhooks/chat/deliveries/{{delivery}}", f"{_SETTINGS}/hooks"),
    *(f"{_SETTINGS}/hooks/{{hook}}", f"{_SETTINGS}/hooks/{{hook}}/delete"),
    *(f"{_SETTINGS}/environments/production", f"{_SETTINGS}/environments/staging"),
    *(f"{_SETTINGS}/environments/staging/{act}" for act in ("key", "delete")),
    f"{_SETTINGS}/project",
    *("/you", "/you/password", "/you/second-factor", "/you/second-factor/remove"),
    *("/you/recovery-codes", "/you/sessions/end", "/you/tokens/new", "/you/tokens/nothing/delete"),
)
"""Every page, some of them in more than one state."""

MISSING = f"{_PLACE}/flags/nothing"
"""A page that says what is not there."""

LEADS_ELSEWHERE = (
    f"{_SETTINGS}/you",
    *("/", _PROJECT, f"{_SETTINGS}"),
    *("/sign-in/with/company", "/sign-in/with/company/callback"),
    "/badge/{project}/share/secret.svg",
)
"""Addresses that only lead to a page."""

TO_PROVIDERS = "/sign-in/with/"
"""What begins with this asks an identity provider, and the filled server's is not there."""
