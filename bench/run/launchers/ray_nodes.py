"""The nodes of a Ray cluster: which are alive, what kind of machine each is, and which has room for a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.run.isolation import scrub
from bench.run.launchers import RunError, node
from bench.run.launchers.node import NodeFacts
from bench.run.progress import Progress
from bench.sweep.cells import Cell

_TYPE = "accelerator_type:"
"""Beginning of Ray's names for resources that are GPU types."""


@dataclass
class Node:
    """A node that is alive."""

    id: str
    address: str
    resources: dict[str, float]
    taken: float = 0.0
    """Share of it that this driver's cells take; 1 is all of it."""
    facts: dict[str, NodeFacts | None] = field(default_factory=dict)
    """The node's answers, by device; None where it is not to be used for the device."""

    @property
    def types(self) -> list[str]:
        """Types of its GPUs, one at most in practice."""
        return [name.removeprefix(_TYPE) for name in self.resources if name.startswith(_TYPE)]

    def has(self, device: str, resource: str | None) -> bool:
        """Return whether cells of a device could run here."""
        if resource is not None and resource not in self.resources:
            return False
        return self.resources.get("CPU", 0) > 0 if device == "cpu" else device in self.types


class Nodes:
    """The nodes that one driver knows, and what it has learnt about them."""

    def __init__(self, ray: Any, resources: Mapping[str, str]) -> None:
        """`ray` is the package, connected to a cluster; `resources` as for `RayLauncher`."""
        self._ray, self._resources = ray, resources
        self._alive: dict[str, Node] = {}
        self._chosen: dict[str, NodeFacts] = {}
        self.questions: dict[str, node.Question] = {}
        """What to ask every node, by device."""
        self.asked: dict[Any, tuple[Node, str]] = {}
        """Node and device of every question without an answer yet, by Ray's reference to that answer."""

    def __len__(self) -> int:
        return len(self._alive)

    @property
    def types(self) -> list[str]:
        """GPU types that the cluster has."""
        return [name.removeprefix(_TYPE) for name in self._ray.cluster_resources() if name.startswith(_TYPE)]

    def look(self) -> None:
        """Note which nodes are alive now."""
        alive = {entry["NodeID"]: entry for entry in self._ray.nodes() if entry["Alive"] and entry["Resources"]}
        self._alive = {key: one for key, one in self._alive.items() if key in alive}
        for key, entry in alive.items():
            if key not in self._alive:
                self._alive[key] = Node(id=key, address=entry["NodeManagerAddress"], resources=dict(entry["Resources"]))

    def ask(self) -> None:
        """Ask every node to describe itself with each device that it was not asked about yet."""
        pending = {(one.id, device) for one, device in self.asked.values()}
        for one in self._alive.values():
            for device, question in self.questions.items():
                known = device in one.facts or (one.id, device) in pending
                if not known and one.has(device, self._resources.get(device)):
                    self.asked[self.remote(node.inspect, device, one, 0.0).remote(question)] = (one, device)

    def answer(self, reference: Any) -> None:
        """Note what a node answered. Raises RunError where it cannot measure."""
        one, device = self.asked.pop(reference)
        one.facts[device] = self._facts(reference, one)

    def answered(self) -> set[str]:
        """Return the devices that some node has answered about, whatever the answer."""
        return {device for one in self._alive.values() for device in one.facts}

    def usable(self) -> set[str]:
        """Return the devices that have a node, or may have one once it has answered."""
        there = {device for one in self._alive.values() for device, facts in one.facts.items() if facts is not None}
        return there | {device for _, device in self.asked.values()}

    def choose(self) -> Mapping[str, NodeFacts]:
        """Return the one kind of machine behind each device. Raises RunError where there are several, or none."""
        self._chosen = {device: self._choose(device) for device in self.questions}
        return self._chosen

    def welcome(self, reference: Any, progress: Progress) -> None:
        """Accept a node that joined, unless it differs in kind from those before it."""
        one, device = self.asked.pop(reference)
        try:
            one.facts[device] = self._facts(reference, one)
        except RunError as error:
            one.facts[device] = None
            progress.say(f"{error}; it gets no cells")
            return
        if one.facts[device] is not None and _kind(one, device) != self._chosen[device].machine.key:
            progress.say(
                f"node {one.address} is a {_kind(one, device)}, unlike the others of {device}; it gets no cells"
            )
            one.facts[device] = None

    def place(self, cell: Cell) -> tuple[float, Node | None]:
        """Return the share of a node that a cell takes, and a node that has it free; None where there is none."""
        for one in self._alive.values():
            if one.facts.get(cell.device) is None:
                continue
            # Timing needs a quiet node; as many quality cells as the node has GPUs do not harm each other.
            gpus = int(one.resources.get("GPU", 1)) if cell.device != "cpu" and cell.kind == "quality" else 1
            share = int(1e4 / max(gpus, 1)) / 1e4
            if one.taken + share <= 1 + 1e-9:
                return share, one
        return 1.0, None

    def remote(self, function: Any, device: str, place: Node, share: float, threads: int | None = 1) -> Any:
        """Return `function` as a Ray task that runs on a node and takes a share of it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus = place.resources.get("CPU", 0.0)
        demand: dict[str, Any] = {"num_cpus": min(cpus, threads or cpus)}
        if device != "cpu":
            demand = {"num_cpus": min(cpus, 1), "num_gpus": 1, "accelerator_type": device}
        if share:
            demand["resources"] = {f"node:{place.address}": share}
        # Ray would try again on the node that is gone; the driver does so on one that is alive.
        return self._ray.remote(function).options(
            max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(place.id, soft=False), **demand
        )

    def nobody(self, device: str) -> str:
        """Return the beginning of a message that a device has no node."""
        resource = self._resources.get(device)
        return f"no node of the cluster has {device}" + (f" and the resource {resource}" if resource else "")

    def _choose(self, device: str) -> NodeFacts:
        nodes = [one for one in self._alive.values() if one.facts.get(device) is not None]
        kinds: dict[str, list[Node]] = {}
        for one in nodes:
            kinds.setdefault(_kind(one, device), []).append(one)
        if len(kinds) > 1:
            listed = "; ".join(f"{key}: {', '.join(f'node:{one.address}' for one in of)}" for key, of in kinds.items())
            raise RunError(
                f"cells of '{device}' could run on {len(kinds)} kinds of machines, whose times must not be mixed: "
                f"{listed}. Name a resource that only one kind has, such as --ray-resource {device}=node:ADDRESS"
            )
        if not nodes:
            raise RunError(self.nobody(device))
        facts = nodes[0].facts[device]
        assert facts is not None
        return facts

    def _facts(self, reference: Any, asked: Node) -> NodeFacts | None:
        """Return a node's answer; None where the node is gone. Raises RunError where it cannot measure."""
        try:
            facts: NodeFacts = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise RunError(f"node {asked.address}: {cause_of(error)}") from None
        except self._ray.exceptions.RayError:
            return None
        return facts


def _kind(one: Node, device: str) -> str:
    facts = one.facts[device]
    assert facts is not None
    return facts.machine.key


def cause_of(error: Any) -> str:
    """Return what was raised on the node, without Ray's copy of its traceback."""
    cause = getattr(error, "cause", None) or error
    return scrub(f"{type(cause).__name__}: {cause}")
