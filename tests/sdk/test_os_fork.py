"""After os.fork() a child is its own instance, and nothing is counted twice or lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.child_processes import PYTHON_THAT_FORKS
from tests.sdk.server import SLOW, Environment

ROOT = Path(__file__).parents[2]

COMMON = """
import json, os, sys, threading, time
import tidegate

def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

def say(**values):
    os.write(1, (json.dumps(values) + "\\n").encode())

def work(name, times):
    for number in range(times):
        with client.operation(tidegate.Context(f"{name}-{number}")) as operation:
            client.boolean("checkout", False)
            if number % 5 == 0:
                operation.fail()

def fork():
    child = os.fork()
    if child == 0:
        return True
    children.append(child)
    return False

def wait():
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

children = []
client = tidegate.Client()
assert client.wait_until_ready(60)
"""


class Program:
    """A program that forks, run in another process."""

    def __init__(self, environment: Environment, text: str) -> None:
        self._process = subprocess.Popen(
            [*PYTHON_THAT_FORKS, "-c", COMMON + text],
            env={"TIDEGATE_URL": environment.url, "TIDEGATE_TOKEN": environment.token},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def next(self) -> Any:
        """Return the next line that one of its processes prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        return json.loads(line)

    def ended(self) -> bool:
        """Return whether its first process has ended."""
        return self._process.poll() is not None

    def end(self) -> list[Any]:
        """Wait for its end; return the lines that were not read."""
        out, err = self._process.communicate(timeout=60)
        assert (self._process.returncode, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]


def release(environment: Environment) -> str:
    environment.flag("checkout")
    return environment.release("checkout", SLOW)


def counted(environment: Environment, release: str) -> tuple[int, int, int]:
    """Return operations that ended, those with an error, and their distinct users."""
    arms = [
        arm
        for reading in environment.evidence(release).readings
        for arm in (reading.control, reading.treatment)
    ]
    return (
        sum(arm.outcomes for arm in arms),
        sum(arm.errors for arm in arms),
        sum(arm.failing for arm in arms),
    )


def test_each_process_counts_its_own_operations(environment: Environment) -> None:
    id = release(environment)
    program = Program(
        environment,
        """
work("parent", 10)
for number in range(3):
    if fork():
        say(ready=client.wait_until_ready(0), state=client.status().state,
            error=client.boolean_details("checkout", True, tidegate.Context("x")).error_code,
            instance=client.status().instance)
        work(f"child-{number}", 20)
        sys.exit(0)
work("again", 10)
say(ready=True, state="connected", error=None, instance=client.status().instance)
wait()
""",
    )
    lines = program.end()
    assert [each["ready"] for each in lines] == [True] * 4
    assert [each["error"] for each in lines] == [None] * 4
    assert len({each["instance"] for each in lines}) == 4
    # An evaluation outside of an operation has no outcome.
    assert counted(environment, id) == (80, 16, 16)
    assert {each["id"] for each in environment.instances()} == {each["instance"] for each in lines}


def test_children_and_grandchildren_get_changes(environment: Environment) -> None:
    environment.flag("checkout")
    program = Program(
        environment,
        """
if fork():
    if fork():
        say(who="grandchild")
        until(lambda: "killed" in client.boolean_details("checkout", False).metadata)
        say(who="grandchild", killed=True)
        sys.exit(0)
    wait()
    until(lambda: "killed" in client.boolean_details("checkout", False).metadata)
    sys.exit(0)
until(lambda: "killed" in client.boolean_details("checkout", False).metadata)
wait()
""",
    )
    assert program.next() == {"who": "grandchild"}
    environment.kill("checkout")
    assert program.end() == [{"who": "grandchild", "killed": True}]


def test_an_operation_that_was_open_at_the_fork_counts_in_the_parent_only(
    environment: Environment,
) -> None:
    id = release(environment)
    program = Program(
        environment,
        """
with client.operation(tidegate.Context("ann")) as operation:
    client.boolean("checkout", False)
    if fork():
        client.boolean("checkout", False)  # in the child it is an exposure alone
        operation.fail()
        operation.end()
        work("child", 3)
        sys.exit(0)
    wait()
""",
    )
    program.end()
    assert counted(environment, id) == (4, 1, 1)


def test_a_fork_while_other_threads_count_and_report(environment: Environment) -> None:
    """A lock that another thread holds at the fork is never released in the child."""
    id = release(environment)
    program = Program(
        environment,
        """
stop = threading.Event()
done = []

def keep_working(name):
    total = 0
    while not stop.is_set():
        work(f"{name}-{total}", 5)
        total += 5
        client._lifecycle.connection.report_now()
        stop.wait(0.005)  # leaves the server time for the last reports
    done.append(total)

threads = [threading.Thread(target=keep_working, args=(f"t{n}",)) for n in range(3)]
for thread in threads:
    thread.start()
for number in range(20):
    if fork():
        work(f"child-{number}", 5)
        client.close()
        os._exit(0)
stop.set()
for thread in threads:
    thread.join()
wait()
say(total=sum(done) + 20 * 5)
""",
    )
    (line,) = program.end()
    assert counted(environment, id)[0] == line["total"]


def test_a_child_of_a_closed_client_stays_closed(environment: Environment) -> None:
    environment.flag("checkout")
    program = Program(
        environment,
        """
client.close()
if fork():
    say(state=client.status().state, value=client.boolean("checkout", False),
        threads=threading.active_count())
    sys.exit(0)
wait()
""",
    )
    assert program.end() == [{"state": "closed", "value": False, "threads": 1}]


def test_a_child_forked_before_the_first_flags_gets_them(environment: Environment) -> None:
    environment.flag("checkout")
    program = Program(
        environment,
        """
early = tidegate.Client()
if fork():
    say(ready=early.wait_until_ready(60), value=early.boolean("checkout", True))
    sys.exit(0)
wait()
""",
    )
    assert program.end() == [{"ready": True, "value": False}]
