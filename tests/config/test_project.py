"""A project's settings: where they come from, in which order, and what is refused by name."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tailrace.config.project import ProjectConfig, load_project
from tailrace.errors import (
    ConfigurationError,
    InsecureHost,
    InvalidConfigValue,
    MissingCredential,
    NotAProject,
    UnknownConfigKey,
)

SECRET = "s3cr3t-write-key"


def project(
    root: Path, *, target: str | None = None, environ: Mapping[str, str] | None = None, **files: str
) -> ProjectConfig:
    """A project whose files are named as arguments: `config`, `secrets`, `prod_config` …"""
    (root / ".dlt").mkdir(exist_ok=True)
    for name, text in {"config": "", **files}.items():
        (root / ".dlt" / f"{name.replace('_', '.')}.toml").write_text(text)
    return load_project(root, target=target, environ=environ or {})


def segment(text: str) -> str:
    return f'[destination.segment]\nwrite_key = "{SECRET}"\n{text}\n'


def test_the_environment_wins_then_the_target_then_secrets_then_config(tmp_path: Path) -> None:
    """Five places in dlt's order; each wins over those after it, key by key."""
    files = {
        "config": segment("host = 'https://e.example'"),
        "prod_config": segment("host = 'https://d.example'"),
        "secrets": segment("host = 'https://c.example'"),
        "prod_secrets": segment("host = 'https://b.example'"),
    }
    environ = {"DESTINATION__SEGMENT__HOST": "https://a.example"}
    found = []
    for without in ("", "prod_secrets", "secrets", "prod_config"):
        files.pop(without, None)
        for file in tmp_path.glob(".dlt/*"):
            file.unlink()
        made = project(tmp_path, target=None if "prod_config" == without else "prod", **files)
        found.append(made.segment().host)
    with_environment = project(tmp_path, environ=environ, **files)
    assert "https://a.example" == with_environment.segment().host
    assert [f"https://{letter}.example" for letter in "bcde"] == found


def test_a_key_that_a_file_leaves_out_comes_from_the_next(tmp_path: Path) -> None:
    """Secrets and settings of one section stand in two files."""
    made = project(
        tmp_path,
        config="[destination.segment]\nevents_per_second_max = 50\n",
        secrets=f'[destination.segment]\nwrite_key = "{SECRET}"\n',
        environ={"DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "7"},
    ).segment()
    assert (SECRET, 50.0, 7) == (made.write_key, made.events_per_second_max, made.batch_events_max)
    assert "https://api.segment.io" == made.host


def test_a_target_without_a_file_is_an_error(tmp_path: Path) -> None:
    """Otherwise a misspelt target would run against the wrong account."""
    with pytest.raises(InvalidConfigValue, match='no target "prdo"') as raised:
        project(tmp_path, target="prdo", prod_config="")
    assert ".dlt/prdo.config.toml" in raised.value.hint


@pytest.mark.parametrize("target", ["../prod", "..", "a/b", ".hidden", "a\\b"])
def test_a_target_is_a_name_and_no_path(tmp_path: Path, target: str) -> None:
    with pytest.raises(InvalidConfigValue, match="takes a name"):
        project(tmp_path, target=target)


@pytest.mark.parametrize(
    ("text", "message", "file"),
    [
        (
            "[tailrace]\nwarehose = 'x'",
            '[tailrace] has no key "warehose". Did you mean "wareh',
            True,
        ),
        ("[destination.segment]\nwritekey = 'x'", 'Did you mean "write_key"?', True),
        ("[sources.salesforce]\nobject = 1\nobjets = []", 'Did you mean "objects"?', True),
        ("[sources.salesforce.credentials]\nclientid = 'x'", 'Did you mean "client_id"?', True),
        (
            "[sources.salesforce.object.Contact]\nfeilds = []",
            '[sources.salesforce.object.Contact] has no key "feilds". Did you mean "fields"?',
            True,
        ),
        ("[tailrace]\nqqq = 1", '[tailrace] has no key "qqq".', True),
    ],
)
def test_an_unknown_key_is_an_error_with_its_file(
    tmp_path: Path, text: str, message: str, file: bool
) -> None:
    """A key that nothing reads is a mistake, and is told before anything starts."""
    with pytest.raises(UnknownConfigKey) as raised:
        project(tmp_path, secrets=text)
    assert message in raised.value.message
    assert ".dlt/secrets.toml" == raised.value.file
    assert 2 == raised.value.exit_code


def test_an_unknown_name_in_the_environment_is_an_error(tmp_path: Path) -> None:
    """With the name that was meant, as it is written there; names of others are theirs."""
    others = {
        "DESTINATION__POSTGRES__CREDENTIALS": "x",
        "TAILRACER": "x",
        "SOURCES__HUBSPOT__X": "y",
    }
    project(tmp_path, environ=others)
    with pytest.raises(UnknownConfigKey, match='Did you mean "WRITE_KEY"') as raised:
        project(tmp_path, environ={"DESTINATION__SEGMENT__WRITEKEY": SECRET})
    assert "DESTINATION__SEGMENT__WRITEKEY" in raised.value.message
    assert SECRET not in raised.value.message


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    """dlt's own settings stand in the same files."""
    made = project(
        tmp_path,
        config="[runtime]\nlog_level = 'INFO'\n[destination.postgres]\ncreate_indexes = false\n"
        "[sources.hubspot]\nanything = 1\n[normalize]\nworkers = 2\n",
    )
    assert "duckdb" == made.settings.warehouse


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("events_per_second_max = 'many'", "a number ≥ 0"),
        ("events_per_second_max = -1", "a number ≥ 0; it is -1"),
        ("events_per_second_max = nan", "a number ≥ 0; it is nan"),
        ("timeout_seconds = inf", "a number > 0; it is inf"),
        ("timeout_seconds = 0", "a number > 0; it is 0"),
        ("requests_in_flight_max = 0", "a whole number > 0; it is 0"),
        ("requests_in_flight_max = 2.5", "a whole number > 0; it is 2.5"),
        ("requests_in_flight_max = true", "a whole number > 0; it is true"),
        ("requests_in_flight_max = '-1'", "a whole number > 0; it is -1"),
        ("requests_in_flight_max = -1234567890123456", "a whole number > 0"),
        ("check_write_key = 'maybe'", "true or false"),
        ("check_write_key = 1", "true or false"),
        ("host = ['https://api.segment.io']", "text"),
    ],
)
def test_a_value_of_the_wrong_type_is_reported_with_its_place(
    tmp_path: Path, text: str, spoken: str
) -> None:
    """What it should be and where it stands; of what it was, a short number only."""
    made = project(tmp_path, secrets=segment(text))
    with pytest.raises(InvalidConfigValue) as raised:
        made.segment()
    key = text.split(" ")[0]
    assert f"destination.segment.{key} is not {spoken}" == raised.value.message
    assert ".dlt/secrets.toml" == raised.value.file


def test_texts_of_the_environment_become_what_the_key_is(tmp_path: Path) -> None:
    """Numbers, truth and lists, as dlt reads them; an empty text is none."""
    made = project(
        tmp_path,
        environ={
            "SOURCES__SALESFORCE__OBJECTS": '["Contact", "Lead"]',
            "SOURCES__SALESFORCE__API_CALLS_MAX": "",
            "SOURCES__SALESFORCE__FORMULA": "refresh",
            "SOURCES__SALESFORCE__OBJECT__CONTACT__EXCLUDE": "Description, Fax",
            "DESTINATION__SEGMENT__WRITE_KEY": SECRET,
            "DESTINATION__SEGMENT__CHECK_WRITE_KEY": "False",
            "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        },
    )
    salesforce, sender = made.salesforce(), made.segment()
    assert (("Contact", "Lead"), None, "refresh") == (
        salesforce.objects,
        salesforce.api_calls_max,
        salesforce.formula,
    )
    assert ("Description", "Fax") == salesforce.of("Contact").exclude
    assert (False, 0.0) == (sender.check_write_key, sender.events_per_second_max)


def test_one_object_may_differ_in_several_files(tmp_path: Path) -> None:
    """Key by key, like every other section; the others have the defaults."""
    made = project(
        tmp_path,
        config="[sources.salesforce.object.Contact]\nformula = 'exclude'\napi = 'bulk'\n",
        secrets="[sources.salesforce.object.Contact]\nformula = 'refresh'\n",
    ).salesforce()
    assert ("refresh", "bulk") == (made.of("contact").formula, made.of("contact").api)
    assert made.of("Lead").formula is None


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ("http://api.segment.io", InsecureHost),
        ("http://127.0.0.1.example.com", InsecureHost),
        ("http://localhost.example.com:80", InsecureHost),
        ("http://0.0.0.0:8080", InsecureHost),
        ("ftp://api.segment.io", InvalidConfigValue),
        ("api.segment.io", InvalidConfigValue),
        ("https://", InvalidConfigValue),
        ("https://[::1", InvalidConfigValue),
        ("https://api.segment.io:port", InvalidConfigValue),
        ("", InvalidConfigValue),
    ],
)
def test_a_host_that_would_carry_secrets_in_the_clear_is_refused(
    tmp_path: Path, host: str, error: type[ConfigurationError]
) -> None:
    """For both services, before the first connection."""
    made = project(
        tmp_path,
        secrets=segment(f"host = '{host}'")
        + f"[sources.salesforce.credentials]\ninstance_url = '{host}'\naccess_token = 'x'\n",
    )
    with pytest.raises(error, match=r"destination\.segment\.host"):
        made.segment()
    with pytest.raises(error, match=r"credentials\.instance_url"):
        made.salesforce_credentials()


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://eu.example/v1"]
)
def test_this_machine_may_be_spoken_to_plainly(tmp_path: Path, host: str) -> None:
    assert host == project(tmp_path, secrets=segment(f"host = '{host}'")).segment().host


def everything(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "text",
    [
        f"[destination.segment]\nwrite_key = ['{SECRET}']",
        f"[destination.segment]\nwrite_key = {{key = '{SECRET}'}}",
        f"[destination.segment]\nwrite_key = '{SECRET}'\nevents_per_second_max = '{SECRET}'",
        f"[destination.segment]\nwrite_key = '{SECRET}'\nhost = 'http://user:{SECRET}@a.example'",
        f"[destination.segment]\nwrite_key = '{SECRET}'\nhost = '{SECRET}'",
        f"[destination.segment]\nwrite_key = '{SECRET}",
        f"write_key {SECRET}",
        f"[destination.segment]\nwritekey = '{SECRET}'",
    ],
)
def test_no_error_tells_a_secret(tmp_path: Path, text: str) -> None:
    """Not in its message, not in its hint, not in what led to it."""
    with pytest.raises(ConfigurationError) as raised:
        project(tmp_path, secrets=text).segment()
    assert SECRET not in everything(raised.value)
    assert SECRET not in f"{raised.value.as_dict()} {raised.value.args}"


def test_nothing_that_is_printed_tells_a_secret(tmp_path: Path) -> None:
    """A project, its settings and its credentials show none of them."""
    made = project(
        tmp_path,
        secrets=segment("")
        + "[sources.salesforce.credentials]\ninstance_url = 'https://a.example'\n"
        + "".join(
            f"{key} = '{SECRET}'\n"
            for key in (
                *("client_id", "client_secret", "username", "password", "security_token"),
                *("private_key", "access_token"),
            )
        )
        + f"[tailrace]\nsalt = '{SECRET}'\n",
        environ={"DESTINATION__POSTGRES__CREDENTIALS": f"postgresql://u:{SECRET}@h/d"},
    )
    printed: list[Any] = [made, made.settings, made.segment(), made.salesforce_credentials()]
    assert SECRET not in "".join(f"{each} {each!r}" for each in printed)
    assert SECRET == made.salesforce_credentials().client_secret


def test_invalid_toml_is_reported_with_the_line(tmp_path: Path) -> None:
    """And without the line itself."""
    with pytest.raises(InvalidConfigValue, match=r"a text without quotes, at line 2") as raised:
        project(tmp_path, secrets=f"[destination.segment]\nwrite_key = {SECRET}\n")
    assert ".dlt/secrets.toml" == raised.value.file
    (tmp_path / ".dlt" / "secrets.toml").write_bytes(b"[tailrace]\nsalt = '\xff'")
    with pytest.raises(InvalidConfigValue, match="not UTF-8") as raised:
        load_project(tmp_path, environ={})
    assert 2 == raised.value.line and "Save it" in raised.value.hint
    (tmp_path / ".dlt" / "secrets.toml").write_bytes(b"\xef\xbb\xbf[tailrace]\ndataset = 'crm'\n")
    assert "crm" == load_project(tmp_path, environ={}).settings.dataset


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[a]\nb = 1\nb = 'sk-hidden'\n", "a key stands twice, at line 3"),
        ("[a]\nb = 1\n[a]\nc = 'sk-hidden'", "a section stands twice, at line 3"),
        ("a = {b = 1, b = 'sk-hidden'}", "a key stands twice, at line 1"),
        ("[a]\nsk-hidden", "= is missing after a key, at end"),
        ("[sk-hidden\nb = 1", "] is missing after the name of a section, at line 1"),
        ("a = 1 'sk-hidden'", "something follows a value on its line, at line 1"),
        ("a = 'sk-hidden", "the quotes of a text are not closed, at end"),
        ('a = "sk-hidden\nb = 1', "the quotes of a text are not closed, at line 1"),
        ('a = """sk-hidden', "the quotes of a text are not closed, at end"),
        ("a =\nb = 'sk-hidden'", "a value is missing, or is a text without quotes, at line 1"),
        ("a = ['sk-hidden'", "an array is not closed, at end"),
        ("a = {b = 1 ", "an inline table is not closed, at end"),
        (
            r'a = "C:\sk-hidden"',
            "a backslash in a text with double quotes must be doubled, at line 1",
        ),
        ("=", "at line 1"),
    ],
)
def test_invalid_toml_is_reported_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidConfigValue) as raised:
        project(tmp_path, config=text)
    assert f"Not valid TOML: {reason}" in raised.value.message
    assert "sk-hidden" not in raised.value.message


def test_a_missing_credential_is_reported_with_both_ways_to_set_it(tmp_path: Path) -> None:
    """The key, its section, its file, and its name in the environment."""
    with pytest.raises(MissingCredential) as raised:
        project(tmp_path).segment()
    assert "destination.segment.write_key is not configured" == raised.value.message
    for words in ("[destination.segment]", ".dlt/secrets.toml", "DESTINATION__SEGMENT__WRITE_KEY"):
        assert words in raised.value.hint


def test_a_private_key_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    """Relative to the project; a missing one is named."""
    secrets = (
        "[sources.salesforce.credentials]\ninstance_url = 'https://a.example'\n"
        "client_id = 'x'\nusername = 'y'\nprivate_key_file = 'salesforce.pem'\n"
    )
    made = project(tmp_path, secrets=secrets)
    with pytest.raises(MissingCredential, match=r"salesforce\.pem is missing"):
        made.salesforce_credentials()
    (tmp_path / "salesforce.pem").write_text(SECRET)
    assert SECRET == made.salesforce_credentials().private_key


def test_a_folder_without_a_project_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotAProject, match="no Tailrace project in") as raised:
        load_project(tmp_path)
    assert "tailrace init" in raised.value.hint


@pytest.mark.parametrize(
    ("credentials", "file"),
    [
        ("'crm.duckdb'", "crm.duckdb"),
        ("'duckdb:///data/crm.duckdb'", "data/crm.duckdb"),
        ("'/data/crm.duckdb'", "/data/crm.duckdb"),
        ("{database = 'crm.duckdb'}", "crm.duckdb"),
    ],
)
def test_the_file_of_the_warehouse_is_relative_to_the_project(
    tmp_path: Path, credentials: str, file: str
) -> None:
    made = project(tmp_path, config=f"[destination.duckdb]\ncredentials = {credentials}\n")
    assert tmp_path / file == made.duckdb_file
    assert tmp_path / "warehouse.duckdb" == project(tmp_path).duckdb_file


@pytest.mark.parametrize("nowhere", [":memory:", "md:crm", "duckdb:///:memory:"])
def test_a_warehouse_that_ends_with_the_run_is_refused(tmp_path: Path, nowhere: str) -> None:
    """A ledger that forgets would send everything again."""
    made = project(tmp_path, config=f"[destination.duckdb]\ncredentials = '{nowhere}'\n")
    with pytest.raises(InvalidConfigValue, match="which is not a file"):
        _ = made.duckdb_file


def test_credentials_of_a_warehouse_come_whole_or_key_by_key(tmp_path: Path) -> None:
    """A key of the environment wins over a file's; without any, dlt is asked."""
    made = project(
        tmp_path,
        config="[destination.postgres.credentials]\nhost = 'h'\ndatabase = 'd'\npassword = 'no'\n",
        secrets="[destination.postgres.credentials]\npassword = 'p'\n",
        environ={"DESTINATION__POSTGRES__CREDENTIALS__USERNAME": "u"},
    )
    assert {"host": "h", "database": "d", "password": "p", "username": "u"} == (
        made.warehouse_credentials("postgres")
    )
    assert made.warehouse_credentials("snowflake") is None
    whole = project(tmp_path, environ={"DESTINATION__POSTGRES__CREDENTIALS": "postgresql://x"})
    assert "postgresql://x" == whole.warehouse_credentials("postgres")
