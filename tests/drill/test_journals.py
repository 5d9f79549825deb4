"""What the workers saw, read from their journals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tidegate_server.drill.journals import Journals, Line, Seen, path_of

START = Line(0.0, 0, 0, 0.001, 1, False, 0)


def write(folder: Path, worker: int, *lines: Line) -> None:
    with path_of(folder, worker).open("a") as file:
        file.writelines(line.as_json() for line in lines)


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path, 2)


def test_what_all_workers_saw_is_added_up_and_the_worst_of_them_counts(
    journals: Journals, tmp_path: Path
) -> None:
    write(
        tmp_path,
        0,
        replace(START, at=9.0, answered=100),
        replace(START, at=11.0, answered=150, number=2, slowest=0.5),
        replace(START, at=14.0, answered=200, number=3, errors=1),
        replace(START, at=30.0, answered=900, number=9, slowest=9.0),
    )
    write(
        tmp_path,
        1,
        replace(START, at=9.0, answered=10),
        replace(START, at=19.0, answered=20, number=3),
    )
    assert journals.seen(10.0, 20.0) == Seen(
        answered=110, errors=1, slowest=0.5, without_changes=9.0
    )


def test_a_worker_that_wrote_nothing_got_no_changes(journals: Journals, tmp_path: Path) -> None:
    write(tmp_path, 0, replace(START, at=11.0, answered=5), replace(START, at=12.0, answered=9))
    assert journals.seen(10.0, 15.0) == Seen(4, 0, 0.001, 5.0)


def test_a_line_counts_once_it_is_written_to_its_end(journals: Journals, tmp_path: Path) -> None:
    whole = replace(START, at=2.0, operations=7).as_json()
    path_of(tmp_path, 0).write_text(START.as_json() + whole[:20])
    assert journals.operations() == 0
    path_of(tmp_path, 0).write_text(START.as_json() + whole)
    assert journals.operations() == 7


def test_a_number_has_arrived_when_every_worker_has_it(journals: Journals, tmp_path: Path) -> None:
    write(tmp_path, 0, replace(START, number=5))
    assert not journals.all_reach(5)
    write(tmp_path, 1, replace(START, number=4))
    assert not journals.all_reach(5)
    write(tmp_path, 1, replace(START, number=6))
    assert journals.all_reach(5)


def test_a_kill_has_arrived_when_the_last_worker_has_it(journals: Journals, tmp_path: Path) -> None:
    write(tmp_path, 0, START, replace(START, at=5.0, killed=True))
    write(tmp_path, 1, START)
    assert not journals.all_killed(True)
    write(tmp_path, 1, replace(START, at=7.0, killed=True), replace(START, at=8.0, killed=True))
    assert journals.all_killed(True)
    assert journals.killed_since(4.0) == 7.0
