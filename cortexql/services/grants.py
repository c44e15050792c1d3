"""Grants: which roles may run a responder. An analyzer is for whoever may submit."""

from collections.abc import Iterable

from cortexql.errors import ForbiddenError, InvalidInputError
from cortexql.models import Neuron, NeuronType
from cortexql.principal import ROLE_PERMISSIONS, Permission, Principal, Role

_SUBMITTERS = tuple(role for role in Role if Permission.JOB_SUBMIT in ROLE_PERMISSIONS[role])
_DEFAULT = (Role.ANALYZE,)


def of(neuron: Neuron) -> tuple[Role, ...]:
    """Return the roles that a neuron is granted to; one that includes one of them may run it, too."""
    return _DEFAULT if neuron.granted_to is None else tuple(Role(role) for role in neuron.granted_to)


def check(principal: Principal, neuron: Neuron) -> None:
    """Raise ForbiddenError unless the caller may run a neuron."""
    if any(principal.has(role) for role in of(neuron)):
        return
    who = " or ".join(of(neuron)) or "nobody"
    raise ForbiddenError(f"{neuron.type} {neuron.name} is granted to {who} in your organization")


def to_stored(neuron_type: NeuronType, roles: Iterable[Role]) -> list[str]:
    """Return roles as they are stored; none of them: nobody may run it.

    Raises:
        InvalidInputError: the neuron is no responder, or a role may submit nothing.
    """
    if neuron_type is not NeuronType.RESPONDER:
        raise InvalidInputError("an analyzer is for whoever may submit", field=("grantedTo",))
    given = set(roles)
    for role in given - set(_SUBMITTERS):
        raise InvalidInputError(
            f"{role} may submit nothing, a responder neither; grant it to {' or '.join(_SUBMITTERS)}",
            field=("grantedTo",),
        )
    return [role.value for role in Role if role in given]
