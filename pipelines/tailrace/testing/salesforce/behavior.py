"""Ways in which a simulated org differs from the documented API."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

RESULT_PAGES = ("documented", "chunks", "chunks_relative", "absolute", "not_found", "bad_request")
CURSOR_SESSIONS = ("any", "unauthorized", "invalid_locator")
PAGING = ("ends", "repeats", "endless")
ROWS_ERRORS = ("QUERY_TIMEOUT", "OPERATION_TOO_LARGE")
_CHOICES = {
    "result_pages": RESULT_PAGES,
    "cursor_sessions": CURSOR_SESSIONS,
    "paging": PAGING,
    "query_rows_error": ROWS_ERRORS,
}


@dataclass(kw_only=True)
class OrgBehavior:
    """Options of an org; they may change while the simulator runs.

    Each condition comes from a public report about a client of Salesforce. `None`, 0 and False
    are the documented behavior.

    Args:
        result_pages: how `/resultPages` answers. "documented": `resultPages[].resultUrl` with an
            absolute path. "chunks": `resultChunks[].resultLink`, relative to the API root
            `/services/data/vNN.0`, with a leading slash; "chunks_relative": without it.
            "absolute": `resultUrl` with scheme and host. "not_found" and "bad_request": refused.
        result_pages_listed_max: `/resultPages` lists this many pages and says that it is done.
        bulk_pages_max: `/results` ends after this many pages.
        rest_pages_max: a query says `done` after this many pages.
        job_rows_offset: added to `numberRecordsProcessed`.
        page_rows_offset: added to `Sforce-NumberOfRecords`.
        page_rows_header: False leaves out `Sforce-NumberOfRecords`.
        total_size_offset: added to `totalSize`.
        cursor_sessions: which session may read the next page of a query. "unauthorized": only the
            session that sent the query, others get 401; "invalid_locator": others get 400
            INVALID_QUERY_LOCATOR.
        paging: "repeats": the address of the next page is that of the same page, in REST and Bulk.
            "endless": after the last page the first one follows, under a new address.
        repeated_rows: this many rows appear again at the end of a result.
        repeated_rows_stale: repeated rows are older versions: SystemModstamp is a day earlier, and
            text fields that may be empty are empty.
        query_rows_max: queries with more rows fail, in REST and Bulk.
        query_rows_error: with this error code.
        formula_fields_max: REST queries with more formula fields fail with QUERY_TOO_COMPLICATED.
        stale_describes: so many describes of an object still list fields that are hidden.
        version_first: older API versions are retired (410).
        version_last: later API versions do not exist (404).
        token_omits: keys that the token response lacks, such as "instance_url".
        token_redirect: `/services/oauth2/token` answers 302 with this Location.
        jwt_audience: the only `aud` that a JWT assertion may have, such as
            "https://test.salesforce.com" for a sandbox. None = either login host, or this one.
        language: language of error messages: "en", "de" or "ja". Error codes stay the same.
    """

    result_pages: str = "documented"
    result_pages_listed_max: int | None = None
    bulk_pages_max: int | None = None
    rest_pages_max: int | None = None
    job_rows_offset: int = 0
    page_rows_offset: int = 0
    page_rows_header: bool = True
    total_size_offset: int = 0
    cursor_sessions: str = "any"
    paging: str = "ends"
    repeated_rows: int = 0
    repeated_rows_stale: bool = False
    query_rows_max: int | None = None
    query_rows_error: str = "QUERY_TIMEOUT"
    formula_fields_max: int = 400
    stale_describes: int = 0
    version_first: int = 31
    version_last: int = 68
    token_omits: tuple[str, ...] = ()
    token_redirect: str | None = None
    jwt_audience: str | None = None
    language: str = "en"

    def __post_init__(self) -> None:
        for name in _CHOICES:
            self._check(name, getattr(self, name))

    def change(self, name: str, value: Any) -> None:
        """Set an option by name.

        Raises:
            KeyError: There is no such option.
            ValueError: The option does not take this value.
        """
        if name not in {item.name for item in fields(self)}:
            raise KeyError(name)
        if isinstance(value, list):
            value = tuple(value)
        self._check(name, value)
        setattr(self, name, value)

    def _check(self, name: str, value: Any) -> None:
        choices = _CHOICES.get(name)
        if choices is not None and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def options() -> list[str]:
    """The names of all options."""
    return [item.name for item in fields(OrgBehavior)]
