"""A flag's life in random order, as people, the policy and a kill switch would have it.

The shelf checks after every commit that the snapshot says what the documents say, and that
the flag's version never goes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.model import All as Every
from tidegate.model import Rule, Variant
from tidegate_server.domain import flag_edits
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import Invalid, NotPossible

from tests.domain.builders import OFF, ON, Shelf, serving, stocked

RULE = Rule("rule", Every(()), serving("off"))


def start(shelf: Shelf) -> None:
    shelf.start(release_id=f"rel_{shelf.now_ms}")


def start_on_a_rule(shelf: Shelf) -> None:
    shelf.start(release_id=f"rel_{shelf.now_ms}", rule="rule")


def kill(shelf: Shelf) -> None:
    shelf.kill()


def restore(shelf: Shelf) -> None:
    shelf.restore()


def toggle_rule(shelf: Shelf) -> None:
    shelf.retarget(rules=() if shelf.targeting().rules else (RULE,))


def toggle_enabled(shelf: Shelf) -> None:
    shelf.retarget(enabled=not shelf.targeting().enabled)


def serve_control(shelf: Shelf) -> None:
    shelf.retarget(default=serving("off"), rules=())


def rename(shelf: Shelf) -> None:
    _edit(shelf, name=f"at {shelf.now_ms}")


def toggle_variant(shelf: Shelf) -> None:
    extra = Variant("extra", True)
    held = shelf.documents.flag("checkout").document.variants
    _edit(shelf, variants=(ON, OFF) if extra in held else (ON, OFF, extra))


def swap_values(shelf: Shelf) -> None:
    on, *others = shelf.documents.flag("checkout").document.variants
    swapped = [replace(each, value=not each.value) for each in (on, *others)]
    _edit(shelf, variants=tuple(swapped))


def _edit(shelf: Shelf, **to: object) -> None:
    after = replace(shelf.documents.flag("checkout").document, **to)
    shelf.commit(flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=shelf.now_ms))


def moved(move: Callable[..., object], by: Initiator, **options: object) -> Callable[[Shelf], None]:
    def act(shelf: Shelf) -> None:
        if shelf.targeting().release is not None:
            after = move(shelf.release(), shelf.now_ms, "because", by=by, **options)
            shelf.move(after)  # type: ignore[arg-type]

    return act


ACTS: list[Callable[[Shelf], None]] = [
    start,
    start_on_a_rule,
    kill,
    restore,
    toggle_rule,
    toggle_enabled,
    serve_control,
    rename,
    toggle_variant,
    swap_values,
    *(
        moved(move, by)
        for by in Initiator
        for move in (
            machine.advance,
            machine.advance,
            machine.retreat,
            machine.hold,
            machine.end_hold,
            machine.pause,
            machine.resume,
            machine.complete,
            machine.roll_back,
        )
    ),
    moved(machine.pause, Initiator.PERSON, stop=True),
]


@settings(max_examples=150)
@given(st.lists(st.sampled_from(ACTS), max_size=40))
def test_whatever_happens_to_a_flag_its_documents_and_its_snapshot_agree(
    acts: list[Callable[[Shelf], None]],
) -> None:
    shelf = stocked()
    for act in acts:
        try:
            act(shelf)
        except (NotPossible, Invalid):
            continue
        targeting = shelf.targeting()
        live = [
            stored.document
            for stored in shelf.documents.releases["production"].values()
            if stored.document.state in LIVE_STATES
        ]
        assert [release.id for release in live] == [targeting.release] * len(live)
        assert (targeting.release is not None) == bool(live)
        killed = [release for release in live if release.state is State.KILLED]
        assert len(killed) == len(live) * (targeting.kill is not None)
