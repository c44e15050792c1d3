"""The console's addresses, under /admin."""

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route, Router

from cortexql.admin import live
from cortexql.admin.errors import show_cortex_error, show_http_error
from cortexql.admin.pages import (
    account,
    analyses,
    audit,
    catalog,
    home,
    job_actions,
    job_export,
    jobs,
    network,
    neuron_containers,
    neurons,
    observables,
    organizations,
    quota_splits,
    quotas,
    servers,
    sessions,
    settings,
    setup,
    sharing,
    sightings,
    sign_in,
    single_sign_on,
    users,
)
from cortexql.admin.visit import Handler, console
from cortexql.errors import CortexError


def _get(path: str, handler: Handler) -> Route:
    return Route(path, console(handler), methods=["GET"])


def _post(path: str, handler: Handler) -> Route:
    return Route(path, console(handler), methods=["POST"])


routes = [
    Route("/login", sessions.show_login, methods=["GET"]),
    Route("/login", sessions.login, methods=["POST"]),
    Route("/login/oidc", single_sign_on.begin, methods=["GET"]),
    Route("/login/oidc/callback", single_sign_on.finish, methods=["GET"]),
    Route("/login/oidc/logout", single_sign_on.logout, methods=["GET"]),
    Route("/logout", sessions.logout, methods=["POST"]),
    Route("/theme", sessions.choose_theme, methods=["POST"]),
    _get("/", home.show),
    _get("/newest", home.show_newest),
    _get("/figures.json", home.show_figures),
    _get("/health", home.show_health),
    _post("/health", home.examine),
    _get("/setup", setup.show),
    _post("/setup", setup.set_up),
    _get("/live", live.follow),
    _get("/jobs", jobs.list_jobs),
    _get("/jobs/export.csv", job_export.to_csv),
    _get("/jobs/export.jsonl", job_export.to_json_lines),
    _post("/jobs/cancel", job_actions.cancel),
    _post("/jobs/delete", job_actions.delete),
    _post("/jobs/again", job_actions.run_again),
    _get("/jobs/observables.{form}", sharing.export_of_jobs),
    _get("/jobs/send", sharing.choose_of_jobs),
    _get("/jobs/{id:int}", jobs.show),
    _get("/jobs/{id:int}/changes", jobs.show_changes),
    _get("/jobs/{id:int}/report.json", jobs.download),
    _post("/jobs/{id:int}/cancel", jobs.cancel),
    _post("/jobs/{id:int}/delete", jobs.delete),
    _get("/observables", observables.list_observables),
    _get("/observables/send", sharing.choose),
    _post("/observables/send", sharing.send),
    _get("/observables/{id:int}", observables.show),
    _post("/observables/{id:int}/flag", sightings.flag),
    _post("/observables/{id:int}/sight", sightings.sight),
    _post("/observables/{id:int}/unsight", sightings.remove),
    _get("/foot", servers.show_foot),
    _get("/servers", servers.show),
    _post("/servers", servers.put),
    _post("/servers/{id:int}/test", servers.test),
    _post("/servers/{id:int}/remove", servers.remove),
    _get("/network", network.show),
    _post("/network/registry", network.put_registry),
    _post("/network/registry/remove", network.remove_registry),
    _post("/network/authority", network.add_authority),
    _post("/network/authority/remove", network.remove_authority),
    _post("/network/proxy", network.set_proxy),
    _post("/network/test", network.test),
    _get("/settings", settings.show),
    _get("/sign-in", sign_in.show),
    _get("/audit", audit.list_entries),
    _get("/analyses", analyses.show),
    _post("/analyses", analyses.submit),
    _post("/analyses/preview", analyses.preview),
    _get("/catalog", catalog.list_definitions),
    _post("/catalog/refresh", catalog.refresh),
    _get("/catalog/{definition_id}/enable", catalog.show_enable),
    _post("/catalog/{definition_id}/enable", catalog.enable),
    _get("/neurons", neurons.list_neurons),
    _get("/neurons/{id:int}", neurons.show),
    _post("/neurons/{id:int}", neurons.update),
    _post("/neurons/{id:int}/container", neuron_containers.update),
    _get("/neurons/{id:int}/image", neurons.show_image),
    _post("/neurons/{id:int}/pull", neurons.pull),
    _post("/neurons/{id:int}/run", neurons.test_run),
    _post("/neurons/{id:int}/upgrade", neurons.upgrade),
    _post("/neurons/{id:int}/disable", neurons.disable),
    _get("/organizations", organizations.list_organizations),
    _post("/organizations", organizations.create),
    _get("/organizations/{name}", organizations.show),
    _post("/organizations/{name}", organizations.update),
    _get("/users", users.list_users),
    _post("/users", users.create),
    _get("/users/{login}", users.show),
    _post("/users/{login}", users.update),
    _post("/users/{login}/status", users.set_status),
    _post("/users/{login}/password", users.set_password),
    _post("/users/{login}/keys", users.create_key),
    _post("/users/{login}/key", users.renew_key),
    _post("/users/{login}/revoke", users.revoke_keys),
    _get("/quotas", quotas.list_quotas),
    _post("/quotas", quotas.set_limit),
    _get("/quotas/split", quota_splits.show),
    _post("/quotas/split", quota_splits.split),
    _get("/quotas/{id:int}/spenders", quotas.show_spenders),
    _get("/account", account.show),
    _post("/account/password", account.set_password),
    _post("/account/keys", account.create_key),
    _post("/account/key", account.renew_key),
    _post("/account/sessions/revoke", account.revoke_sessions),
    _post("/account/revoke", account.revoke_keys),
]

# An application of its own would hide the outer one's state; the middleware alone makes errors pages here.
admin = ExceptionMiddleware(
    Router(routes), handlers={CortexError: show_cortex_error, HTTPException: show_http_error}
)
