"""Opens the store that `state_url` names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tailrace.config.check import check_state_url
from tailrace.config.project import ProjectConfig
from tailrace.config.settings import StateCredentials
from tailrace.config.urls import is_loopback
from tailrace.state.folder import FolderStore
from tailrace.state.object_store import ObjectStore
from tailrace.state.store import Store

# Servers that are compatible with S3 often have no regions, and the signature needs one.
REGION = "us-east-1"


def open_store(project: ProjectConfig) -> Store:
    """The store of a project that has a `state_url`.

    Raises:
        InvalidConfigValue: As of `check_state_url`.
        ConfigurationError: A package or a setting is missing.
    """
    url = check_state_url(project)
    if urlsplit(url).scheme == "file":
        return FolderStore(_folder(project, url))
    credentials = project.state_credentials()
    endpoint = credentials.endpoint_url or project.environ.get("AWS_ENDPOINT_URL", "")
    return ObjectStore(
        url,
        _options(project, urlsplit(url).scheme, credentials),
        project.state(),
        allow_http=is_loopback(endpoint),
    )


def _folder(project: ProjectConfig, url: str) -> Path:
    """The folder of a `file:` URL; a path without a leading slash is relative to the project."""
    return (project.root / unquote(urlsplit(url).path)).resolve()


def _options(project: ProjectConfig, scheme: str, credentials: StateCredentials) -> dict[str, str]:
    """obstore's options of a kind of store, without those that are not configured."""
    key_file = credentials.service_account_file
    options = {
        "s3": {
            "endpoint": credentials.endpoint_url,
            "region": credentials.region_name or _region(project),
            "access_key_id": credentials.aws_access_key_id,
            "secret_access_key": credentials.aws_secret_access_key,
            "session_token": credentials.aws_session_token,
        },
        "gs": {
            "base_url": credentials.endpoint_url,
            "service_account": str(project.root / key_file) if key_file else None,
        },
        "az": {
            "endpoint": credentials.endpoint_url,
            "account_name": credentials.azure_storage_account_name,
            "account_key": credentials.azure_storage_account_key,
            "sas_key": credentials.azure_storage_sas_token,
        },
    }[scheme]
    return {name: value for name, value in options.items() if value is not None}


def _region(project: ProjectConfig) -> str:
    names = ("AWS_REGION", "AWS_DEFAULT_REGION")
    return next((project.environ[name] for name in names if name in project.environ), REGION)
