"""Dagster beside a Tailrace with an environment of its own: one asset for each audience, by Pipes.

Dagster needs no Tailrace here, and Tailrace no Dagster: `tailrace_pipes_job.py` runs in Tailrace's
environment, which has the package dagster-pipes.
"""

import json
import os
import subprocess
from pathlib import Path

import dagster as dg

FOLDER = Path(os.environ["TAILRACE_PROJECT_DIR"])
PYTHON = os.environ.get("TAILRACE_PYTHON", str(FOLDER / ".venv" / "bin" / "python"))
JOB = Path(__file__).with_name("tailrace_pipes_job.py")
LISTED = subprocess.run(
    [PYTHON, "-m", "tailrace", "ls", "--json"], cwd=FOLDER, stdout=subprocess.PIPE, check=True
).stdout
AUDIENCES = [model["name"] for model in json.loads(LISTED)["models"] if model["key"]]


@dg.multi_asset(
    specs=[
        dg.AssetSpec(name, group_name="audiences", kinds={"tailrace"}, skippable=True)
        for name in AUDIENCES
    ],
    can_subset=True,
)
def audiences(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient):
    done = pipes.run(context=context, command=[PYTHON, str(JOB)])
    yield from done.get_results(implicit_materializations=False)


defs = dg.Definitions(
    assets=[audiences],
    resources={"pipes": dg.PipesSubprocessClient()},
    schedules=[
        dg.ScheduleDefinition(
            name="hourly", target=dg.AssetSelection.groups("audiences"), cron_schedule="17 * * * *"
        )
    ],
)
