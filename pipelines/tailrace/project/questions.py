"""Questions about runs, audiences and people, and the page that answers them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tailrace.errors import NothingLanded
from tailrace.project.loaded import LoadedProject
from tailrace.results import Result


class Questions(LoadedProject):
    """What is read from the ledger."""

    def status(self, run_id: str | None = None, *, check: bool = False) -> Result:
        """The latest runs and the audiences, or one run with its audiences.

        `broken` has the errors of the models as they are now, and the audiences that each stops.

        Args:
            run_id: The run to return, without a check.
            check: Exit with 1 if an audience is late (`late_hours` of `[tailrace.alerts]`), failed,
                held or stopped by a broken file, or if there is no run yet. `problems` names them,
                and the receivers of `[tailrace.alerts]` are alerted of them, unless they were
                already; so they are of an error that keeps the ledger from being read.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no run with this id.
        """
        if run_id is not None:
            return Result(command="status", data=self._read("one_run", run_id=run_id))
        if not check:
            return Result(command="status", data=self._status())
        from tailrace.alerts.observer import alert_of_status, alerting
        from tailrace.reporting.status import problems

        with alerting(self.config, "status", clock=self.clock):
            data = self._status()
        found = problems(data, late_hours=self.config.alerts().late_hours, now=self.clock.now())
        alerted = alert_of_status(self.config, data, clock=self.clock)
        data = data | {"problems": found} | (alerted.as_status() if alerted else {})
        return Result(command="status", exit_code=int(bool(found)), data=data)

    def _status(self) -> dict[str, Any]:
        """What the ledger and the files of the project say now."""
        from tailrace.reporting.verdict import with_verdict
        from tailrace.run.broken_files import with_broken_files

        data: dict[str, Any] = {"runs": [], "audiences": [], "sending": []}
        data |= {"running": None, "watch": None}
        with suppress(NothingLanded):
            data = self._read("status")
        data = with_verdict(with_broken_files(data, self.config, clock=self.clock))
        if self.config.settings.state_url is not None:
            data = data | {"state": self._described_state()}
        return data

    def test_alerts(self) -> Result:
        """Send a test message to each receiver of `[tailrace.alerts]`.

        Returns:
            Exit code 1 if a receiver did not take it. `receivers` has one entry for each.

        Raises:
            tailrace.errors.ConfigurationError: No receiver is configured, or apprise is missing.
        """
        from tailrace.alerts.receivers import send_test

        done = send_test(self.config)
        failed = any(not entry["sent"] for entry in done)
        return Result(command="alerts", exit_code=int(failed), data={"receivers": done})

    def rejected(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        show_values: bool = False,
        rows_max: int | None = None,
    ) -> Result:
        """The rejected members: counts by reason, and the rows with their keys.

        Args:
            select: Audiences by name, glob or `tag:NAME`; all of them without it.
            exclude: Audiences to leave out.
            show_values: Return keys as they are; otherwise they are masked.
            rows_max: The most rows to return; all of them without it.
        """
        try:
            data = self._read(
                "rejected",
                select=list(select),
                exclude=list(exclude),
                show_values=show_values,
                rows_max=rows_max,
            )
        except NothingLanded:
            data = {"rejected": [], "rows": []}
        return Result(command="rejected", data=data)

    def trace(self, person: str, *, show_values: bool = False) -> Result:
        """A person's membership and delivery history.

        Args:
            person: A key, userId or anonymousId.
            show_values: Return values as they were sent; otherwise they are masked.
        """
        data = self._read("trace", person=person, show_values=show_values)
        if data.pop("known"):
            return Result(command="trace", data=data)
        from tailrace.reporting.explain import unknown_person

        error = unknown_person(data)
        return Result(command="trace", exit_code=error.exit_code, data=data, errors=(error,))

    def report(
        self, out: Path | str | None = None, *, plan_file: Path | str | None = None
    ) -> Result:
        """Write one HTML file about the runs, the audiences and the rows that each step leaves out.

        Args:
            out: The file (default: `tailrace-report.html` in the working directory).
            plan_file: A saved plan, to show what the next run would do.

        Raises:
            tailrace.errors.NothingLanded: There is no warehouse yet.
            tailrace.errors.PlanUnreadable: `plan_file` is not a saved plan.
            tailrace.errors.ReportNotWritten: The file cannot be written.
        """
        from tailrace.reporting.page.report import write_report

        return Result(
            command="report",
            data=write_report(self.config, clock=self.clock, out=out, plan_file=plan_file),
        )

    def history(self, audience: str, *, at: datetime | None = None) -> Result:
        """An audience's size over time, or the keys of its members at a time.

        Args:
            audience: Its name.
            at: The time; without a zone it is UTC.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no such audience, or the deliveries of
                that time were purged.
        """
        if at is None:
            return Result(command="history", data=self._read("sizes", audience=audience))
        moment = at if at.tzinfo else at.replace(tzinfo=UTC)
        data = self._read("members_at", audience=audience, at=moment.isoformat())
        return Result(command="history", data=data)
