"""What the command line does with policies on its own: looks at them, tries them, has some."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.cli import policy_simulate
from tidegate_server.documents import shipped
from tidegate_server.whatif.simulation import Run

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import POLICY

WORLD = ("--traffic", "4000/min", "--base-error", "1%", "--bad", "x10", "--runs", "4")


@pytest.fixture
def nobody() -> Tidegate:
    """Someone without a server."""
    return Tidegate()


class TestLint:
    def test_a_sound_policy_passes(self, nobody: Tidegate, tmp_path: Path) -> None:
        file = tmp_path / "careful.yaml"
        file.write_text(POLICY)

        assert nobody.ok("policy", "lint", str(file)) == (
            f"{file} is a policy that can be carried out.\n"
        )

    def test_problems_are_told_with_line_pointer_and_mend(
        self, nobody: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "careful.yaml"
        file.write_text(POLICY.replace("percentage: 50", "percentage: 1") + "colour: blue\n")
        said = nobody.run("policy", "lint", str(file))

        assert said.status == 2
        assert f"{file}:8: /colour: There is no such field here" in said.out
        file.write_text(POLICY.replace("percentage: 50", "percentage: 1"))
        said = nobody.run("policy", "lint", str(file))
        assert said.status == 2
        assert f"{file}:5: /stages/1/percentage: 1 % is less than the 5 %" in said.out
        assert f"{file} has 1 problem." in said.out

    def test_what_only_a_server_knows_is_a_warning(self, nobody: Tidegate) -> None:
        text = POLICY.replace("percentage: 5,", "segments: [staff], percentage: 5,")
        said = nobody.run("policy", "lint", "-", stdin=text)

        assert said.status == 0
        assert "standard input:4: /stages/0/segments/0: warning: The project must have" in said.out
        assert "can be carried out; 1 warning." in said.out

    def test_for_programs_there_is_json(self, nobody: Tidegate) -> None:
        text = POLICY.replace("bake: 1h", "bake: soon")
        said = nobody.run("policy", "lint", "-", "--output", "json", stdin=text)

        found = json.loads(said.out)
        assert (said.status, found["sound"]) == (2, False)
        assert (found["findings"][0]["line"], found["findings"][0]["pointer"]) == (7, "/bake")

    def test_a_file_that_cannot_be_read_is_refused(self, nobody: Tidegate, tmp_path: Path) -> None:
        assert "cannot be read" in nobody.refused(
            "policy", "lint", str(tmp_path / "none.yaml"), status=2
        )
        said = nobody.refused("policy", "lint", "-", stdin="key: [", status=2)
        assert "standard input is not YAML" in said


class TestShipped:
    @pytest.mark.parametrize("name", shipped.NAMES)
    def test_policies_that_come_with_tidegate_are_printed_as_yaml(
        self, tidegate: Tidegate, name: str
    ) -> None:
        assert tidegate.ok("policy", "show", name) == shipped.text(name)

    def test_they_need_no_server(self, nobody: Tidegate) -> None:
        said = nobody.run("policy", "show", "standard")

        assert (said.status, said.out) == (0, shipped.text("standard"))
        assert "the one that comes with Tidegate" in said.err
        assert nobody.run("policy", "show", "standard", "--shipped").err == ""
        away = nobody.having(TIDEGATE_URL="http://127.0.0.1:9", TIDEGATE_TOKEN="tg_reader_x")
        assert away.ok("policy", "show", "standard") == shipped.text("standard")
        assert "No server is named" in nobody.refused("policy", "show", "mine", status=2)

    def test_they_are_put_by_their_name_and_the_server_s_own_counts_then(
        self, tidegate: Tidegate, tmp_path: Path
    ) -> None:
        assert "Policy standard created" in tidegate.ok("policy", "put", "standard")
        assert "already" in tidegate.ok("policy", "put", "standard")
        assert "1 % of everyone" in tidegate.ok("policy", "show", "standard")
        assert tidegate.ok("policy", "show", "standard", "--shipped") == shipped.text("standard")
        assert tidegate.json("policy", "show", "standard")["revision"] == 1

    def test_their_canonical_form_is_that_of_the_api(self, tidegate: Tidegate) -> None:
        before = tidegate.json("policy", "show", "hotfix")
        tidegate.ok("policy", "put", "hotfix")
        after = tidegate.json("policy", "show", "hotfix")

        assert {name: value for name, value in after.items() if name in before} == before

    def test_a_file_of_that_name_counts_first(
        self, tidegate: Tidegate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "standard").write_text(POLICY)

        assert "Policy careful created" in tidegate.ok("policy", "put", "standard")

    def test_no_other_names_are_shipped(self, tidegate: Tidegate) -> None:
        assert "there are standard, careful, hotfix, dark-launch" in tidegate.refused(
            "policy", "show", "mine", "--shipped", status=2
        )
        assert "no policy 'mine'" in tidegate.refused("policy", "show", "mine")


class TestSimulate:
    def test_a_policy_is_tried_without_a_server(self, nobody: Tidegate) -> None:
        said = nobody.ok("policy", "simulate", "hotfix", *WORLD)

        assert "Policy hotfix: 4 healthy releases and 4 bad ones, on 4,000 operations" in said
        rows = {line.split("  ")[0]: line for line in said.splitlines()}
        assert "0 % (0 % to 49 %)" in rows["stopped by the policy"]
        assert "100 % (51 % to 100 %)" in rows["stopped by the policy"]
        assert "10 times the errors" in said
        assert "tenth 4" in rows["stopped at stage"]

    def test_a_file_and_a_key_on_the_server_are_tried_too(
        self, tidegate: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "mine.yaml"
        file.write_text(shipped.text("hotfix").replace("key: hotfix", "key: mine"))
        by_file = tidegate.json("policy", "simulate", str(file), *WORLD)
        tidegate.ok("policy", "put", str(file))
        by_key = tidegate.json("policy", "simulate", "mine", *WORLD)

        assert by_file == by_key
        assert by_key["policy"] == "mine"
        assert by_key["healthy"]["completed"]["value"] == 1
        assert by_key["bad"]["stopped"]["value"] == 1
        assert "no policy 'none'" in tidegate.refused("policy", "simulate", "none", *WORLD)

    def test_another_seed_is_other_luck(self, nobody: Tidegate) -> None:
        one = nobody.json("policy", "simulate", "hotfix", *WORLD, "--seed", "1")
        same = nobody.json("policy", "simulate", "hotfix", *WORLD, "--seed", "1")
        other = nobody.json("policy", "simulate", "hotfix", *WORLD, "--seed", "2")

        assert one == same
        assert one["bad"] != other["bad"]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--traffic", "many"), "no traffic"),
            (("--traffic", "0/min"), "no traffic"),
            (("--base-error", "100%"), "no share"),
            (("--bad", "x1"), "no factor above 1"),
            (("--base-error", "50%", "--bad", "x3"), "cannot fail 3 times as often"),
            (("--segment", "staff"), "no segment with its share"),
            (("--segment", "a=60%", "--segment", "b=60%"), "more than everyone"),
        ],
    )
    def test_numbers_that_make_no_world_are_refused(
        self, nobody: Tidegate, words: tuple[str, ...], said: str
    ) -> None:
        assert said in nobody.refused("policy", "simulate", "hotfix", *WORLD, *words, status=2)

    def test_numbers_are_written_as_people_write_them(self, nobody: Tidegate) -> None:
        words = ("--traffic", "5/s", "--base-error", "0.02", "--bad", "4", "--runs", "1")
        found = nobody.json("policy", "simulate", "hotfix", *words, "--users", "9000")

        assert (found["traffic"], found["base_error"], found["times"]) == (300, 0.02, 4)
        assert found["users"] == 9_000

    def test_segments_have_their_share(self, nobody: Tidegate, tmp_path: Path) -> None:
        file = tmp_path / "staff.yaml"
        text = shipped.text("hotfix")
        file.write_text(text.replace("percentage: 10,", "percentage: 50, segments: [staff],"))
        found = nobody.json("policy", "simulate", str(file), *WORLD, "--segment", "staff=30%")

        assert found["segments"] == {"staff": 0.3}
        assert found["bad"]["stages"] == [4, 0, 0]

    def test_a_policy_that_cannot_be_carried_out_is_not_tried(
        self, nobody: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "wrong.yaml"
        file.write_text(POLICY.replace("percentage: 50", "percentage: 1"))

        assert "/stages/1/percentage" in nobody.refused(
            "policy", "simulate", str(file), *WORLD, status=2
        )

    def test_many_releases_are_simulated_on_all_cores_alike(self, nobody: Tidegate) -> None:
        few = nobody.json("policy", "simulate", "hotfix", *WORLD[:-2], "--runs", "20")
        many = nobody.json("policy", "simulate", "hotfix", *WORLD[:-2], "--runs", "21")

        assert few["bad"]["runs"] == 20
        assert many["bad"]["runs"] == 21
        assert many["bad"]["hurt"]["median"]["low"] <= few["bad"]["hurt"]["median"]["high"]

    def test_who_interrupts_it_gets_what_there_is(
        self, nobody: Tidegate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = policy_simulate.simulations

        def interrupted(*arguments: Any) -> Iterator[tuple[str, Run]]:
            yield from islice(whole(*arguments), 3)
            raise KeyboardInterrupt

        monkeypatch.setattr(policy_simulate, "simulations", interrupted)
        said = nobody.run("policy", "simulate", "hotfix", *WORLD, "--output", "json")
        found = json.loads(said.out)

        assert said.status == 0
        assert "Interrupted after 3 of 8 simulated releases" in said.err
        assert (found["healthy"]["runs"], found["bad"]["runs"]) == (2, 1)


class TestLedger:
    def test_a_release_that_nobody_decided_on_is_told_and_replayed(
        self, checkout: Tidegate
    ) -> None:
        words = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
        checkout.json(*words)
        checkout.ok("release", "pause", "checkout", "--reason", "lunch")
        told = checkout.ok("release", "explain", "checkout")

        assert "checkout in production, off to on: paused at stage 1 of 3" in told
        assert "under policy careful, revision 1" in told
        assert "paused it: lunch" in told
        assert checkout.json("release", "explain", "checkout")["cleanup"] == []
        assert checkout.run("release", "replay", "checkout").status == 0


class TestBacktest:
    def test_a_policy_is_tried_on_a_release_that_was_evaluated(
        self, tidegate: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "quick.yaml"
        file.write_text(POLICY.replace("key: careful", "key: quick"))
        tidegate.ok("flag", "create", "checkout")
        tidegate.ok("policy", "put", str(file))
        words = ("release", "start", "checkout", "--treatment", "on", "--policy", "quick")
        release = tidegate.json(*words)["id"]
        at = ("policy", "backtest", str(file), "--release")
        wait_until("a decision", lambda: bool(tidegate.json("release", "ledger", release)))
        found = tidegate.json(*at, release)

        assert (found["policy"], found["release"], found["known"]) == ("quick", release, 1)
        said = tidegate.ok(*at, "checkout")
        assert "Policy quick on rel_" in said
        assert "Every count that the policy needs is recorded." in said
        assert "stage 1 after" in said
        assert "It would have cost as many failures." in said
        assert "no policy 'none'" in tidegate.refused(
            "policy", "backtest", "none", "--release", release
        )

    def test_a_release_has_to_be_named(self, checkout: Tidegate) -> None:
        assert "--release" in checkout.refused("policy", "backtest", "standard", status=2)
        assert "no release of a flag 'checkout'" in checkout.refused(
            "policy", "backtest", "standard", "--release", "checkout"
        )
