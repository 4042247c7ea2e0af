"""The extract: objects land whole, once, and only what changed is read again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from salesforce_landing import Landing, landing_of

from tailrace.config.settings import ObjectSettings
from tailrace.errors import (
    CredentialRefused,
    SeveralUnknown,
    UnknownField,
    UnknownObject,
    Unreachable,
)


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


def test_objects_land_whole_with_their_types(landing: Landing) -> None:
    """Every row and every field lands, by the names that dlt gives and with Salesforce's types."""
    result = landing.extract()

    org = landing.sf.org
    assert [(True, None), (True, None)] == [(o.complete, o.error) for o in result.objects]
    assert {o.table: o.rows for o in result.objects} == {
        "account": len(org.rows("Account").ids()),
        "contact": len(org.rows("Contact").ids()),
    }
    types = dict(
        landing.rows(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'salesforce' AND table_name = 'contact'"
        )
    )
    assert ("VARCHAR", "BOOLEAN", "DATE") == (
        types["id"],
        types["is_deleted"],
        types["birthdate"],
    )
    assert "TIMESTAMP WITH TIME ZONE" == types["system_modstamp"]
    assert "mailing_address" not in types and "mailing_city" in types


def test_bulk_and_rest_land_the_same(landing: Landing, tmp_path: Path) -> None:
    """Which API was used shows in the facts, and nowhere in the rows."""
    other = (
        Landing(tmp_path / "other", landing.sf) if (tmp_path / "other").mkdir() is None else None
    )
    assert other is not None

    assert "rest" == landing.one("Contact", api="rest").api
    assert "bulk" == other.one("Contact", api="bulk").api

    everything = "SELECT * FROM salesforce.contact ORDER BY id"
    assert landing.rows(everything) == other.rows(everything)
    other.connection.close()


def test_only_what_changed_is_read_again(landing: Landing) -> None:
    """The second extract reads the rows of its window and merges them by id."""
    before = landing.one("Contact").rows
    landing.sf.org.advance(hours=3)
    changed = landing.rows("SELECT id FROM salesforce.contact ORDER BY id LIMIT 2")
    for (record_id,) in changed:
        landing.sf.org.update("Contact", record_id, {"LastName": "Ampère"})

    facts = landing.one("Contact")

    assert (2, True) == (facts.rows, facts.complete)
    assert before == landing.value("SELECT count(*) FROM salesforce.contact")
    assert 2 == landing.value("SELECT count(*) FROM salesforce.contact WHERE last_name = 'Ampère'")


QUIET = """
import sys
from pathlib import Path

from salesforce_landing import landing_of
from tailrace.testing.org.describe import Field

with landing_of(Path(sys.argv[1])) as landing:
    org = landing.sf.org
    landing.extract("Account", "Contact", "User", formula="refresh")
    org.advance_day()
    org.add_field("Contact", Field(name="New__c", type="datetime"))
    org.hide_field("Contact", "Visits__c")
    org.purge("Contact", org.rows("Contact").ids()[3])
    org.advance(minutes=5)
    landing.extract("Account", "Contact", "User", formula="refresh", reconcile=True)
    landing.extract("Account", "Contact", "User", formula="refresh", deleted="remove")
"""


def test_nothing_is_printed(tmp_path: Path) -> None:
    """dlt stays quiet on both streams, whatever lands."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_an_unknown_object_is_reported_before_anything_lands(landing: Landing) -> None:
    """The name that was probably meant is in the message."""
    with pytest.raises(UnknownObject, match=r'Contcat.*Did you mean "Contact"') as caught:
        landing.extract("Account", "Contcat")

    assert (2, []) == (caught.value.exit_code, landing.rows("SELECT * FROM duckdb_tables()"))


@pytest.mark.parametrize("name", ["query", "../limits", "Contact/x", "__class__", "a b"])
def test_names_that_are_no_objects(landing: Landing, name: str) -> None:
    """Whatever is written there is a name, and no path and no attribute."""
    with pytest.raises(UnknownObject):
        landing.extract(name)


def test_all_unknown_names_are_reported_at_once(landing: Landing) -> None:
    """Objects and fields alike, each with what was probably meant."""
    wrong = {"Contact": ObjectSettings(fields=("Id", "LastNmae"), exclude=("Emial", "LastNmae"))}

    with pytest.raises(SeveralUnknown) as caught:
        landing.extract("Acount", "Contact", "Leed", per_object=wrong)

    told = [(type(each).__name__, each.message) for each in caught.value.flattened()]
    meant = [re.search(r'Did you mean "(\w+)"', message) for _, message in told]
    assert ["UnknownObject", "UnknownField", "UnknownField", "UnknownObject"] == [
        n for n, _ in told
    ]
    assert ["Account", "Email", "LastName", "Lead"] == [each[1] for each in meant if each]
    assert (2, []) == (caught.value.exit_code, landing.rows("SELECT * FROM duckdb_tables()"))


def test_an_unknown_field_is_reported_before_anything_lands(landing: Landing) -> None:
    """So is a field's."""
    wrong = {"Contact": ObjectSettings(fields=("Id", "LastNmae"))}

    with pytest.raises(UnknownField, match=r'LastNmae.*Did you mean "LastName"'):
        landing.extract("Contact", per_object=wrong)


def test_a_refused_credential(landing: Landing) -> None:
    """Salesforce's own words, exit code 2, and the secret in neither."""
    landing.credentials = replace(landing.credentials, client_secret="wr0ng-secret")

    with pytest.raises(CredentialRefused, match="client credentials") as caught:
        landing.extract()

    assert (2, True) == (caught.value.exit_code, bool(caught.value.hint))
    assert "wr0ng-secret" not in str(caught.value.as_dict())


def test_an_unreachable_host(landing: Landing) -> None:
    """An unreachable server is exit code 1, after a few attempts."""
    landing.credentials = replace(landing.credentials, instance_url="http://127.0.0.1:9")

    with pytest.raises(Unreachable) as caught:
        landing.extract()

    assert (1, 2) == (caught.value.exit_code, len(landing.clock.slept))
