"""Examinations that a web server asks of workers: where it reaches no Docker engine, only they see what neurons see.

Redis carries them: one that is lost is asked for again by whoever pressed the button.
"""

import asyncio
import json
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from cortexql.models import RunnerKind
from cortexql.services import doctor, workers
from cortexql.services.health import Component, Status
from cortexql.services.patient import DOCTOR, Patient, has_engine

_ASKED = "cortexql:examine"
_ANSWER = "cortexql:examined:"
_PATIENCE = timedelta(seconds=90)
_LOOK_SECONDS = 0.2


async def examine(patient: Patient, *, only: Collection[str] = ()) -> list[Component]:
    """Try every part, or some, from where neurons run: here, unless a worker has an engine and this process none."""
    if not await _is_for_workers(patient):
        return await doctor.examine(patient, only=only)
    redis: Any = patient.redis  # its types leave open whether it waits
    answer = f"{_ANSWER}{uuid.uuid4().hex}"
    await redis.rpush(_ASKED, json.dumps({"only": sorted(only), "answer": answer}))
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            while (found := await redis.lpop(answer)) is None:
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        said = f"no worker answered within {_PATIENCE.seconds} s: is one busy or gone?"
        return [
            Component(name, name, Status.RED, said, datetime.now(UTC)) for name in sorted(only) or ["workers"]
        ]
    return [_to_component(part) for part in json.loads(found)]


async def serve(patient: Patient) -> None:
    """Do what was asked, if anything was. For workers that have an engine."""
    redis: Any = patient.redis
    while (asked := await redis.lpop(_ASKED)) is not None:
        request = json.loads(asked)
        parts = await doctor.examine(patient, only=request["only"])
        await redis.rpush(request["answer"], json.dumps([_to_json(part) for part in parts]))
        await redis.expire(request["answer"], _PATIENCE)


async def _is_for_workers(patient: Patient) -> bool:
    if RunnerKind.DOCKER.value not in patient.settings.runners or await has_engine(patient.settings):
        return False
    async with patient.transactions(DOCTOR) as tx:
        return any(RunnerKind.DOCKER.value in worker.runners for worker in await workers.list_alive(tx))


def _to_json(part: Component) -> dict[str, str | None]:
    return {
        "name": part.name,
        "kind": part.kind,
        "status": part.status.value,
        "message": part.message,
        "checked_at": part.checked_at.isoformat(),
    }


def _to_component(part: dict[str, str]) -> Component:
    checked_at = datetime.fromisoformat(part["checked_at"])
    return Component(part["name"], part["kind"], Status(part["status"]), part["message"], checked_at)
