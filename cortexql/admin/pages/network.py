"""The way outside: registries, authorities and proxies, each tried at a button's press."""

from starlette.responses import Response

from cortexql.admin.pages.owners import organization_names
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import Organization
from cortexql.principal import Permission
from cortexql.services import doctor_requests, network, registries
from cortexql.services.network import ProxySetting
from cortexql.services.patient import Patient
from cortexql.services.registries import RegistrySetting
from cortexql.services.rows import by_id

_PARTS = ("registries", "authorities", "proxies", "engine")


async def show(visit: Visit) -> Response:
    """Show what is set, without passwords."""
    return await _form(visit)


async def put_registry(visit: Visit) -> Response:
    """Set a registry; a blank password is kept."""
    setting = RegistrySetting(
        visit.given("host"),
        username=visit.given("username"),
        password=str(visit.form.get("password") or "") or None,
        mirror_of=visit.given("mirror_of"),
        path=visit.given("path"),
    )
    try:
        async with visit.open() as tx:
            await registries.put(tx, setting, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to("/network", done="saved")


async def remove_registry(visit: Visit) -> Response:
    """Forget a registry with its credentials."""
    async with visit.open() as tx:
        await registries.remove(tx, visit.given("host"))
    return visit.to("/network", done="removed")


async def add_authority(visit: Visit) -> Response:
    """Trust certificates."""
    try:
        async with visit.open() as tx:
            await network.add_authority(
                tx, visit.given("name"), visit.given("certificates"), visit.given("organization") or None
            )
    except CortexError as error:
        return await _form(visit, error)
    return visit.to("/network", done="saved")


async def remove_authority(visit: Visit) -> Response:
    """Trust an authority no longer."""
    async with visit.open() as tx:
        await network.remove_authority(tx, to_int(visit.given("id"), "id"))
    return visit.to("/network", done="removed")


async def set_proxy(visit: Visit) -> Response:
    """Set the proxies of the instance or of an organization; a blank URL is kept unless it is to be removed."""
    setting = ProxySetting(
        organization=visit.given("organization") or None,
        http=visit.given("http") or ("" if visit.given("remove") else None),
        https=visit.given("https") or ("" if visit.given("remove") else None),
        no_proxy=visit.given("no_proxy"),
    )
    try:
        async with visit.open() as tx:
            await network.set_proxy(tx, setting, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to("/network", done="saved")


async def test(visit: Visit) -> Response:
    """Try one part as the doctor does, and say what was found."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    part, resources = visit.given("part"), visit.resources
    if part not in _PARTS:
        raise InvalidInputError(f"there is no part {part} to test", field=("part",))
    patient = Patient(resources.settings, resources.transactions, resources.redis, resources.cipher)
    found = await doctor_requests.examine(patient, only=(part,))
    return visit.page("network/tested.html", partial="network/_tested.html", found=found)


async def _form(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        known = await registries.list_all(tx)
        authorities = await network.list_authorities(tx)
        proxies = await network.list_proxies(tx)
        owned = [row.organization_id for row in authorities] + [row.organization_id for row in proxies]
        owners = await by_id(tx, Organization, owned)
        names = await organization_names(tx)
    return visit.page(
        "network/show.html",
        status=error.status if error else 200,
        registries=known,
        authorities=[(row, network.read_certificates(row.certificates)) for row in authorities],
        proxies=proxies,
        owners=owners,
        names=names,
        error=error.message if error else "",
    )
