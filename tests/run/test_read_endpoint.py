"""A run that has the DuckDB file open answers status, history, trace and rejected meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sending_run import WAIT_SECONDS_MAX, sending
from shop import PEOPLE, Shop

from tailrace.cli.app import answer
from tailrace.clock import SystemClock
from tailrace.errors import LockHeld, NothingSelected, ReadStopped
from tailrace.project import Project
from tailrace.reporting import reads
from tailrace.run import job, read_endpoint, read_requests
from tailrace.run.read_endpoint import serve_reads
from tailrace.testing import SegmentSimulator
from tailrace.warehouse import connection
from tailrace.warehouse.endpoint_file import EndpointAddress, endpoint_file, published
from tailrace.warehouse.memory import MemoryLimit
from tailrace.warehouse.opening import open_warehouse

MEMBERS = 40


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> Shop:
    """A shop whose members are sent in batches of ten."""
    shop = Shop(tmp_path / "shop", segment)
    shop.audience(PEOPLE)
    rows = [
        {"id": f"c{n:02}", "email": f"c{n}@shop.example", "city": "Bonn"} for n in range(MEMBERS)
    ]
    shop.land(rows)
    shop.environ |= {
        "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "20",
        "DESTINATION__SEGMENT__REQUESTS_IN_FLIGHT_MAX": "1",
    }
    return shop


def printed(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line run in this process."""
    for name, value in shop.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shop.root)
    code = answer(words)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_commands_read_from_the_run_that_sends(
    shop: Shop,
    segment: SegmentSimulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        return printed(shop, capsys, monkeypatch, *words)

    with sending(shop, segment):
        mode = endpoint_file(shop.project).stat().st_mode
        assert mode & 0o777 == 0o600

        code, out, err = run("status", "--json")
        status = json.loads(out)
        run_id = status["read_from_run"]
        (entry,) = status["sending"]
        assert (code, status["running"]) == (0, run_id)
        assert run_id in err
        assert (entry["audience"], entry["planned"]) == ("people", MEMBERS)
        assert 0 < entry["sent"] < MEMBERS
        assert [audience["status"] for audience in status["audiences"]] == ["sending"]

        code, out, _ = run("status")
        assert code == 0
        assert f"Run {run_id} is sending. This is read from it." in out

        code, out, err = run("trace", "c00", "--json")
        (traced,) = json.loads(out)["audiences"]
        assert (code, traced["events"][0]["fate"]) == (0, "delivered")
        assert "shop.example" not in out
        code, out, _ = run("trace", "c39", "--json")
        (traced,) = json.loads(out)["audiences"]
        assert (code, traced["events"][0]["fate"]) == (0, "not yet delivered")

        code, out, _ = run("history", "people", "--json")
        assert (code, json.loads(out)["runs"][0]["run_id"]) == (0, run_id)
        code, out, _ = run("rejected", "--json")
        assert (code, json.loads(out)["rejected"]) == (0, [])

        code, out, err = run("status", "no-such-run")
        assert code == 2
        assert 'The ledger has no run "no-such-run"' in err

        code, out, err = run("plan")
        assert code == 75
        assert "tailrace plan --wait" in err
        for words in (["purge", "--older-than", "1d", "--yes"], ["sync"]):
            assert run(*words)[0] == 75

    assert not endpoint_file(shop.project).exists()
    code, out, err = run("status", "--json")
    assert "read_from_run" not in json.loads(out)
    assert json.loads(out)["running"] is None


def test_plan_with_wait_is_made_when_the_run_has_ended(
    shop: Shop, segment: SegmentSimulator
) -> None:
    with sending(shop, segment) as process:
        plan = subprocess.Popen(
            [sys.executable, "-m", "tailrace", "plan", "--wait", "--json"],
            cwd=shop.root,
            env={**os.environ, **shop.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert plan.stderr is not None
        assert "waiting for the process" in plan.stderr.readline()
        assert process.poll() is None
    out, _ = plan.communicate(timeout=WAIT_SECONDS_MAX)
    assert plan.returncode == 0
    (audience,) = json.loads(out)["audiences"]
    assert (audience["status"], audience["size_after"]) == ("unchanged", MEMBERS)


def test_the_endpoint_file_of_a_killed_run_does_no_harm(
    shop: Shop, segment: SegmentSimulator
) -> None:
    project = Project(shop.project)
    with sending(shop, segment) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_SECONDS_MAX)
        assert endpoint_file(shop.project).exists()
        status = project.status().data
    assert "read_from_run" not in status
    assert (status["running"], status["sending"]) == (None, [])
    assert [audience["status"] for audience in status["audiences"]] == ["failed"]
    assert project.sync().exit_code == 0
    assert not endpoint_file(shop.project).exists()


@contextmanager
def served(shop: Shop, functions: read_endpoint.Reads = reads.READS) -> Iterator[EndpointAddress]:
    """The endpoint of a run in this process that does nothing else."""
    shop.sync()
    clock = SystemClock()
    with open_warehouse(shop.project, clock=clock) as warehouse:
        ledger = job.Ledger(warehouse, clock=clock)
        run = ledger.runs.start("sync", suffix="beef")
        memory_limit = MemoryLimit(warehouse)
        with (
            memory_limit.low_memory(),
            serve_reads(warehouse, functions, run=run, memory_limit=memory_limit, clock=clock),
        ):
            fields = json.loads(endpoint_file(shop.project).read_text())
            yield EndpointAddress(**fields)


def post(address: EndpointAddress, body: bytes = b"{}", **headers: str) -> int:
    """The status of a request whose headers may be wrong."""
    caller = http.client.HTTPConnection("127.0.0.1", address.port, timeout=WAIT_SECONDS_MAX)
    caller.putrequest("POST", headers.pop("path", "/read"), skip_host=True)
    given = {
        "Host": f"127.0.0.1:{address.port}",
        "Authorization": f"Bearer {address.token}",
        "Content-Length": str(len(body)),
        **headers,
    }
    for name, value in given.items():
        caller.putheader(name, value)
    caller.endheaders(body)
    status = caller.getresponse().status
    caller.close()
    return status


def test_only_callers_with_the_token_and_the_right_host_are_answered(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"), served(shop) as address:
        settings = shop.project.settings
        datasets = {
            "dataset": settings.dataset,
            "ledger_dataset": settings.ledger_dataset,
            "model_dataset": settings.model_dataset,
        }
        request = json.dumps({"read": "status", "arguments": {}, "datasets": datasets}).encode()
        assert post(address, request) == 200
        assert post(address, request, Authorization="Bearer " + "0" * 64) == 401
        assert post(address, request, Authorization="") == 401
        assert post(address, request, Host=f"attacker.example:{address.port}") == 403
        assert post(address, request, Host="localhost") == 403
        assert post(address, request, Origin="http://attacker.example") == 403
        assert post(address, request, path="/") == 404
        assert post(address, **{"Content-Length": "70000"}) == 413
        assert post(address, **{"Content-Length": "-1"}) == 411
        for body in (b"", b"[]", b"{", b'{"read": "status"}', b"[" * 60_000):
            assert post(address, body) == 400
        assert post(address, request) == 200
        assert address.token not in caplog.text
        assert address.token not in repr(address)


def test_errors_and_arguments_of_the_functions_pass_through(shop: Shop) -> None:
    with served(shop):
        project = Project(shop.project)
        with pytest.raises(NothingSelected) as raised:
            project.history("peple")
        assert raised.value.message.endswith('Did you mean "people"?')
        shown = project.trace("c01", show_values=True).data["audiences"][0]["events"][0]["values"]
        assert shown["email"] == "c1@shop.example"
        masked = project.trace("c01").data["audiences"][0]["events"][0]["values"]
        assert masked["email"] != "c1@shop.example"
        at = SystemClock().now()
        assert len(project.history("people", at=at).data["members"]) == MEMBERS


def test_another_target_of_the_same_file_reads_its_own_ledger(shop: Shop) -> None:
    (shop.root / ".dlt" / "dev.config.toml").write_text("[tailrace]\n")
    with served(shop):
        dev = Project.load(shop.root, target="dev", environ=shop.environ)
        assert dev.status().data["runs"] == []
        assert Project(shop.project).status().data["runs"] != []


def test_an_answer_has_bounds_in_rows_and_seconds(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(warehouse: connection.Warehouse, **_: Any) -> dict[str, Any]:
        warehouse.execute("SELECT COUNT(*) FROM range(100000000000) AS r, range(10) AS s")
        return {}

    with served(shop, {**reads.READS, "slow": slow}):
        with monkeypatch.context() as limited:
            limited.setattr(read_requests, "READ_SECONDS_MAX", 0.2)
            with pytest.raises(ReadStopped, match="took more than"):
                reads.read(shop.project, "slow", clock=SystemClock())
        # The next read works.
        assert Project(shop.project).status().exit_code == 0
        monkeypatch.setattr(connection, "READ_ROWS_MAX", MEMBERS - 1)
        with pytest.raises(ReadStopped, match="rows"):
            Project(shop.project).history("people", at=SystemClock().now())


def test_no_model_runs_beside_an_extract(shop: Shop) -> None:
    """Models are confined by locking the engine, and an extract still has files to load."""
    with served(shop):
        result = Project(shop.project).trace("c01")
        (traced,) = result.data["audiences"]
        unknown_why = "whether the next run sends an exit is not known: no model is run while"
        assert traced["why_not"].startswith(unknown_why)
        assert ("member", 0) == (traced["membership"], result.exit_code)
        (warning,) = result.warnings
        assert "when the extract has ended" in warning["hint"]
        # A model that was not run may have the person.
        unknown = Project(shop.project).trace("somebody")
        assert (1, "ModelNotRun") == (unknown.exit_code, type(unknown.errors[0]).__name__)
        assert "not run: people" in unknown.errors[0].message


def test_a_port_that_something_else_uses_is_not_taken_for_a_run(
    shop: Shop, segment: SegmentSimulator
) -> None:
    shop.sync()
    port = int(segment.url.rpartition(":")[2])
    address = EndpointAddress.of_this_process(port, "0" * 64)
    with published(shop.project, address):
        assert len(Project(shop.project).status().data["runs"]) == 1
        with open_warehouse(shop.project, clock=SystemClock()), pytest.raises(LockHeld):
            subprocess_status(shop)
    for text in ("", "[]", '{"port": 1}', '{"port":"x","token":1,"process":[],"host":""}'):
        endpoint_file(shop.project).write_text(text)
        assert len(Project(shop.project).status().data["runs"]) == 1
    dead = asdict(address) | {"process": 2**22 + 1}
    endpoint_file(shop.project).write_text(json.dumps(dead))
    assert len(Project(shop.project).status().data["runs"]) == 1


def subprocess_status(shop: Shop) -> None:
    """Raise what another process gets that wants to read the file."""
    done = subprocess.run(
        [sys.executable, "-m", "tailrace", "status", "--json"],
        cwd=shop.root,
        env={**os.environ, **shop.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 75:
        raise LockHeld(json.loads(done.stdout)["errors"][0]["message"])
