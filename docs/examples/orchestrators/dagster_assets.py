"""Dagster: one asset for each audience, materialized together by one run of Tailrace."""

import os

import dagster as dg

import tailrace
from tailrace.errors import LockHeld

project = tailrace.Project.load(os.environ["TAILRACE_PROJECT_DIR"])
AUDIENCES = [model["name"] for model in project.ls().data["models"] if model["key"]]


@dg.multi_asset(
    specs=[
        dg.AssetSpec(name, group_name="audiences", kinds={"tailrace"}, skippable=True)
        for name in AUDIENCES
    ],
    can_subset=True,
)
def audiences(context: dg.AssetExecutionContext):
    selected = sorted(key.to_user_string() for key in context.selected_asset_keys)
    try:
        result = project.run(select=selected)
    except LockHeld:
        context.log.info("Another run is active.")
        return
    for name in selected:
        # One for each of its destinations.
        entries = [entry for entry in result.audiences.values() if entry.audience == name]
        if entries and all(entry.status in ("ok", "unchanged") for entry in entries):
            metadata = {
                "members": max(entry.size_after or 0 for entry in entries),
                "sent": sum(entry.sent for entry in entries),
            }
            yield dg.MaterializeResult(asset_key=name, metadata=metadata)
    # A held audience (3) waits for a decision, and rejected rows (4) are retried by the next run.
    if result.exit_code in (1, 2):
        result.raise_for_errors()
        raise dg.Failure(f"tailrace run exited with {result.exit_code}", allow_retries=False)


defs = dg.Definitions(
    assets=[audiences],
    schedules=[
        dg.ScheduleDefinition(
            name="hourly", target=dg.AssetSelection.groups("audiences"), cron_schedule="17 * * * *"
        )
    ],
)
