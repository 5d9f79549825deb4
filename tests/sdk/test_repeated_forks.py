"""Totals stay exact with forks of every kind at every moment."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from tidegate import Client, Context

from tests.sdk.conftest import Connect
from tests.sdk.server import Environment
from tests.sdk.test_os_fork import Program, counted, release
from tests.waiting import until

pytestmark = pytest.mark.long

STORM = """
import random, signal

stop = threading.Event()

def keep_reporting():
    while not stop.is_set():
        client._lifecycle.connection.report_now()
        time.sleep(random.uniform(0, 0.01))

def descend(name, depth):
    # Fork two children, one of them from another thread; each does the same.
    mine = []

    def one(number):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            work(f"{name}.{number}", 3)
            if depth > 0:
                descend(f"{name}.{number}", depth - 1)
            client.close()
            os._exit(0)
        mine.append(child)

    one(0)
    thread = threading.Thread(target=one, args=(1,))
    thread.start()
    thread.join()
    for child in mine:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, name

threading.Thread(target=keep_reporting, daemon=True).start()
for round in range(12):
    work(f"parent-{round}", 2)
    descend(f"child-{round}", 2)
    time.sleep(random.uniform(0, 0.02))
stop.set()
"""
"""Operations in each round: two by the parent, three by each of 2 + 4 + 8 descendants."""


def test_nested_forks_while_reports_and_changes_go_on(
    environment: Environment,
) -> None:
    id = release(environment)
    environment.flag("banner")
    program = Program(environment, STORM + "say(done=True)\n")
    number = 0

    def done() -> bool:
        # During the storm snapshots are applied.
        nonlocal number
        number += 1
        environment.target("banner", default={"variant": ("on", "off")[number % 2]})
        return program.ended()

    until(done, "the program has ended", 120)
    assert program.end() == [{"done": True}]
    assert counted(environment, id)[0] == 12 * (2 + 3 * (2 + 4 + 8))


def test_a_child_that_executes_another_program_reports_nothing(environment: Environment) -> None:
    id = release(environment)
    program = Program(
        environment,
        """
work("parent", 5)
for number in range(5):
    if fork():
        os.execv("/bin/true", ["true"])
wait()
work("parent again", 5)
""",
    )
    program.end()
    assert counted(environment, id)[0] == 10


def test_a_daemon_is_its_own_instance(environment: Environment, tmp_path: Path) -> None:
    environment.flag("checkout")
    id = environment.release("checkout")
    program = Program(
        environment,
        f"""
work("parent", 5)
if fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    until(lambda: "killed" in client.boolean_details("checkout", False).metadata or work("d", 1))
    client.close()
    open({str(tmp_path / "ended")!r}, "w").close()
    os._exit(0)
wait()
""",
    )
    program.end()
    until(lambda: counted(environment, id)[0] > 10, "the daemon works")
    environment.kill("checkout")
    until((tmp_path / "ended").exists, "the daemon sees the kill")
    assert len({each["id"] for each in environment.instances()}) >= 2


def operate(client: Client, name: str) -> str | None:
    with client.operation(Context(name)):
        client.boolean("checkout", False)
    return client.status().instance


inherited: Client | None = None


def of_a_pool(name: str) -> str | None:
    assert inherited is not None
    return operate(inherited, name)


def test_workers_of_a_pool_are_recycled(environment: Environment, connect: Connect) -> None:
    global inherited
    environment.flag("checkout")
    id = environment.release("checkout")
    inherited = connect()
    context = multiprocessing.get_context("fork")
    with context.Pool(3, maxtasksperchild=7) as pool:
        instances = pool.map(of_a_pool, [f"user-{number}" for number in range(200)], chunksize=1)
        pool.close()
        pool.join()
    assert len(set(instances)) >= 200 // 7
    until(lambda: environment.outcomes(id) == 200, "all operations are counted")


def begin_and_work(address: tuple[str, str, int]) -> None:
    url, token, number = address
    client = Client(url, token)
    assert client.wait_until_ready(60)
    operate(client, f"user-{number}")


def test_clients_made_in_pool_workers_report_when_the_workers_end(
    environment: Environment,
) -> None:
    environment.flag("checkout")
    id = environment.release("checkout")
    context = multiprocessing.get_context("spawn")
    with context.Pool(2, maxtasksperchild=4) as pool:
        arguments = [(environment.url, environment.token, number) for number in range(16)]
        pool.map(begin_and_work, arguments, chunksize=1)
        pool.close()
        pool.join()
    until(lambda: environment.outcomes(id) == 16, "all operations are counted")
