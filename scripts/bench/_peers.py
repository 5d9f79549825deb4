"""Other feature flag SDKs for Python, with the same flags as Tidegate's.

Each SDK is called as its documentation says, with flags in memory. What it counts goes to a
counter and not over the network. SDKs that are not installed are left out.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from scripts.bench._flags import COLOURS, USER

Evaluate: TypeAlias = Callable[[], object]
FLAG = "new-checkout"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another SDK that is installed: its name, and a call that evaluates its flag."""

    name: str
    evaluate: Evaluate


@dataclass(frozen=True, slots=True)
class Loader:
    """Another SDK that is installed: its name, and a function that loads flags.

    The function returns the CPU time in seconds.
    """

    name: str
    load: Callable[[], float]


def eppo_half() -> Evaluate:
    """Return a call of Eppo: a split by shards; a logger counts assignments."""
    split = _eppo_split({"on": 5_000, "off": 10_000})
    flag = _eppo_flag(FLAG, "BOOLEAN", {"on": True, "off": False}, [split])
    client = _eppo_client({FLAG: flag})
    attributes: dict[str, Any] = {}
    return lambda: client.get_boolean_assignment(FLAG, USER, attributes, False)


def eppo_ten_rules() -> Evaluate:
    """Return a call of Eppo: ten rules on one attribute, of which the last matches."""
    client = _eppo_client({FLAG: _eppo_rules_on_one_attribute(FLAG, 10)})
    attributes = {"plan": "plan-9"}
    return lambda: client.get_string_assignment(FLAG, USER, attributes, "")


def eppo_load(flags: int) -> Callable[[], float]:
    """Return a function that loads flags with three rules into Eppo."""
    eppo_client = import_module("eppo_client")
    keys = [f"flag-{number}" for number in range(flags)]
    body = _eppo_document({key: _eppo_rules_on_one_attribute(key, 3) for key in keys})

    def load() -> float:
        began = time.process_time()
        eppo_client.Configuration(flags_configuration=body)
        return time.process_time() - began

    return load


def _eppo_rules_on_one_attribute(key: str, rules: int) -> dict[str, Any]:
    allocations = [
        {
            "key": f"rule-{n}",
            "rules": [
                {
                    "conditions": [
                        {"attribute": "plan", "operator": "ONE_OF", "value": [f"plan-{n}"]}
                    ]
                }
            ],
            "splits": [{"variationKey": COLOURS[n % 3], "shards": []}],
            "doLog": True,
        }
        for n in range(rules)
    ]
    values = {name: f"the {name} one" for name in COLOURS}
    split = _eppo_split({"blue": 5_000, "green": 7_500, "red": 10_000})
    return _eppo_flag(key, "STRING", values, [*allocations, split])


def _eppo_split(ends: dict[str, int]) -> dict[str, Any]:
    start = 0
    splits = []
    for variation, end in ends.items():
        shard = {"salt": FLAG, "ranges": [{"start": start, "end": end}]}
        splits.append({"variationKey": variation, "shards": [shard]})
        start = end
    return {"key": "split", "rules": [], "splits": splits, "doLog": True}


def _eppo_flag(
    key: str, kind: str, values: dict[str, Any], allocations: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "key": key,
        "enabled": True,
        "variationType": kind,
        "variations": {name: {"key": name, "value": value} for name, value in values.items()},
        "allocations": allocations,
        "totalShards": 10_000,
    }


def _eppo_document(flags: dict[str, Any]) -> bytes:
    document = {
        "createdAt": "2026-01-01T00:00:00.000Z",
        "format": "SERVER",
        "environment": {"name": "bench"},
        "flags": flags,
    }
    return json.dumps(document).encode()


def _eppo_client(flags: dict[str, Any]) -> Any:
    eppo_client = import_module("eppo_client")

    class AssignmentCounter(eppo_client.AssignmentLogger):  # type: ignore[misc, name-defined]
        count = 0

        def log_assignment(self, event: Any) -> None:
            self.count += 1

    configuration = eppo_client.Configuration(flags_configuration=_eppo_document(flags))
    return eppo_client.init(
        eppo_client.ClientConfig(
            api_key="none",
            assignment_logger=AssignmentCounter(),
            poll_interval_seconds=None,
            initial_configuration=configuration,
        )
    )


def statsig_half() -> Evaluate:
    """Return a call of Statsig: a gate with a pass percentage; exposures stay in its queue."""
    statsig = import_module("statsig_python_core")
    rule = _statsig_rule("half", 50, "public", True)
    gate = _statsig_spec(FLAG, "feature_gate", [rule], False)
    client = _statsig_client({"feature_gates": {FLAG: gate}})
    user = statsig.StatsigUser(USER)
    return lambda: client.check_gate(user, FLAG)


def statsig_ten_rules() -> Evaluate:
    """Return a call of Statsig: ten rules on one attribute, of which the last matches."""
    statsig = import_module("statsig_python_core")
    client = _statsig_client({"dynamic_configs": {FLAG: _statsig_rules_on_one_attribute(FLAG, 10)}})
    user = statsig.StatsigUser(USER, custom={"plan": "plan-9"})
    return lambda: client.get_dynamic_config(user, FLAG).value["value"]


def statsig_load(flags: int) -> Callable[[], float]:
    """Return a function that loads flags with three rules into Statsig, with its client."""
    import_module("statsig_python_core")  # so that it is missing here, and not in the first load
    keys = [f"flag-{number}" for number in range(flags)]
    specs = {"dynamic_configs": {key: _statsig_rules_on_one_attribute(key, 3) for key in keys}}
    body = _statsig_document(specs)

    def load() -> float:
        began = time.process_time()
        _statsig_client_of(body)
        return time.process_time() - began

    return load


def _statsig_rules_on_one_attribute(key: str, rules: int) -> dict[str, Any]:
    served = [
        _statsig_rule(f"rule-{n}", 100, f"plan-{n}", {"value": f"the {COLOURS[n % 3]} one"})
        for n in range(rules)
    ]
    return _statsig_spec(key, "dynamic_config", served, {"value": "the blue one"})


def _statsig_rule(name: str, percentage: int, condition: str, value: Any) -> dict[str, Any]:
    return {
        "name": name, "groupName": name, "passPercentage": percentage, "conditions": [condition],
        "returnValue": value, "id": name, "salt": name, "idType": "userID",
    }  # fmt: skip


def _statsig_spec(key: str, kind: str, rules: list[Any], default: Any) -> dict[str, Any]:
    return {
        "type": kind, "entity": kind, "salt": key, "enabled": True, "defaultValue": default,
        "rules": rules, "idType": "userID", "isActive": True, "version": 1,
    }  # fmt: skip


def _statsig_condition(
    kind: str, field: str | None = None, target: list[str] | None = None
) -> dict[str, Any]:
    return {
        "type": kind, "field": field, "targetValue": target, "idType": "userID",
        "operator": None if target is None else "any", "additionalValues": {},
    }  # fmt: skip


def _statsig_document(specs: dict[str, Any]) -> str:
    plans = {
        f"plan-{n}": _statsig_condition("user_field", "plan", [f"plan-{n}"]) for n in range(10)
    }
    document = {
        "feature_gates": {}, "dynamic_configs": {}, "layer_configs": {}, "layers": {},
        "condition_map": {"public": _statsig_condition("public"), **plans},
        "experiment_to_layer": {}, "id_lists": {}, "has_updates": True, "time": 1_700_000_000_000,
        "company_id": "bench", "response_format": "dcs-v2", **specs,
    }  # fmt: skip
    return json.dumps(document)


def _statsig_client(specs: dict[str, Any]) -> Any:
    return _statsig_client_of(_statsig_document(specs))


def _statsig_client_of(document: str) -> Any:
    statsig = import_module("statsig_python_core")

    class Store(statsig.DataStore):  # type: ignore[misc, name-defined]
        def initialize(self) -> None:
            """Do nothing."""

        def shutdown(self) -> None:
            """Do nothing."""

        def get(self, key: str) -> Any:
            return statsig.DataStoreResponse(result=document, time=1_700_000_000_000)

        def set(self, key: str, value: str, time: int | None = None) -> None:
            """Do nothing."""

        def support_polling_updates_for(self, key: str) -> bool:
            return False

    options = statsig.StatsigOptions(
        disable_network=True,
        disable_all_logging=True,
        disable_country_lookup=True,
        data_store=Store(),
        output_log_level="none",
    )
    client = statsig.Statsig("secret-none", options)
    client.initialize().wait()
    return client


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


HALF: dict[str, Callable[[], Evaluate]] = {
    "eppo-server-sdk": eppo_half,
    "statsig-python-core": statsig_half,
    "launchdarkly-server-sdk": launchdarkly,
    "UnleashClient": unleash,
    "growthbook": growthbook,
}
TEN_RULES: dict[str, Callable[[], Evaluate]] = {
    "eppo-server-sdk": eppo_ten_rules,
    "statsig-python-core": statsig_ten_rules,
}
LOADERS: dict[str, Callable[[int], Callable[[], float]]] = {
    "eppo-server-sdk": eppo_load,
    "statsig-python-core": statsig_load,
}


def installed_peers(peers: Mapping[str, Callable[[], Evaluate]]) -> Iterator[Peer]:
    """Yield each SDK that is installed, with a call that evaluates its flag."""
    for name in ("ldclient", "UnleashClient", "growthbook", "eppo_client", "apscheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name, start in peers.items():
        try:
            evaluate = start()
        except ImportError:
            print(f"  {name} is not installed")
            continue
        yield Peer(name, evaluate)


def installed_loaders(flags: int) -> Iterator[Loader]:
    """Yield each SDK that is installed, with a function that loads so many flags."""
    for name, start in LOADERS.items():
        try:
            yield Loader(name, start(flags))
        except ImportError:
            print(f"  {name} is not installed")
