"""Other feature flag SDKs for Python, each with one flag that half of all users get.

Each SDK is called as its documentation says, with flags in memory. What it counts goes to a
counter and not over the network. SDKs that are not installed are left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

Evaluate: TypeAlias = Callable[[], object]
FLAG = "new-checkout"
USER = "user-42"


def eppo() -> Evaluate:
    """Return a call of Eppo: a split by shards; a logger counts assignments."""
    eppo_client = import_module("eppo_client")

    class AssignmentCounter(eppo_client.AssignmentLogger):  # type: ignore[misc, name-defined]
        count = 0

        def log_assignment(self, event: Any) -> None:
            self.count += 1

    def half(variation: str, start: int) -> dict[str, Any]:
        ranges = [{"start": start, "end": start + 5_000}]
        return {"variationKey": variation, "shards": [{"salt": FLAG, "ranges": ranges}]}

    flag = {
        "key": FLAG,
        "enabled": True,
        "variationType": "BOOLEAN",
        "variations": {
            "on": {"key": "on", "value": True},
            "off": {"key": "off", "value": False},
        },
        "allocations": [
            {"key": "half", "rules": [], "splits": [half("on", 0), half("off", 5_000)],
             "doLog": True}
        ],
        "totalShards": 10_000,
    }  # fmt: skip
    document = {
        "createdAt": "2026-01-01T00:00:00.000Z",
        "format": "SERVER",
        "environment": {"name": "bench"},
        "flags": {FLAG: flag},
    }
    configuration = eppo_client.Configuration(flags_configuration=json.dumps(document).encode())
    client = eppo_client.init(
        eppo_client.ClientConfig(
            api_key="none",
            assignment_logger=AssignmentCounter(),
            poll_interval_seconds=None,
            initial_configuration=configuration,
        )
    )
    attributes: dict[str, Any] = {}
    return lambda: client.get_boolean_assignment(FLAG, USER, attributes, False)


def launchdarkly() -> Evaluate:
    """Return a call of LaunchDarkly: a percentage rollout from a file; events are counted."""
    ldclient = import_module("ldclient")
    config = import_module("ldclient.config")
    integrations = import_module("ldclient.integrations")
    interfaces = import_module("ldclient.interfaces")

    class EventCounter(interfaces.EventProcessor):  # type: ignore[misc, name-defined]
        def __init__(self, _: Any) -> None:
            self.count = 0

        def send_event(self, event: Any) -> None:
            self.count += 1

        def flush(self) -> None:
            """Do nothing: events are not sent."""

        def stop(self) -> None:
            """Do nothing: there is no thread."""

    rollout = {
        "variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]
    }
    flag = {
        "key": FLAG, "version": 1, "on": True, "salt": FLAG, "variations": [True, False],
        "fallthrough": {"rollout": rollout}, "offVariation": 1, "rules": [], "targets": [],
        "prerequisites": [],
    }  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder, "flags.json")
        path.write_text(json.dumps({"flags": {FLAG: flag}}))
        source = integrations.Files.new_data_source(paths=[str(path)])
        client = ldclient.LDClient(
            config.Config(
                "none",
                update_processor_class=source,
                event_processor_class=EventCounter,
                diagnostic_opt_out=True,
            )
        )
    user = ldclient.Context.create(USER)
    return lambda: client.variation(FLAG, user, False)


def unleash() -> Evaluate:
    """Return a call of Unleash: a flexible rollout; its engine counts for its metrics."""
    package = import_module("UnleashClient")
    cache_module = import_module("UnleashClient.cache")
    strategy = {
        "name": "flexibleRollout",
        "parameters": {"rollout": "50", "stickiness": "userId", "groupId": FLAG},
        "constraints": [],
    }
    flag = {"name": FLAG, "enabled": True, "type": "release", "strategies": [strategy]}
    folder = TemporaryDirectory()
    cache = cache_module.FileCache("bench", directory=folder.name)
    cache.bootstrap_from_dict({"version": 2, "features": [flag]})
    client = package.UnleashClient(
        "http://127.0.0.1:9/api",
        "bench",
        cache=cache,
        disable_metrics=True,
        disable_registration=True,
    )
    client.initialize_client(fetch_toggles=False)
    context = {"userId": USER}

    def evaluate() -> object:
        return client.is_enabled(FLAG, context)

    evaluate.folder = folder  # type: ignore[attr-defined] # lives as long as the client
    return evaluate


def growthbook() -> Evaluate:
    """Return a call of GrowthBook: an experiment of two halves; views go to a callback."""
    package = import_module("growthbook")
    views: list[None] = []
    rule = {
        "variations": [False, True], "weights": [0.5, 0.5], "coverage": 1.0,
        "hashAttribute": "id", "key": FLAG,
    }  # fmt: skip
    client = package.GrowthBook(
        attributes={"id": USER},
        features={FLAG: {"defaultValue": False, "rules": [rule]}},
        on_experiment_viewed=lambda **_: views.append(None),
    )
    return lambda: client.is_on(FLAG)


PEERS: dict[str, Callable[[], Evaluate]] = {
    "eppo-server-sdk": eppo,
    "launchdarkly-server-sdk": launchdarkly,
    "UnleashClient": unleash,
    "growthbook": growthbook,
}


def installed_peers() -> Iterator[tuple[str, Evaluate]]:
    """Yield the name of each installed SDK and a call that evaluates its flag."""
    for name in ("ldclient", "UnleashClient", "growthbook", "eppo_client", "apscheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name, start in PEERS.items():
        try:
            evaluate = start()
        except ImportError:
            print(f"  {name} is not installed")
            continue
        yield name, evaluate
