"""The demo: the README's first command does what the README says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def test_two_days_move_members_by_name_and_the_third_run_sends_nothing(
    command: Any, tmp_path: Path
) -> None:
    report = tmp_path.with_suffix(".html")
    done = command("demo", "--report", str(report), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, second, third = re.split(r"^── Day \d.*\n", done.stdout, flags=re.MULTILINE)[1:]

    sizes = re.findall(r"^(\w+): 0 → (\d+) members\n  \+ (\d+) entered: \w", first, re.MULTILINE)
    assert {"vip_contacts", "customer_contacts"} <= {name for name, _, _ in sizes}
    assert [entered for _, _, entered in sizes] == [after for _, after, _ in sizes]
    for move in (r"\+ \d+ entered", r"~ \d+ changed", r"- \d+ exited"):
        assert re.search(rf"^  {move}: \w", second, re.MULTILINE)
    assert '"event": "Segment Exited"' in second
    assert [] == re.findall("entered|changed|exited", third)
    assert '"op": "exited"' in second
    assert re.search(r"^contact_tiers → salesforce: 0 → \d+ members", first, re.MULTILINE)
    assert re.search(r"^vip_alerts → webhook: 0 → \d+ members", first, re.MULTILINE)
    up_to_date = "Nothing to send: Segment, salesforce and webhook are up to date."
    assert third.endswith(f"{up_to_date}\n\nReport: {report}\n")
    assert ">vip_contacts</a>" in report.read_text()
    assert [] == list(tmp_path.iterdir())
