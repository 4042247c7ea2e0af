"""URLs among the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, urlsplit

from tailrace.errors import InsecureHost, InvalidConfigValue

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine.

    >>> is_loopback("http://127.0.0.1:8080/v1"), is_loopback("https://api.segment.io")
    (True, False)
    """
    return (urlsplit(url).hostname or "") in LOOPBACK_HOSTS


def require_tls(url: str, key: str) -> None:
    """Refuse a URL that would carry a secret in the clear."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidConfigValue(
            f"{key} is not a URL", hint=f"Write {key} as https://host", key=key
        )
    if parts.scheme == "http" and not is_loopback(url):
        raise InsecureHost(
            f"{key} is http://{parts.hostname}: plain http is allowed for localhost only", key=key
        )


def require_proxy(url: str, key: str) -> None:
    """Refuse what is not the address of a proxy, such as http://proxy:3128 or proxy:3128."""
    parts = _split(url if "://" in url else f"http://{url}")
    if parts is None or not parts.hostname or not url.isprintable() or " " in url:
        raise InvalidConfigValue(
            f"{key} is not a URL", hint=f"Write {key} as http://host:port", key=key
        )


def whole_urls(parts: Iterable[str]) -> Iterator[str]:
    """URLs that were split at commas: a part without a scheme belongs to the URL before it.

    >>> list(whole_urls(["mailto://host?to=a", "b", "json://host"]))
    ['mailto://host?to=a,b', 'json://host']
    """
    whole = ""
    for part in parts:
        if whole and "://" in part:
            yield whole
            whole = part
        else:
            whole = f"{whole},{part}" if whole else part
    if whole:
        yield whole


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        # A port that is not a number is only found when it is asked for.
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None
