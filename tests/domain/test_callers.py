"""What a caller may do is the sum of its grants, and each grant ends at its scope."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.callers import Caller, token_caller
from tidegate_server.domain.permissions import EVALUATION, Grant, Permission, Role
from tidegate_server.domain.tokens import Token

PLACES = st.sampled_from(
    [(None, None)] + [(p, e) for p in ("shop", "web") for e in (None, "live", "test")]
)
GRANTS = st.builds(
    lambda permissions, place: Grant(permissions, *place),
    st.frozensets(st.sampled_from(sorted(frozenset(Permission) - EVALUATION))),
    PLACES,
)


def caller(*grants: Grant) -> Caller:
    return Caller("1", "Ada (ada@example.com)", "ada@example.com", grants, "1")


@given(st.lists(GRANTS), PLACES, st.sampled_from(sorted(Permission)))
def test_a_caller_may_do_what_one_of_its_grants_allows(
    grants: list[Grant], place: tuple[str | None, str | None], permission: Permission
) -> None:
    asked = caller(*grants)
    assert asked.allows(permission, *place) == any(g.allows(permission, *place) for g in grants)
    if asked.holds(permission, *place):
        assert asked.allows(permission, *place)
        assert asked.has_anywhere(permission, place[0])


@given(st.lists(GRANTS), PLACES, st.sampled_from(sorted(Permission)))
def test_who_holds_a_permission_somewhere_holds_it_in_every_part_of_it(
    grants: list[Grant], place: tuple[str | None, str | None], permission: Permission
) -> None:
    asked = caller(*grants)
    project, environment = place
    if not asked.holds(permission, project, environment):
        return
    for inner in (project,) if project else ("shop", "web"):
        for part in (environment,) if environment else ("live", "test"):
            assert asked.holds(permission, inner, part)


def test_a_reader_of_one_environment_sees_its_project_but_cannot_give_that_away() -> None:
    reader = caller(Grant(frozenset({Permission.READ}), "shop", "live"))
    assert reader.allows(Permission.READ, "shop", None)
    assert not reader.holds(Permission.READ, "shop", None)
    assert not reader.allows(Permission.READ, "shop", "test")
    assert not reader.allows(Permission.READ, "web", None)


@pytest.mark.parametrize(("made_by", "answerable"), [("", "token:7"), ("a1b2", "a1b2")])
def test_the_person_who_made_a_token_answers_for_it(made_by: str, answerable: str) -> None:
    token = Token("7", "ci", Role.ADMIN, "digest", "Ada", 0, made_by=made_by)
    made = token_caller(token)
    assert made.answerable == answerable
    assert (made.name, made.known_as, made.grants) == ("ci (7)", "ci", (token.grant,))
