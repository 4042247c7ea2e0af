"""What this copy of Tailrace is: its ledger version, and what is installed with it, for hints."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from tailrace.errors import ConfigurationError

# The version of the ledger's tables that this copy writes, and the newest one that it can read.
LEDGER_VERSION = 11


def install_command(extra: str = "") -> str:
    """The pip command that installs Tailrace as it was installed here, with an extra."""
    return _command(_direct_url(), extra)


def upgrade_hint() -> str:
    """What to do to get a newer Tailrace."""
    return _upgrade(_direct_url())


def refuse_compiled_sqlglot(version_of: Callable[[str], str] | None = None) -> None:
    """Check that the classes of sqlglot can be extended, as the dialect of MariaDB does.

    The package sqlglotc replaces them by compiled ones, which have no subclasses in Python
    (https://github.com/tobymao/sqlglot/issues/7923). Other dialects work with it.

    Args:
        version_of: The version of an installed package, as `importlib.metadata.version` gives it.

    Raises:
        ConfigurationError: sqlglotc is installed.
    """
    import importlib.metadata

    try:
        version = (version_of or importlib.metadata.version)("sqlglotc")
    except importlib.metadata.PackageNotFoundError:
        return
    raise ConfigurationError(
        f"MariaDB's SQL cannot be written while sqlglotc {version}, the compiled sqlglot, is "
        "installed: its classes cannot be extended",
        hint="Install Tailrace in an environment of its own, or type: pip uninstall sqlglotc",
    )


def _direct_url() -> str:
    """The record of pip about a package that is not from an index (PEP 610); else empty."""
    import importlib.metadata

    try:
        return importlib.metadata.distribution("tailrace").read_text("direct_url.json") or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _command(direct_url: str, extra: str) -> str:
    """
    >>> _command('{"url": "file:///src/tailrace", "dir_info": {}}', "postgres")
    'pip install "/src/tailrace[postgres]"'
    >>> _command('{"url": "https://example.com/t.git", "vcs_info": {"vcs": "git"}}', "")
    'pip install "tailrace @ git+https://example.com/t.git"'
    >>> _command("", "postgres")
    'pip install "tailrace[postgres]"'
    """
    origin = json.loads(direct_url or "{}")
    url = str(origin.get("url", ""))
    extras = f"[{extra}]" if extra else ""
    if "dir_info" in origin:
        return f'pip install "{unquote(urlsplit(url).path)}{extras}"'
    if "vcs_info" in origin:
        return f'pip install "tailrace{extras} @ {origin["vcs_info"]["vcs"]}+{url}"'
    return f'pip install "tailrace{extras}"'


def _upgrade(direct_url: str) -> str:
    """
    >>> _upgrade('{"url": "file:///src/tailrace", "dir_info": {}}')
    'Update the files in /src/tailrace, then run: pip install "/src/tailrace"'
    >>> _upgrade("")
    'Upgrade with: pip install --upgrade "tailrace"'
    """
    origin = json.loads(direct_url or "{}")
    command = _command(direct_url, "")
    if "dir_info" in origin:
        folder = unquote(urlsplit(str(origin["url"])).path)
        return f"Update the files in {folder}, then run: {command}"
    return f"Upgrade with: {command.replace('install', 'install --upgrade')}"
