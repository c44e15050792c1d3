"""The tables, a file an aggregate."""

from cortexql.models.attachment import Attachment, AttachmentChunk
from cortexql.models.audit import Audit, AuditAction
from cortexql.models.dashboard import Dashboard
from cortexql.models.definition import CatalogRefresh, CatalogSource, Definition, ItemType, NeuronType
from cortexql.models.image import Image, ImagePolicy
from cortexql.models.job import (
    PAP,
    TLP,
    Job,
    JobEvent,
    JobStage,
    JobStatus,
    Level,
    Observable,
    Priority,
    RunnerKind,
    Sighting,
)
from cortexql.models.network import Authority, Proxy, Registry
from cortexql.models.neuron import Neuron, SharedConfig
from cortexql.models.organization import Organization, OrganizationStatus
from cortexql.models.preferences import Preferences
from cortexql.models.quota import Quota, QuotaCharge, QuotaPacing, QuotaUse, RateUnit
from cortexql.models.report import Artifact, Report
from cortexql.models.server import ServerKind, WatchedServer
from cortexql.models.session import Session
from cortexql.models.sign_in import SignInCount
from cortexql.models.user import ApiKey, User, UserStatus
from cortexql.models.worker import HealthCheck, Worker

__all__ = [
    "PAP",
    "TLP",
    "ApiKey",
    "Artifact",
    "Attachment",
    "AttachmentChunk",
    "Audit",
    "AuditAction",
    "Authority",
    "CatalogRefresh",
    "CatalogSource",
    "Dashboard",
    "Definition",
    "HealthCheck",
    "Image",
    "ImagePolicy",
    "ItemType",
    "Job",
    "JobEvent",
    "JobStage",
    "JobStatus",
    "Level",
    "Neuron",
    "NeuronType",
    "Observable",
    "Organization",
    "OrganizationStatus",
    "Preferences",
    "Priority",
    "Proxy",
    "Quota",
    "QuotaCharge",
    "QuotaPacing",
    "QuotaUse",
    "RateUnit",
    "Registry",
    "Report",
    "RunnerKind",
    "ServerKind",
    "Session",
    "SharedConfig",
    "Sighting",
    "SignInCount",
    "User",
    "UserStatus",
    "WatchedServer",
    "Worker",
]
