"""Every option of the simulators is described where it is defined, and in `--help`."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass

import pytest
from repository.simulators_page import arguments

from tailrace.testing.__main__ import main
from tailrace.testing.http.faults import Fault
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.bulk import BulkSettings, JobFault
from tailrace.testing.salesforce.controls import CALLS
from tailrace.testing.salesforce.simulator import SalesforceSimulator
from tailrace.testing.salesforce.write_settings import RowFault, WriteSettings
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.testing.webhook import WebhookReceiver

DOCUMENTED = [
    Fault, Org, OrgBehavior, BulkSettings, JobFault, SalesforceSimulator, RowFault, WriteSettings,
    SegmentSimulator, WebhookReceiver,
]  # fmt: skip


@pytest.mark.parametrize("documented", DOCUMENTED)
def test_every_option_has_a_description(documented: type) -> None:
    """`Args:` in the docstring names the options, all of them and no others."""
    if is_dataclass(documented):
        options = {field.name for field in fields(documented)}
    else:
        options = set(inspect.signature(documented).parameters)
    assert set(arguments(documented)) == options


@pytest.mark.parametrize("name", list(CALLS))
def test_every_control_call_has_a_description(name: str) -> None:
    """The first line of its docstring is in the reference."""
    assert (CALLS[name].__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize("kind", ["salesforce", "segment", "webhook"])
def test_help_and_list_of_faults(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` explains the control calls; `--list-faults` lists faults; mistakes are refused."""
    with pytest.raises(SystemExit):
        main([kind, "--help"])
    assert "/_control/named_fault" in capsys.readouterr().out
    assert main([kind, "--list-faults"]) == 0
    assert "html" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([kind, "--fault", "nonsense"])
    assert "unknown fault nonsense" in capsys.readouterr().err


def test_a_wrong_setting_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option and a wrong value name the choices."""
    for setting, message in (("pages=1", "unknown option pages"), ("paging=x", "ends, repeats")):
        with pytest.raises(SystemExit):
            main(["salesforce", "--set", setting])
        assert message in capsys.readouterr().err
