"""The examples for Airflow, Dagster, Prefect, GitLab CI and systemd.

Where an orchestrator is installed, its example runs in it. Elsewhere the test looks at what the
examples use of Tailrace.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    encode_param,
)
from shop import PEOPLE, Shop

import tailrace
from tailrace import errors
from tailrace.results import AudienceResult, Result
from tailrace.testing import SalesforceSimulator, SegmentSimulator

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples" / "orchestrators").glob("*.py"))
# These do not import Tailrace, or no orchestrator.
OUTSIDE, JOB = "dagster_pipes_assets", "tailrace_pipes_job"
SCHEDULE = (ROOT / "docs" / "how-to" / "schedule.md").read_text(encoding="utf-8")
# How each orchestrator runs the module of its example, once.
RUNS = {
    "dagster": "import dagster as dg; "
    "resources = {'pipes': dg.PipesSubprocessClient()} if hasattr(module, 'JOB') else {}; "
    "assert dg.materialize([module.audiences], resources=resources).success",
    "prefect": "module.sync_audiences()",
    "airflow": "import pathlib, subprocess; "
    "airflow = pathlib.Path(sys.executable).with_name('airflow'); "
    "run = lambda *words: subprocess.run([airflow, *words], check=True); "
    "run('db', 'migrate'); run('dags', 'reserialize'); run('dags', 'test', 'tailrace_audiences')",
}


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if example.stem != OUTSIDE],
    ids=lambda path: path.stem,
)
def test_an_example_uses_the_public_names_of_tailrace(example: Path) -> None:
    """`Project`, its results and the errors: each name exists."""
    tree = ast.parse(example.read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imported if str(node.module).startswith("tailrace")]
    assert {"tailrace.errors"} == {node.module for node in ours}
    assert all(hasattr(errors, alias.name) for node in ours for alias in node.names)
    used = {
        name: {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == name
        }
        for name in ("tailrace", "project", "result", "entry")
    }
    assert {"Project"} == used["tailrace"]
    assert all(hasattr(tailrace.Project, name) for name in used["project"])
    fields = {"data", "errors", "exit_code", "command"}
    assert all(name in fields or hasattr(Result, name) for name in used["result"])
    assert used["entry"] <= set(AudienceResult.__dataclass_fields__)


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if example.stem != JOB],
    ids=lambda path: path.stem,
)
def test_an_example_runs_in_its_orchestrator(example: Path, tmp_path: Path) -> None:
    name = example.stem.partition("_")[0]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    with SalesforceSimulator() as salesforce, SegmentSimulator() as segment:
        environ = {
            **project_environ(tmp_path / "shop", salesforce, segment),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(example.parent),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        program = f"import sys, {example.stem} as module; {RUNS[name]}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=example.parent,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        assert segment.inbox.delivered


def project_environ(
    root: Path, salesforce: SalesforceSimulator, segment: SegmentSimulator
) -> dict[str, str]:
    """The environment of a job with a project of one audience."""
    shop = Shop(root, segment)
    shop.audience(PEOPLE.replace("id, email, city, score", "id, email, NULL city, 1 score"))
    return {
        **os.environ,
        **shop.environ,
        "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
        "SOURCES__SALESFORCE__OBJECTS": '["Contact"]',
        "TAILRACE_PROJECT_DIR": str(root),
        "TAILRACE_PYTHON": sys.executable,
    }


def test_the_job_reports_its_audiences_over_the_wire_of_pipes(tmp_path: Path) -> None:
    """As Dagster starts it: the context in a variable, and the messages in a file."""
    pipes = {
        "asset_keys": ["people"],
        "code_version_by_asset_key": {},
        "provenance_by_asset_key": {},
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": "a run",
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    messages = tmp_path / "messages"
    messages.touch()
    with SalesforceSimulator() as salesforce, SegmentSimulator() as segment:
        environ = project_environ(tmp_path / "shop", salesforce, segment) | {
            DAGSTER_PIPES_CONTEXT_ENV_VAR: encode_param({"data": pipes}),
            DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param({"path": str(messages)}),
        }
        (job,) = (example for example in EXAMPLES if example.stem == JOB)
        done = subprocess.run(
            [sys.executable, str(job)], env=environ, capture_output=True, text=True, check=False
        )
        sent = len(segment.inbox.delivered)
    assert 0 == done.returncode, done.stdout + done.stderr
    (report,) = (
        message["params"]
        for message in map(json.loads, messages.read_text().splitlines())
        if message["method"] == "report_asset_materialization"
    )
    assert "people" == report["asset_key"]
    metadata = {name: entry["raw_value"] for name, entry in report["metadata"].items()}
    assert 0 < metadata["members"] == metadata["sent"] <= sent


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SCHEDULE, re.DOTALL)
    assert found
    return found[1]


def test_the_job_of_gitlab_is_valid(tmp_path: Path) -> None:
    texts = re.findall(r"```yaml\n(# \.gitlab-ci\.yml\n.*?)```", SCHEDULE, re.DOTALL)
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(texts[0])
    linter = Path(sys.executable).parent / "check-jsonschema"
    command = [str(linter), "--builtin-schema", "vendor.gitlab-ci", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_units_of_systemd_are_valid(tmp_path: Path) -> None:
    """With the program and the folder replaced by ones that exist here."""
    _, service, timer = re.split(r"# /etc/systemd/system/(?:tailrace\.\w+)\n", block("ini"))
    text = service.replace("/srv/shop/.venv/bin/tailrace", "/bin/true")
    (tmp_path / "tailrace.service").write_text(text.replace("/srv/shop", "/"))
    (tmp_path / "tailrace.timer").write_text(timer)
    files = [str(tmp_path / f"tailrace.{kind}") for kind in ("service", "timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True
    )
    problems = [line for line in done.stderr.splitlines() if "tailrace" in line]
    assert (0, []) == (done.returncode, problems)


def test_the_line_of_cron_is_valid() -> None:
    """Five fields in range, not minute 0, and no unescaped percent sign."""
    minute, hour, day, month, weekday, command = block("crontab").strip().split(maxsplit=5)
    assert 1 <= int(minute) <= 59
    assert ["*"] * 4 == [hour, day, month, weekday]
    assert "%" not in command and "tailrace run" in command
