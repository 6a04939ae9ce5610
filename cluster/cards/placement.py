"""What Ray knows of the places of actors: which cards are taken and by whom, and whether an actor got its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ray

# Ray has no public interface for any of this without its dashboard.
from ray._private.state import actors, available_resources_per_node, state
from ray.core.generated import gcs_pb2

from cluster.cards.card_slots import CARD_RESOURCE, CardSlot

_messages: Any = gcs_pb2  # generated, without types
# The second one's constructor is still at work.
_WITH_RESOURCES = ("ALIVE", "PENDING_CREATION")


def taken_slots(slots: Iterable[CardSlot]) -> set[CardSlot]:
    """Those of the slots whose card is registered and held by an actor at present, whoever's it is."""
    free = available_resources_per_node()
    return {
        slot
        for slot in slots
        if slot.registered and free.get(slot.node_id, {}).get(_resource(slot), 0.0) < 1.0
    }


def holder_of(slot: CardSlot) -> str | None:
    """Whose actor has a registered card: the job, and the process of its driver.

    None when no actor with a process has it, empty when Ray does not say.
    """
    try:
        return _holder_of(slot)
    except Exception:  # noqa: BLE001 - it only completes a sentence: what another version of Ray raises here must not end the job
        return ""


def _holder_of(slot: CardSlot) -> str | None:
    resource = _resource(slot)
    for state_name in _WITH_RESOURCES:
        for raw in _accessor().get_actor_table(None, state_name):
            actor = _messages.ActorTableData.FromString(raw)
            has_card = actor.pid and actor.required_resources.get(resource)
            if has_card and actor.address.node_id.hex() == slot.node_id:
                return _job(actor.job_id) or ""
    return None


def process_of(actor: Any) -> int | None:
    """The number of an actor's process on its host; None as long as it waits for its resources."""
    return actors(actor._actor_id.hex()).get("Pid") or None  # noqa: SLF001 - a handle has no public id


def _job(job_id: bytes) -> str | None:
    """A job that was submitted by its submission's id, another by Ray's number of it."""
    jobs = _accessor().get_job_table(skip_submission_job_info_field=True, skip_is_running_tasks_field=True)
    for raw in jobs:
        job = _messages.JobTableData.FromString(raw)
        if job.job_id == job_id:
            name = job.config.metadata.get("job_submission_id") or job_id.hex()
            host = _host(job.driver_address.ip_address)
            return f"job {name}, its driver process {job.driver_pid} on {host}"
    return None


def _host(address: str) -> str:
    """The name of the node with an address: what slots are called by; a driver elsewhere has its address alone."""
    nodes = {str(node["NodeManagerAddress"]): str(node["NodeManagerHostname"]) for node in ray.nodes()}
    return nodes.get(address, address)


def _accessor() -> Any:
    return state._connect_and_get_accessor()  # noqa: SLF001 - as Ray's own functions do


def _resource(slot: CardSlot) -> str:
    return f"{CARD_RESOURCE}_{slot.device_id}"
