"""Unknown sections of the configuration are refused, and sections of dlt are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.config.check import check_settings
from tailrace.config.project import ProjectConfig, load_project
from tailrace.errors import ConfigurationError, NotAProject, UnknownConfigKey

BASE = "[tailrace]\nwarehouse = 'duckdb'\n"


def project(root: Path, config: str, **environ: str) -> ProjectConfig:
    (root / ".dlt").mkdir(exist_ok=True)
    (root / ".dlt" / "config.toml").write_text(BASE + config)
    made = load_project(root, environ=environ)
    made.refuse_unused_destinations(["segment"])
    return made


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        ("[destination.segmnt]\nhost = 'https://eu.example.com'\n", "segment"),
        ("[destination.Segment]\nhost = 'https://eu.example.com'\n", "segment"),
        ("[destination.sement]\nwrite_key = 'k'\n", "segment"),
        ("[destination.seg]\nhost = 'https://eu.example.com'\n", "segment"),
        ("[destination.duckbd]\ncredentials = 'x.duckdb'\n", "duckdb"),
        ("[destination.dukdb]\ncredentials = 'x.duckdb'\n", "duckdb"),
        ("[destination.duckdb]\ncredentails = 'x.duckdb'\n", "credentials"),
        ("[destinations.segment]\nhost = 'https://eu.example.com'\n", "[destination.segment]"),
        ("[destinations.postgres]\ncredentials = 'x'\n", "[destination.postgres]"),
        ("[destinaton.segment]\nwrite_key = 'k'\n", "destination"),
        ("[source.salesforce]\nobjects = ['Contact']\n", "sources"),
        ("[sources.salesforc]\nobjects = ['Contact']\n", "salesforce"),
        ("[sources.salesforce.credential]\nclient_id = 'x'\n", "credentials"),
        (
            "[sources.salesforce]\nobjects = ['Contact']\n[sources.salesforce.objcet.Contact]\n",
            "obj",
        ),
        (
            "[sources.salesforce]\nobjects = ['Contact']\n"
            "[sources.salesforce.object.Contct]\nformula = 'land'\n",
            "Contact",
        ),
        ("[tailrac]\ndataset = 'x'\n", "tailrace"),
        ("[normalise]\nworkers = 1\n", "normalize"),
        ("[zzz]\nx = 1\n", ""),
    ],
)
def test_a_misspelt_section_is_refused(config: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownConfigKey) as raised:
        project(tmp_path, config).salesforce()
    assert ("Did you mean" in raised.value.message) == bool(meant)
    assert meant in raised.value.message
    assert ".dlt/config.toml" == raised.value.file


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SOURCE__SALESFORCE__OBJECTS", "SOURCES__"),
        ("SOURCES__SALESFORC__OBJECTS", "SOURCES__SALESFORCE__"),
        ("TAILRAC__DATASET", "TAILRACE__"),
        ("DESTINATON__SEGMENT__HOST", "DESTINATION__"),
        ("DESTINATIONS__SEGMENT__HOST", "DESTINATION__"),
        ("DESTINATIONS__OTHER__X", None),
        ("SOURCES__HUBSPOT__X", None),
        ("SOURCEGRAPH__X", None),
        ("DATA_WRITER__X", None),
    ],
)
def test_a_misspelt_variable_is_refused(variable: str, meant: str | None, tmp_path: Path) -> None:
    """A misspelt destination is refused where the audiences are known."""
    if meant is None:
        project(tmp_path, "", **{variable: "x"}).salesforce()
        return
    with pytest.raises(UnknownConfigKey) as raised:
        project(tmp_path, "", **{variable: "x"})
    assert variable in raised.value.message and f'"{meant}"' in raised.value.message


@pytest.mark.parametrize(
    "config",
    [
        "[destination.segment_eu]\nwrite_key = 'k'\n",
        "[destination.segment2]\nwrite_key = 'k'\n",
        "[destination.crm]\ntype = 'webhook'\n",
        "[destination.postgres]\ncreate_indexes = false\n",
        "[destination.bigquery]\nlocation = 'EU'\n",
        "[sources.hubspot]\nx = 1\n",
        "[runtime]\nlog_level = 'INFO'\n[load]\nworkers = 2\n",
    ],
)
def test_a_section_that_something_reads_is_accepted(config: str, tmp_path: Path) -> None:
    assert "duckdb" == project(tmp_path, config).settings.warehouse


def test_a_misspelt_destination_in_the_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownConfigKey, match="DESTINATION__SEGMNT__"):
        project(tmp_path, "", DESTINATION__SEGMNT__HOST="https://eu.example.com")
    project(tmp_path, "", DESTINATION__OTHER__WRITE_KEY="k", DESTINATION__SEGMENT_EU__HOST="x")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[destination.segment]\nevents_per_second_max = 'fast'\n", "events_per_second_max"),
        ("[destination.segment]\nrequests_in_flight_max = 0\n", "requests_in_flight_max"),
        ("[destination.segment]\nhost = 'http://eu.example.com'\n", "localhost only"),
        ("[sources.salesforce]\napi = 'soap'\n", "one of auto, rest, bulk"),
        ("[sources.salesforce]\nobjects = ['Account', 5]\n", "objects is not a list of names"),
        ("[sources.salesforce]\nobjects = 5\n", "objects is not a list of names"),
        ("[sources.salesforce]\nobjects = ['Case', 'case']\n", "objects lists Case twice"),
        ("[destination.duckdb]\ncredentials = ':memory:'\n", "not a file"),
        ("[sources.salesforce]\napi_version = '64'\n", "api_version is 64"),
        ("[sources.salesforce]\nquota_share_max = 7\n", "quota_share_max .* ≤ 1"),
    ],
)
def test_validate_checks_every_setting_without_credentials(
    config: str, message: str, tmp_path: Path
) -> None:
    made = project(tmp_path, config)
    with pytest.raises(ConfigurationError, match=message):
        check_settings(made)
        made.segment_limits()


@pytest.mark.parametrize(
    ("warehouse", "message"),
    [
        ("duckbd", 'Did you mean "duckdb"?'),
        ("DuckDB", 'Did you mean "duckdb"?'),
        ("qdrant", "not an SQL destination"),
        ("snowflake", "driver that is not installed"),
    ],
)
def test_a_warehouse_that_cannot_be_used_is_refused(
    warehouse: str, message: str, tmp_path: Path
) -> None:
    made = project(tmp_path, "", TAILRACE__WAREHOUSE=warehouse)
    with pytest.raises(ConfigurationError) as raised:
        check_settings(made)
    assert message in raised.value.message


def test_a_project_is_found_from_a_folder_in_it(tmp_path: Path) -> None:
    project(tmp_path, "")
    below = tmp_path / "models" / "audiences"
    below.mkdir(parents=True)
    assert tmp_path == load_project(below, environ={}).root
    with pytest.raises(NotAProject, match="There is no folder"):
        load_project(tmp_path / "modles", environ={})
