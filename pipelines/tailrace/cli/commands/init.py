"""`tailrace init`: a project that runs at once, never overwriting a file that is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tailrace.dataclass import dataclass
from tailrace.errors import ConfigurationError

SECRETS_EXAMPLE = """\
# Copy this file to .dlt/secrets.toml, which git ignores, and fill in your own.
# Each value can come from the environment as well, in capitals and with double underscores:
# SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET, DESTINATION__SEGMENT__WRITE_KEY

[sources.salesforce.credentials]
instance_url = "https://acme.my.salesforce.com"
# OAuth 2.0 client credentials:
client_id = "consumer key of your connected app"
client_secret = "consumer secret of your connected app"
# or JWT bearer, instead of client_secret:
# username = "integration@acme.example"
# private_key_file = "salesforce.pem"

[destination.segment]
write_key = "write key of your HTTP API source"
# With OAuth 2.0, beside the write key:
# oauth_client_id = "id of your OAuth application"
# oauth_key_id = "id of its key"
# oauth_client_key = '''-----BEGIN PRIVATE KEY----- …'''
# To compare what was acknowledged with what Segment received:
# public_api_token = "token of the Public API"
"""

IGNORED_BY_GIT = """\
# Secrets
.dlt/secrets.toml
.dlt/*.secrets.toml
*.pem

# What a run leaves behind
.tailrace/
*.duckdb
*.duckdb.wal
*.duckdb.tmp/
"""


@dataclass(frozen=True, kw_only=True)
class Scaffolded:
    """What `init` did: paths relative to the project."""

    root: Path
    created: tuple[str, ...]
    kept: tuple[str, ...]


def scaffold(directory: Path) -> Scaffolded:
    """Write the starter project into `directory`, keeping every file that is already there.

    Raises:
        ConfigurationError: The folder cannot be made or written.
    """
    root = directory.expanduser().resolve()
    created: list[str] = []
    kept: list[str] = []
    try:
        for name, content in starter():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("x", encoding="utf-8", newline="\n") as file:
                    file.write(content)
                created.append(name)
            except FileExistsError:
                kept.append(name)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write the project to {directory}: {error.strerror}",
            hint="Choose another folder: tailrace init DIR",
        ) from error
    return Scaffolded(root=root, created=tuple(created), kept=tuple(kept))


def starter() -> Iterator[tuple[str, str]]:
    """The files of a new project: the reference project's settings and models."""
    package = Path(__file__).parents[2]
    shipped = package / "starter"
    root = shipped if shipped.is_dir() else package.parents[1]
    models = (path for path in (root / "models").rglob("*") if path.suffix in (".sql", ".yml"))
    for path in [root / ".dlt" / "config.toml", *sorted(models)]:
        yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
    yield ".dlt/secrets.toml.example", SECRETS_EXAMPLE
    yield ".gitignore", IGNORED_BY_GIT
