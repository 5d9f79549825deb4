"""Random sequences of edits, kills and transitions of one flag.

The store in memory checks after every commit that the snapshot agrees with the documents, and
that the flag's version never decreases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.model import All as Every
from tidegate.model import Flag, Rule, Variant
from tidegate_server.domain import flag_edits
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import Invalid, NotPossible

from tests.domain.builders import OFF, ON, InMemoryStore, serving, store_with_checkout

RULE = Rule("rule", Every(()), serving("off"))


def start(store: InMemoryStore) -> None:
    store.start(release_id=f"rel_{store.now_ms}")


def start_on_a_rule(store: InMemoryStore) -> None:
    store.start(release_id=f"rel_{store.now_ms}", rule="rule")


def kill(store: InMemoryStore) -> None:
    store.kill()


def restore(store: InMemoryStore) -> None:
    store.restore()


def toggle_rule(store: InMemoryStore) -> None:
    store.edit_targeting(rules=() if store.targeting().rules else (RULE,))


def toggle_enabled(store: InMemoryStore) -> None:
    store.edit_targeting(enabled=not store.targeting().enabled)


def serve_control(store: InMemoryStore) -> None:
    store.edit_targeting(default=serving("off"), rules=())


def serve_on_when_off(store: InMemoryStore) -> None:
    store.edit_targeting(off_variant="on")


def serve_on_when_killed(store: InMemoryStore) -> None:
    store.edit_targeting(kill_variant="on")


def serve_extra_when_killed(store: InMemoryStore) -> None:
    store.edit_targeting(kill_variant="extra")


def rename(store: InMemoryStore) -> None:
    _edit(store, name=f"at {store.now_ms}")


def toggle_variant(store: InMemoryStore) -> None:
    extra = Variant("extra", True)
    present = store.documents.flag("checkout").document.variants
    _edit(store, variants=(ON, OFF) if extra in present else (ON, OFF, extra))


def swap_values(store: InMemoryStore) -> None:
    on, *others = store.documents.flag("checkout").document.variants
    swapped = [replace(each, value=not each.value) for each in (on, *others)]
    _edit(store, variants=tuple(swapped))


def _edit(store: InMemoryStore, **to: object) -> None:
    after = replace(store.documents.flag("checkout").document, **to)
    store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=store.now_ms))


def transition(
    function: Callable[..., object], by: Initiator, **options: object
) -> Callable[[InMemoryStore], None]:
    def act(store: InMemoryStore) -> None:
        if store.targeting().release is not None:
            after = function(store.release(), store.now_ms, "because", by=by, **options)
            store.move(after)  # type: ignore[arg-type]

    return act


ACTS: list[Callable[[InMemoryStore], None]] = [
    start,
    start_on_a_rule,
    kill,
    restore,
    toggle_rule,
    toggle_enabled,
    serve_control,
    serve_on_when_off,
    serve_on_when_killed,
    serve_extra_when_killed,
    rename,
    toggle_variant,
    swap_values,
    *(
        transition(function, by)
        for by in Initiator
        for function in (
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
    transition(machine.pause, Initiator.PERSON, stop=True),
]


@settings(max_examples=150)
@given(st.lists(st.sampled_from(ACTS), max_size=40))
def test_documents_and_snapshot_agree_after_any_sequence_of_edits(
    acts: list[Callable[[InMemoryStore], None]],
) -> None:
    store = store_with_checkout()
    for act in acts:
        before = store.targeting(), store.flags["production"]["checkout"]
        try:
            act(store)
        except (NotPossible, Invalid):
            continue
        targeting = store.targeting()
        _check_promises(before, (targeting, store.flags["production"]["checkout"]))
        live = [
            stored.document
            for stored in store.documents.releases["production"].values()
            if stored.document.state in LIVE_STATES
        ]
        assert [release.id for release in live] == [targeting.release] * len(live)
        assert (targeting.release is not None) == bool(live)
        killed = [release for release in live if release.state is State.KILLED]
        assert len(killed) == len(live) * (targeting.kill is not None)


def _check_promises(before: tuple[Targeting, Flag], after: tuple[Targeting, Flag]) -> None:
    """Check that a kill serves what it served, and that no kill would open a release."""
    targeting, flag = after
    values = {each.key: each.value for each in flag.variants}
    if before[0].kill is not None and targeting.kill is not None:
        served = {each.key: each.value for each in before[1].variants}
        assert flag.killed is not None
        assert before[1].killed is not None
        assert values[flag.killed] is served[before[1].killed]
    if flag.release is not None:
        kill = targeting.kill_variant or targeting.off_variant
        assert values[kill] is not values[flag.release.treatment]
        assert values[targeting.off_variant] is not values[flag.release.treatment]
