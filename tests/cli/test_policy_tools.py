"""Policy commands that work on their own: lint, simulate, backtest, and shipped policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.documents import shipped
from tidegate_server.worker_processes import run_jobs

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import POLICY

SIMULATION = ("--traffic", "4000/min", "--base-error", "1%", "--bad", "x10", "--runs", "4")


@pytest.fixture
def offline() -> Tidegate:
    """A user without a server."""
    return Tidegate()


class TestLint:
    def test_a_valid_policy_passes(self, offline: Tidegate, tmp_path: Path) -> None:
        file = tmp_path / "careful.yaml"
        file.write_text(POLICY)

        hint, watched, summary = offline.ok("policy", "lint", str(file)).splitlines()
        assert hint.startswith(f"{file}:4: /stages/0/max_duration: hint: With little traffic")
        assert watched == (
            "After the last advance, error rate against control is watched by the probe of errors."
        )
        assert summary == f"{file} is valid."

    def test_problems_are_printed_with_line_pointer_and_fix(
        self, offline: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "careful.yaml"
        file.write_text(POLICY.replace("percentage: 50", "percentage: 1") + "colour: blue\n")
        result = offline.run("policy", "lint", str(file))

        assert result.status == 2
        assert f"{file}:8: /colour: There is no such field" in result.out
        file.write_text(POLICY.replace("percentage: 50", "percentage: 1"))
        result = offline.run("policy", "lint", str(file))
        assert result.status == 2
        assert f"{file}:5: /stages/1/percentage: 1 % is less than the 5 %" in result.out
        assert f"{file} has 1 problem." in result.out

    def test_a_condition_on_the_server_is_a_warning(self, offline: Tidegate) -> None:
        text = POLICY.replace("percentage: 5,", "segments: [staff], percentage: 5,")
        result = offline.run("policy", "lint", "-", stdin=text)

        assert result.status == 0
        assert (
            "standard input:4: /stages/0/segments/0: warning: The project needs a segment"
            in result.out
        )
        assert "is valid, 1 warning." in result.out

    def test_findings_are_printed_as_json(self, offline: Tidegate) -> None:
        text = POLICY.replace("bake: 1h", "bake: soon")
        result = offline.run("policy", "lint", "-", "--output", "json", stdin=text)

        report = json.loads(result.out)
        assert (result.status, report["sound"]) == (2, False)
        assert (report["findings"][0]["line"], report["findings"][0]["pointer"]) == (7, "/bake")

    def test_a_file_that_cannot_be_read_is_refused(self, offline: Tidegate, tmp_path: Path) -> None:
        assert "Cannot read" in offline.refused(
            "policy", "lint", str(tmp_path / "none.yaml"), status=2
        )
        output = offline.refused("policy", "lint", "-", stdin="key: [", status=2)
        assert "standard input is not YAML" in output


class TestShipped:
    @pytest.mark.parametrize("name", shipped.NAMES)
    def test_shipped_policies_are_printed_as_yaml(self, tidegate: Tidegate, name: str) -> None:
        assert tidegate.ok("policy", "show", name) == shipped.text(name)

    def test_shipped_policies_need_no_server(self, offline: Tidegate) -> None:
        result = offline.run("policy", "show", "standard")

        assert (result.status, result.out) == (0, shipped.text("standard"))
        assert "the built-in policy standard" in result.err
        assert offline.run("policy", "show", "standard", "--shipped").err == ""
        away = offline.with_variables(
            TIDEGATE_URL="http://127.0.0.1:9", TIDEGATE_TOKEN="tg_reader_x"
        )
        assert away.ok("policy", "show", "standard") == shipped.text("standard")
        assert "No server is selected" in offline.refused("policy", "show", "mine", status=2)

    def test_a_shipped_policy_is_put_by_name_and_then_read_from_the_server(
        self, tidegate: Tidegate, tmp_path: Path
    ) -> None:
        assert "Policy standard created" in tidegate.ok("policy", "put", "standard")
        assert "unchanged" in tidegate.ok("policy", "put", "standard")
        assert "1 % of everyone" in tidegate.ok("policy", "show", "standard")
        assert tidegate.ok("policy", "show", "standard", "--shipped") == shipped.text("standard")
        assert tidegate.json("policy", "show", "standard")["revision"] == 1

    def test_a_shipped_policy_has_the_json_of_the_api(self, tidegate: Tidegate) -> None:
        before = tidegate.json("policy", "show", "hotfix")
        tidegate.ok("policy", "put", "hotfix")
        after = tidegate.json("policy", "show", "hotfix")

        assert {name: value for name, value in after.items() if name in before} == before

    def test_a_file_takes_precedence_over_a_shipped_policy(
        self, tidegate: Tidegate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "standard").write_text(POLICY)

        assert "Policy careful created" in tidegate.ok("policy", "put", "standard")

    def test_other_names_are_not_shipped(self, tidegate: Tidegate) -> None:
        assert "Choose from: standard, careful, hotfix, dark-launch" in tidegate.refused(
            "policy", "show", "mine", "--shipped", status=2
        )
        assert "no policy 'mine'" in tidegate.refused("policy", "show", "mine")


class TestSimulate:
    def test_a_simulation_needs_no_server(self, offline: Tidegate) -> None:
        output = offline.ok("policy", "simulate", "hotfix", *SIMULATION)

        assert (
            "Policy hotfix: 4 healthy releases and 4 bad releases, with 4,000 operations" in output
        )
        rows = {line.split("  ")[0]: line for line in output.splitlines()}
        assert "0 % (0 % to 49 %)" in rows["stopped by the policy"]
        assert "100 % (51 % to 100 %)" in rows["stopped by the policy"]
        assert "10 times the errors" in output
        assert "tenth 4" in rows["stopped at stage"]

    def test_a_policy_in_a_file_or_on_the_server_is_simulated(
        self, tidegate: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "mine.yaml"
        file.write_text(shipped.text("hotfix").replace("key: hotfix", "key: mine"))
        by_file = tidegate.json("policy", "simulate", str(file), *SIMULATION)
        tidegate.ok("policy", "put", str(file))
        by_key = tidegate.json("policy", "simulate", "mine", *SIMULATION)

        assert by_file == by_key
        assert by_key["policy"] == "mine"
        assert by_key["healthy"]["completed"]["value"] == 1
        assert by_key["bad"]["stopped"]["value"] == 1
        assert "no policy 'none'" in tidegate.refused("policy", "simulate", "none", *SIMULATION)

    def test_the_same_seed_repeats_a_run(self, offline: Tidegate) -> None:
        one = offline.json("policy", "simulate", "hotfix", *SIMULATION, "--seed", "1")
        same = offline.json("policy", "simulate", "hotfix", *SIMULATION, "--seed", "1")
        other = offline.json("policy", "simulate", "hotfix", *SIMULATION, "--seed", "2")

        assert one == same
        assert one["bad"] != other["bad"]

    @pytest.mark.parametrize(
        ("arguments", "output"),
        [
            (("--traffic", "many"), "is not a rate"),
            (("--traffic", "0/min"), "is not a rate"),
            (("--base-error", "100%"), "is not a share between 0 and 1"),
            (("--bad", "x1"), "is not a factor above 1"),
            (("--base-error", "50%", "--bad", "x3"), "cannot fail 3 times as often"),
            (("--segment", "staff"), "is not SEGMENT=SHARE"),
            (("--segment", "a=60%", "--segment", "b=60%"), "less than 100 %"),
            (("--activity", "pareto"), "is not an activity"),
            (("--activity", "zipf:x"), "is not an activity"),
            (("--activity", "zipf:9"), "is not an activity"),
            (("--activity", "equal:1"), "is not an activity"),
            (("--outages", "0/d"), "is not a rate"),
            (("--wobble-memory", "3"), "Say with --wobble"),
        ],
    )
    def test_impossible_numbers_are_refused(
        self, offline: Tidegate, arguments: tuple[str, ...], output: str
    ) -> None:
        assert output in offline.refused(
            "policy", "simulate", "hotfix", *SIMULATION, *arguments, status=2
        )

    def test_numbers_are_written_with_units(self, offline: Tidegate) -> None:
        arguments = ("--traffic", "5/s", "--base-error", "0.02", "--bad", "4", "--runs", "1")
        report = offline.json("policy", "simulate", "hotfix", *arguments, "--users", "9000")

        assert (report["traffic"], report["base_error"], report["times"]) == (300, 0.02, 4)
        assert report["users"] == 9_000

    def test_segments_have_a_share_of_the_users(self, offline: Tidegate, tmp_path: Path) -> None:
        file = tmp_path / "staff.yaml"
        text = shipped.text("hotfix")
        file.write_text(text.replace("percentage: 10,", "percentage: 50, segments: [staff],"))
        report = offline.json(
            "policy", "simulate", str(file), *SIMULATION, "--segment", "staff=30%"
        )

        assert report["segments"] == {"staff": 0.3}
        assert report["bad"]["stages"] == [4, 0, 0]

    def test_an_invalid_policy_is_not_simulated(self, offline: Tidegate, tmp_path: Path) -> None:
        file = tmp_path / "wrong.yaml"
        file.write_text(POLICY.replace("percentage: 50", "percentage: 1"))

        assert "/stages/1/percentage" in offline.refused(
            "policy", "simulate", str(file), *SIMULATION, status=2
        )

    def test_many_releases_are_simulated_on_all_cores(self, offline: Tidegate) -> None:
        few = offline.json("policy", "simulate", "hotfix", *SIMULATION[:-2], "--runs", "20")
        many = offline.json("policy", "simulate", "hotfix", *SIMULATION[:-2], "--runs", "21")

        assert few["bad"]["runs"] == 20
        assert many["bad"]["runs"] == 21
        assert many["bad"]["hurt"]["median"]["low"] <= few["bad"]["hurt"]["median"]["high"]

    def test_the_application_is_described(self, offline: Tidegate) -> None:
        report = offline.json(
            "policy", "simulate", "hotfix", *SIMULATION, "--activity", "log-normal:0.8",
            "--day-night", "60%", "--retries", "2", "--outages", "12/d", "--wobble", "5%",
            "--wobble-memory", "3", "--days", "1",
        )  # fmt: skip

        assert report["activity"] == {"kind": "log_normal", "skew": 0.8}
        assert (report["day_night"], report["retries"]) == (0.6, 2)
        assert report["outages"] == {"per_day": 12, "duration_ms": 600_000, "error_rate": 0.2}
        assert report["wobble"] == {"size": 0.05, "memory_windows": 3}
        assert report["healthy"]["runs"] == 4

    def test_a_policy_that_gets_stuck_is_answered_within_the_time_limit(
        self, offline: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "stuck.yaml"
        text = shipped.text("hotfix").replace("min_samples: 50", "min_samples: 999999999")
        file.write_text(text.replace("max_duration: 30m, undecided: advance, ", ""))
        arguments = ("policy", "simulate", str(file), *SIMULATION[:-2], "--runs", "90")
        result = offline.run(*arguments, "--bad", "x1.01", "--time-limit", "3s")

        assert result.status == 0
        assert "Not left at stage tenth, for example: " in result.out
        assert "999999999" in result.out.replace(",", "")
        assert "The time limit of 3 s ended the simulation early" in result.out

    def test_progress_is_printed_where_there_is_no_terminal(
        self, offline: Tidegate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tidegate_server.cli.policy_simulate.SECONDS_BETWEEN_LINES", 0.0)
        result = offline.run("policy", "simulate", "hotfix", *SIMULATION)

        assert "1 of 8 releases simulated" in result.err
        assert "8 of 8 releases simulated" in result.err

    def test_an_interrupted_simulation_prints_the_results_so_far(
        self, offline: Tidegate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = run_jobs

        def interrupted(*arguments: Any) -> Iterator[Any]:
            yield from islice(whole(*arguments), 3)
            raise KeyboardInterrupt

        monkeypatch.setattr("tidegate_server.cli.policy_simulate.run_jobs", interrupted)
        result = offline.run("policy", "simulate", "hotfix", *SIMULATION, "--output", "json")
        report = json.loads(result.out)

        assert result.status == 0
        assert "Interrupted after 3 of 8 simulated releases" in result.err
        assert (report["healthy"]["runs"], report["bad"]["runs"]) == (2, 1)


class TestLedger:
    def test_a_release_without_decisions_is_explained_and_replayed(
        self, checkout: Tidegate
    ) -> None:
        arguments = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
        checkout.json(*arguments)
        checkout.ok("release", "pause", "checkout", "--reason", "lunch")
        explanation = checkout.ok("release", "explain", "checkout")

        assert "checkout in production, off to on: paused at stage 1 of 3" in explanation
        assert "under policy careful, revision 1" in explanation
        assert "paused it: lunch" in explanation
        assert checkout.json("release", "explain", "checkout")["cleanup"] == []
        assert checkout.run("release", "replay", "checkout").status == 0

    def test_what_is_done_after_a_release_is_told_from_what_is_left_to_do(
        self, checkout: Tidegate
    ) -> None:
        arguments = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
        checkout.json(*arguments)
        checkout.ok("release", "rollback", "checkout", "--reason", "not yet")
        explanation = checkout.ok("release", "explain", "checkout")

        assert "[x] In production checkout serves off now." in explanation
        assert "[ ] In the code: fix what on does" in explanation


class TestBacktest:
    def test_a_policy_is_backtested_on_an_evaluated_release(
        self, tidegate: Tidegate, tmp_path: Path
    ) -> None:
        file = tmp_path / "quick.yaml"
        file.write_text(POLICY.replace("key: careful", "key: quick"))
        tidegate.ok("flag", "create", "checkout")
        tidegate.ok("policy", "put", str(file))
        arguments = ("release", "start", "checkout", "--treatment", "on", "--policy", "quick")
        release = tidegate.json(*arguments)["id"]
        at = ("policy", "backtest", str(file), "--release")
        wait_until("a decision", lambda: bool(tidegate.json("release", "ledger", release)))
        report = tidegate.json(*at, release)

        assert (report["policy"], report["release"], report["known"]) == ("quick", release, 1)
        output = tidegate.ok(*at, "checkout")
        assert "Policy quick on rel_" in output
        assert "Every count that the policy needs is recorded." in output
        assert "stage 1 after" in output
        assert "The number of failures would have been the same." in output
        assert "no policy 'none'" in tidegate.refused(
            "policy", "backtest", "none", "--release", release
        )

    def test_a_backtest_needs_a_release(self, checkout: Tidegate) -> None:
        assert "--release" in checkout.refused("policy", "backtest", "standard", status=2)
        assert "no release of a flag 'checkout'" in checkout.refused(
            "policy", "backtest", "standard", "--release", "checkout"
        )
