"""Why a model may not call a function, and what to write instead."""

from __future__ import annotations

import re

from tailrace.dataclass import dataclass
from tailrace.errors import NotAllowedInModel

_OTHER_DATA = (
    "Load the rows into a table of the warehouse and declare it in models/sources.yml, or write a "
    "short list into the model: VALUES ('a', 1), ('b', 2)"
)
_WRITE_VALUE = "Write the value itself into the SELECT, so that the model is the same everywhere."
STEADY_SAMPLE = "Choose by a digest of the key instead, one in 16 with: md5(id) < '1'"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why functions of one kind are refused.

    Attributes:
        because: The second half of a sentence: `it reads files`.
        hint: What to write instead.
        is_random: Another value at each call is all that speaks against it.
    """

    because: str
    hint: str
    is_random: bool = False


# The first pattern that matches the whole name decides.
_REASONS: tuple[tuple[str, Reason], ...] = (
    (
        r"uuid\w*|gen_random_uuid|generate_uuid|newid",
        Reason(
            because="it returns another value each time",
            hint="Make an id from the key instead, such as: md5(id)",
            is_random=True,
        ),
    ),
    (
        r"random\w*|rand|randn|setseed|gen_random_bytes|gaussian\w*|shuffle",
        Reason(because="it returns another value each time", hint=STEADY_SAMPLE, is_random=True),
    ),
    (
        r"nextval|currval|setval|lastval",
        Reason(
            because="it counts in a sequence",
            hint="Number the rows by their values instead: row_number() OVER (ORDER BY id)",
        ),
    ),
    (
        r"clock_timestamp|timeofday",
        Reason(
            because="it reads a clock that goes on while the model runs",
            hint="Use now() or current_date, which are the time of the run.",
        ),
    ),
    (r"getenv", Reason(because="it reads an environment variable", hint=_WRITE_VALUE)),
    (
        r"current_setting|set_config|getvariable|setvariable|duckdb_(settings|variables|secrets)"
        r"|duckdb_secret_types|which_secret|version|pg_(show_all_settings|settings)|pragma_version"
        r"|pg_(reload_conf|conf_load_time|file_settings|hba_file_rules|ident_file_mappings)",
        Reason(because="it reads settings of the session or of the server", hint=_WRITE_VALUE),
    ),
    (
        r"read_\w+|glob|parquet_\w+|sniff_csv|csv_\w+|\w*arrow_scan\w*|pandas_scan|python_map_function"
        r"|pg_(read|ls|stat)_\w*(file|dir)\w*|pg_current_logfile|lo_\w+|loread|lowrite|st_read\w*"
        r"|parse_duckdb_log_message|file_\w+",
        Reason(because="it reads files", hint=_OTHER_DATA),
    ),
    (
        r"dblink\w*|http_\w+|postgres_\w+|mysql_\w+|sqlite_\w+|\w+_scan|\w+_attach|load_aws_\w+",
        Reason(because="it reads from outside the warehouse", hint=_OTHER_DATA),
    ),
    (
        r"query|query_table|json_(de)?serialize_(sql|plan)|json_execute_serialized_sql"
        r"|sql_auto_complete|\w+_to_xml\w*|pg_get_\w+def|pg_get_expr|from_substrait\w*"
        r"|get_substrait\w*|execute\w*",
        Reason(
            because="it works on SQL texts",
            hint="Write the SELECT itself into the model, or into "
            "a model of its own that this one reads by its name.",
        ),
    ),
    (
        r"error|assert_true",
        Reason(
            because="it raises errors",
            hint="Return NULL for such rows with CASE, and let a guard of the header hold the "
            "audience, such as: guards: {min_rows: 1}",
        ),
    ),
    (
        r"sleep_ms|pg_sleep\w*",
        Reason(because="it only waits", hint="Leave it out."),
    ),
    (
        r"write_log|pg_log\w*|enable_\w+|disable_\w+|pg_notify|pg_(try_)?advisory\w*"
        r"|pg_(cancel|terminate)_backend|checkpoint|force_checkpoint|pg_switch_wal|currtid\w*|add_parquet_key|(copy|import)_database"
        r"|\w+_external_resource\w*|truncate_\w+|verify_\w+",
        Reason(
            because="it changes something besides the result",
            hint="Leave it out: a model only computes rows.",
        ),
    ),
    (
        r"current_(query\w*|transaction_id|connection_id|user|role)|session_user|user|stats"
        r"|txid_\w+|pg_(backend_pid|current_xact\w*|current_snapshot|my_temp_schema|postmaster\w*)"
        r"|inet_\w+|in_search_path|pg_trigger_depth",
        Reason(
            because="it depends on the session, not on rows",
            hint="Leave it out, or write the value itself into the SELECT.",
        ),
    ),
    (
        r"current_(catalog|database|schemas?)|duckdb_\w+|pragma_\w+|show\w*|pg_\w+|has_\w+_privilege"
        r"|col_description|obj_description|shobj_description|to_reg\w+|format_type|summary"
        r"|database_size|storage_info|table_info|test_\w+|icu_\w+|binary_upgrade\w*|\w+_databases"
        r"|(all|show)_tables\w*|\w*profiling\w*|index_scan|checkpoint_\w+"
        r"|seq_scan|collations|database_list|extension_versions|functions|platform|user_agent"
        r"|metadata_info|vector_type|get_block_size",
        Reason(
            because="it reads the catalog or the state of the engine",
            hint="Name the tables and columns themselves in the SELECT.",
        ),
    ),
)
_ELSE = Reason(
    because="it does not compute from its arguments alone",
    hint="Use a function of its arguments alone, or compute the value in an earlier step and load "
    "it into a table that the model reads.",
)
_PATTERNS = tuple((re.compile(pattern), reason) for pattern, reason in _REASONS)


def reason_of(name: str) -> Reason:
    """Why a model may not call a function that is refused.

    >>> reason_of("getenv").because, reason_of("read_csv").because
    ('it reads an environment variable', 'it reads files')
    """
    lower = name.lower()
    return next((reason for pattern, reason in _PATTERNS if pattern.fullmatch(lower)), _ELSE)


def refusal(name: str) -> str:
    """The message that refuses a function."""
    return f"{name}() is not allowed in a model: {reason_of(name).because}"


def not_allowed(message: str) -> NotAllowedInModel:
    """The error for a message of `refusal`, with the hint of its function, or for another one."""
    name, of_function, _ = message.partition("() is not allowed")
    return NotAllowedInModel(message, hint=reason_of(name).hint if of_function else None)
