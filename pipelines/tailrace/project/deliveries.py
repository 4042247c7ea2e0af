"""What changes in the ledger besides a run: sending again, closing, renaming, purging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tailrace.project.loaded import result_of
from tailrace.project.runs import Runs
from tailrace.reporting.lazy_reads import LazyReads
from tailrace.results import Result

if TYPE_CHECKING:
    from tailrace.plan.policy import PlanOptions
    from tailrace.run.phases import Progress


class Deliveries(Runs):
    """Changes of the ledger besides a run."""

    def retry(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow: Sequence[tuple[str, str]] = (),
        resend: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Send the rejected members again, and nothing else.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            allow: Pairs of an audience and a guard to override.
            resend: As of `sync`.
            progress: As of `sync`.
        """
        options = _plan_options(allow, intent="retry")
        return self.sync(
            select=select, exclude=exclude, options=options, resend=resend, progress=progress
        )

    def reset(
        self,
        audience: str,
        *,
        send: bool,
        allow: Sequence[tuple[str, str]] = (),
        resend: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Forget what was delivered of an audience.

        Args:
            audience: Its name.
            send: Send every member again; otherwise record today's members without sending.
            allow: As of `retry`.
            resend: As of `sync`.
            dry_run: Only return the plan.
            progress: As of `sync`.
        """
        options = _plan_options(allow, intent="resend" if send else "accept")
        if dry_run:
            plan = self.plan(select=[audience], options=options)
            return replace(plan, command="reset", data={"dry_run": True, **plan.data})
        return self.sync(select=[audience], options=options, resend=resend, progress=progress)

    def retire(
        self,
        audience: str,
        *,
        resend: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Send an exit event for every member of an audience, then stop tracking it.

        Args:
            audience: Its name. Its file may be deleted.
            resend: As of `sync`.
            dry_run: Only return how many exits would be sent.
            progress: As of `sync`.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no such audience.
        """
        from tailrace.reporting.selection import files_remaining
        from tailrace.run import job

        warnings = files_remaining(self._models(), audience)
        if dry_run:
            rows = self._read("recorded", audience=audience)["audiences"]
            exits = sum(int(row["size_after"] or 0) for row in rows)
            data = {"dry_run": True, "audience": audience, "would_exit": exits}
            return Result(command="retire", data={**data, "warnings": warnings})
        with self._observers("retire") as observers:
            done = job.retire(
                self.config,
                audience,
                clock=self.clock,
                resend=resend,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        result = result_of(done)
        data = {**result.data, "warnings": [*result.data["warnings"], *warnings]}
        return replace(result, data=data)

    def replay(
        self,
        audience: str,
        destination: str,
        *,
        history: bool = False,
        resend: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Send an audience to a destination from the ledger: a new one, or one that lost its data.

        Args:
            audience: Its name.
            destination: The section `[destination.NAME]` to send to.
            history: Replay the full history with original timestamps; otherwise the current
                members enter.
            resend: As of `sync`.
            dry_run: Only return how many members would enter, and whether the destination has the
                audience.
            progress: As of `sync`.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no such audience.
        """
        from tailrace.run import job

        if dry_run:
            rows = self._read("recorded", audience=audience)["audiences"]
            there = [row for row in rows if row["destination"] == destination]
            members = max(int(row["size_after"] or 0) for row in there or rows)
            data = {"audience": audience, "destination": destination, "would_enter": members}
            return Result(
                command="replay", data={"dry_run": True, **data, "delivered_before": bool(there)}
            )
        with self._observers("replay") as observers:
            done = job.replay(
                self.config,
                audience,
                destination,
                clock=self.clock,
                history=history,
                resend=resend,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        return result_of(done)

    def rename(self, old_name: str, new_name: str) -> Result:
        """Move an audience's ledger to another name. No member enters or exits.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no audience of the old name or has one
                of the new name, or a model's header still has the old name.
        """
        from tailrace.ledger import maintenance
        from tailrace.reporting.selection import refuse_old_name

        refuse_old_name(self._models(), old_name, new_name)
        data = maintenance.rename(self.config, old_name, new_name, clock=self.clock)
        return Result(command="rename", data=data)

    def resume(self, destination: str) -> Result:
        """Send to `[destination.NAME]` again, which stopped because its receiver was gone."""
        from tailrace.run import job

        data = job.resume(self.config, destination, clock=self.clock)
        return Result(command="destinations", data=data)

    def rebind(self, destination: str) -> Result:
        """Accept a destination's rotated credential as the same receiver.

        Args:
            destination: The section `[destination.NAME]`.
        """
        from tailrace.run import job

        data = job.rebind(self.config, destination, clock=self.clock)
        return Result(command="destinations", data=data)

    def purge(self, older_than: timedelta, *, dry_run: bool = False) -> Result:
        """Delete records of deliveries that completed longer ago.

        Args:
            older_than: The age of the records. Members who left in the last 24 hours are kept.
            dry_run: Only count the records.
        """
        from tailrace.ledger import maintenance

        data = maintenance.purge(
            self.config, older_than=older_than, clock=self.clock, dry_run=dry_run
        )
        return Result(command="purge", data=data)


def _plan_options(allow: Sequence[tuple[str, str]], *, intent: str) -> PlanOptions:
    from tailrace.plan.policy import PlanOptions

    return PlanOptions(allow=frozenset(allow), intent=intent)  # type: ignore[arg-type]
