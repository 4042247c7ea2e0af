"""Two workflows of GitHub Actions: the scheduled run, and the plan of a pull request.

Sources: GitHub's documentation on schedules (the start of an hour is when runs are delayed), on
`concurrency`, on the token's `permissions`, and on OIDC (docs.github.com/actions). The steps use
GitHub's own actions, pinned to a commit, and the shell. Text from a pull request reaches the shell
in variables only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from tailrace.dataclass import dataclass
from tailrace.deploy.variables import Variable

FOLDER = ".github/workflows"
RUN_FILE = f"{FOLDER}/tailrace-run.yml"
PLAN_FILE = f"{FOLDER}/tailrace-plan.yml"
CHECKOUT = "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2"
SETUP_PYTHON = "actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065 # v5.6.0"
UPLOAD_ARTIFACT = "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2"
PYTHON_VERSION = "3.12"
RUN_MINUTES_MAX = 50
PLAN_MINUTES_MAX = 20
ARTIFACT_DAYS = 14
AWS_ROLE = Variable(name="AWS_ROLE_ARN", is_secret=False)
AWS_REGION = Variable(name="AWS_REGION", is_secret=False)
STATE_ACCESS_KEY = "TAILRACE__STATE__CREDENTIALS__AWS_ACCESS_KEY_ID"
# What obstore reads of the other stores' credentials, where OIDC needs more than a role.
STORE_VARIABLES = {
    "gs": (Variable(name="GOOGLE_SERVICE_ACCOUNT_KEY", is_secret=True),),
    "az": (
        Variable(name="AZURE_STORAGE_ACCOUNT_NAME", is_secret=False),
        Variable(name="AZURE_STORAGE_ACCOUNT_KEY", is_secret=True),
    ),
    "s3": (AWS_ROLE, AWS_REGION),
}

_HEADING = """\
# Written by `tailrace deploy github-actions`. Run it again when the settings change.
"""

_RUN = """\
name: {name}
on:
  schedule:
    # Not at minute 0, when GitHub delays runs.
    - cron: "{minute} * * * *"
  workflow_dispatch:
permissions: {{}}
concurrency:
  # One run at a time: a second one would wait for the lock, or exit with 75.
  group: {group}
  cancel-in-progress: false
jobs:
  run:
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    permissions:
      contents: read{oidc}
    env:
{env}
    steps:
{setup}
      - name: Extract, plan and send
        run: tailrace run{target} --json --log-format github --report report.html > result.json
      - name: Summary
        if: always()
        run: |
          {{
            echo '```'
            tailrace status{target} --log-format github
            echo '```'
          }} >> "$GITHUB_STEP_SUMMARY"
      - name: Keep the report
        if: always()
        uses: {upload_artifact}
        with:
          name: tailrace
          path: |
            result.json
            report.html
          retention-days: {artifact_days}
"""

_PLAN = """\
name: {name}
on:
  pull_request:
    paths: [{paths}]
permissions: {{}}
concurrency:
  group: {group}-${{{{ github.event.number }}}}
  cancel-in-progress: true
jobs:
  # Without secrets, so that it also runs for pull requests from forks.
  check:
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    permissions:
      contents: read
    steps:
{setup_without_login}
      - name: Check the settings and the models
        run: tailrace validate --log-format github
      - name: Run the tests of the models
        run: tailrace test --log-format github
  plan:
    needs: check
    # Also if the check failed: the comment says so, in place of the plan of an earlier push.
    if: >-
      !cancelled() && github.event.pull_request.head.repo.full_name == github.repository
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    permissions:
      contents: read
      pull-requests: write{oidc}
    env:
{env}
      GH_TOKEN: ${{{{ github.token }}}}
      PULL_REQUEST: ${{{{ github.event.number }}}}
    steps:
{setup}
      - uses: {checkout}
        with:
          ref: ${{{{ github.event.pull_request.base.sha }}}}
          path: .tailrace/base
          persist-credentials: false
      - name: Plan the audiences that the pull request changes
        run: |
          # Models of the base that are broken, or a base without a project, are no obstacle.
          tailrace ls --project-dir .tailrace/base/{folder} --manifest manifest.json \\
            > models.txt || true
          [ -s manifest.json ] || echo '{{"manifest_version": 1, "models": {{}}}}' > manifest.json
          code=0
          tailrace plan{target} -s state:modified --state manifest.json \\
            --format markdown --log-format github > comment.md || code=$?
          echo "PLAN_EXIT_CODE=$code" >> "$GITHUB_ENV"
      - name: Comment, or update the comment
        run: |
          marker=$(head -n 1 comment.md)
          comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
          id=$(gh api "$comments" --paginate \\
            --jq '.[] | [.id, (.body | split("\\n")[0] | rtrimstr("\\r"))] | @tsv' \\
            | awk -F '\\t' -v marker="$marker" '$2 == marker {{print $1; exit}}')
          if [ -n "$id" ]; then
            gh api -X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id" -F body=@comment.md
          else
            gh api -X POST "$comments" -F body=@comment.md
          fi > comment.json
          cat comment.md >> "$GITHUB_STEP_SUMMARY"
          # 3: a guard holds an audience, which the comment shows.
          [ "$PLAN_EXIT_CODE" -eq 0 ] || [ "$PLAN_EXIT_CODE" -eq 3 ]
"""

_CHECKOUT = """\
      - uses: {checkout}
        with:
          persist-credentials: false
      - uses: {setup_python}
        with:
          python-version: "{python}"
      - name: Install
        run: {install}
"""

_AWS_LOGIN = """\
      - name: Log in to AWS without a stored key
        run: |
          curl -sSf -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \\
            "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com" \\
            | jq -r .value > "$RUNNER_TEMP/aws-token"
          echo "AWS_WEB_IDENTITY_TOKEN_FILE=$RUNNER_TEMP/aws-token" >> "$GITHUB_ENV"
"""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The workflows of a project.

    Attributes:
        files: Texts by path, relative to the repository.
        variables: What the repository has to know.
        notes: What to do besides.
    """

    files: Mapping[str, str]
    variables: tuple[Variable, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The keys of a `--json` result."""
        return {
            "files": list(self.files),
            "secrets": [v.name for v in self.variables if v.is_secret],
            "variables": [v.name for v in self.variables if not v.is_secret],
            "commands": [v.command for v in self.variables],
            "notes": list(self.notes),
        }


def github_actions(
    *,
    variables: Sequence[Variable],
    folder: str,
    install: str,
    target: str | None = None,
    state_url: str | None = None,
    keeps_state: bool = True,
) -> Deployment:
    """The workflows for a project.

    Args:
        variables: The environment variables that the project needs.
        folder: The project's folder in the repository; `.` for the repository itself.
        install: The command that installs Tailrace.
        target: The target of the runs.
        state_url: Where the state is kept, which decides the login of the store.
        keeps_state: Whether the state outlives the machine of a run.
    """
    scheme = urlsplit(state_url).scheme if state_url else ""
    # With an access key of its own, the state needs no role.
    has_key = any(variable.name == STATE_ACCESS_KEY for variable in variables)
    store = () if has_key else STORE_VARIABLES.get(scheme, ())
    oidc = AWS_ROLE in store
    setup = _CHECKOUT.format(
        checkout=CHECKOUT, setup_python=SETUP_PYTHON, python=PYTHON_VERSION, install=install
    )
    named = [target] if target else []
    group = "-".join(["tailrace", *named])
    values = {
        "group": group,
        "target": f" -t {target}" if target else "",
        "oidc": "\n      id-token: write" if oidc else "",
        "env": _env([*variables, *store], folder),
        "setup": (setup + (_AWS_LOGIN if oidc else "")).rstrip("\n"),
        "setup_without_login": setup.rstrip("\n"),
        "folder": "" if folder == "." else folder,
        "paths": ", ".join(map(json.dumps, _paths(folder))),
        "minute": _minute(f"{folder}/{target}"),
        "artifact_days": ARTIFACT_DAYS,
        "checkout": CHECKOUT,
        "upload_artifact": UPLOAD_ARTIFACT,
    }
    run = _RUN.format(name=" ".join(["tailrace", *named]), minutes=RUN_MINUTES_MAX, **values)
    plan = _PLAN.format(name="tailrace plan", minutes=PLAN_MINUTES_MAX, **values)
    return Deployment(
        files={RUN_FILE: _HEADING + run, PLAN_FILE: _HEADING + plan},
        variables=tuple(sorted({*variables, *store})),
        notes=_notes(scheme, oidc=oidc, keeps_state=keeps_state),
    )


def _notes(scheme: str, *, oidc: bool, keeps_state: bool) -> tuple[str, ...]:
    """What the workflows need besides variables."""
    notes = []
    if not keeps_state:
        notes.append(
            "The warehouse is a DuckDB file, and the machine of a run keeps no file: set state_url "
            "under [tailrace], or use a warehouse on a server."
        )
    if scheme == "file":
        notes.append(
            "state_url is a folder, which the machine of a run does not keep: use an object store, "
            "or run the job on machines that mount the folder."
        )
    if oidc:
        notes.append(
            f"{AWS_ROLE.name} names a role that trusts this repository's OIDC tokens (audience "
            "sts.amazonaws.com) and may read and write the bucket."
        )
    return tuple(notes)


def _env(variables: Sequence[Variable], folder: str) -> str:
    lines = [f"{variable.name}: {variable.expression}" for variable in variables]
    if folder != ".":
        lines.append(f"TAILRACE_PROJECT_DIR: {folder}")
    return "\n".join(f"      {line}" for line in lines)


def _paths(folder: str) -> tuple[str, ...]:
    prefix = "" if folder == "." else f"{folder}/"
    return (f"{prefix}models/**", f"{prefix}.dlt/**", f"{prefix}tracking_plan.yaml")


def _minute(seed: str) -> int:
    """A minute from 1 to 59, the same for the same project."""
    return 1 + int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") % 59
