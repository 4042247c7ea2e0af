"""How results look: on a terminal, in a file, as a comment."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
from typing import Any

import pytest

from tailrace.cli.output import logs, markdown, text
from tailrace.errors import MissingCredential


def audience(name: str = "vip_contacts", **more: Any) -> dict[str, Any]:
    """An audience of a result, as design and engine have it."""
    return {
        "audience": name,
        "status": "ok",
        "size_before": 1200,
        "size_after": 1201,
        "entered": 3,
        "changed": 1,
        "exited": 2,
        "sent": 0,
        "rejected": 0,
        "held": 0,
        "quarantined": 0,
        "by_reason": {
            "data": {"entered": 1, "changed": 1, "exited": 0},
            "definition": {"entered": 2, "changed": 0, "exited": 2},
        },
        "guards": [{"name": "max_exited", "seen": 2, "limit": 100, "held": False}],
        **more,
    }


def result(command: str = "plan", *audiences: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "command": command,
        "run_id": "2026-11-22T05:00:00Z-4f2a",
        "exit_code": 0,
        "audiences": list(audiences or [audience()]),
        "segment": {"calls": 9, "batches": 1, "seconds": 0.1},
        "errors": [],
        **more,
    }


def shown(made: dict[str, Any]) -> str:
    out = io.StringIO()
    text.show(made, out, plain=True)
    return out.getvalue()


def test_a_plan_reads_as_a_table() -> None:
    assert (
        "Ready: 3 entered, 1 changed, 2 exited in 1 audience.\n"
        "\n"
        "audience      status           size  entered  changed  exited  held  quarantined\n"
        "vip_contacts  ok      1,200 → 1,201        3        1       2     0            0\n"
        "\n"
        "vip_contacts: data +1 ~1 -0, definition +2 ~0 -2\n"
        "\n"
        "Would send Segment 9 calls in 1 batch, about 0.1 s. Nothing was sent.\n"
    ) == shown(result())


def test_a_run_says_what_was_acknowledged() -> None:
    said = shown(result("run", audience(sent=9)))
    assert "sent" in said.splitlines()[0]
    assert "Segment acknowledged 9 calls in 1 batch.\n" in said


def test_an_unchanged_run_says_so() -> None:
    still = audience(status="unchanged", entered=0, changed=0, exited=0, by_reason={})
    said = shown(result("run", still, segment={"calls": 0, "batches": 0, "seconds": 0}))
    assert said.endswith("Nothing to send: Segment is up to date.\n")


def test_a_held_audience_says_what_was_seen_and_the_limit() -> None:
    guard = {"name": "max_exited", "seen": 4000, "limit": 240, "held": True}
    said = shown(result("plan", audience(status="held", held=4000, guards=[guard])))
    assert "vip_contacts is held by max_exited: 4,000 seen; the limit is 240.\n" in said
    assert "override it once with --allow vip_contacts:max_exited\n" in said
    guard["hint"] = "Fix it first. To send all the same: --allow vip_contacts:max_exited"
    said = shown(result("plan", audience(status="held", held=4000, guards=[guard])))
    assert 1 == said.count("--allow")


def test_a_run_that_did_not_start_prints_only_its_errors() -> None:
    refused = result("run", segment={"calls": 0, "batches": 0, "seconds": 0})
    refused |= {"audiences": [], "errors": [MissingCredential().as_dict()]}
    assert "" == shown(refused)


def test_a_change_without_data_is_shown_with_the_setting_that_decided() -> None:
    choices = {
        "on_definition_change": {"choice": "hold", "decided_by": "header"},
        "on_mapping_change": {"choice": "accept", "decided_by": "default"},
        "on_new_column": {"choice": "send", "decided_by": "flag"},
    }
    made = audience(
        choices=choices, definition_changed=True, mapping_changed=False, new_columns=["ltv"]
    )
    for said in (shown(result("plan", made)), markdown.markdown(result("plan", made), None)):
        assert "the SQL changed; on_definition_change is hold (set in its header)\n" in said
        assert "newly mapped columns: ltv; on_new_column is send (set by a flag)\n" in said
        assert "on_mapping_change" not in said


def test_an_overridden_guard_is_shown() -> None:
    guard = {"name": "max_exited", "seen": 528, "limit": 220, "held": False, "allowed": True}
    said = shown(result("sync", audience(guards=[guard])))
    assert "vip_contacts: max_exited (528 > 220) overridden by --allow\n" in said


def test_a_plan_tells_what_it_costs_and_what_is_left_over() -> None:
    """New users are billed, calls to Salesforce are counted, and a file that went is missed."""
    guard = {"name": "max_exited", "seen": 180, "limit": 240, "held": False}
    made = result(
        "plan",
        audience(guards=[guard], rejected_before=2, dropped_columns=["ltv"]),
        orphans=["gone"],
        salesforce={"calls": 41},
        segment={"calls": 9, "batches": 1, "seconds": 0.1, "new_users": 3},
    )
    cost = (
        "Would send Segment 9 calls in 1 batch, about 0.1 s, for up to 3 users new to this "
        "source (may count towards MTU). The last extract used 41 Salesforce API calls. "
        "Nothing was sent.\n"
    )
    lines, comment = shown(made), markdown.markdown(made, None)
    for said in (lines, comment):
        assert said.endswith(cost)
        assert "gone has members in the ledger and no file" in said
        assert "tailrace retire gone" in said
        assert "retrying 2 rejected rows" in said
        assert "unmapped columns: ltv" in said
    assert "vip_contacts: max_exited is at 180 of 240\n" in lines
    assert "| ok, 180 of 240 exits allowed |" in comment


def test_a_terminal_gets_colours_and_ci_does_not() -> None:
    assert "\x1b[" in on_a_terminal(plain=False)
    assert "\x1b[" not in on_a_terminal(plain=True)


def on_a_terminal(*, plain: bool) -> str:
    leader, follower = pty.openpty()
    with open(follower, "w", encoding="utf-8") as out:
        text.show(result("run"), out, plain=plain)
        out.flush()
        said = os.read(leader, 65_536)
    os.close(leader)
    return said.decode()


def test_the_comment_has_its_marker_first_and_one_row_an_audience() -> None:
    lines = markdown.markdown(result(), "prod").splitlines()
    assert "<!-- tailrace-plan:prod -->" == lines[0]
    assert "| `vip_contacts` | 1,200 → 1,201 | +3 | ~1 | -2 | ok, 2 of 100 exits allowed |" in lines


@pytest.mark.parametrize("count", [300, 5_000])
def test_the_comment_fits_into_64_kb_and_loses_the_calm_ones_first(count: int) -> None:
    calm = [
        audience(f"audience_{i:05d}", status="unchanged", samples=[{"id": "…" * 50}] * 9)
        for i in range(count)
    ]
    guard = {"name": "max_exited", "seen": 4000, "limit": 240, "held": True}
    loud = audience("zz_held", status="held", guards=[guard])
    said = markdown.markdown(result("plan", *calm, loud), None)
    assert len(said.encode()) <= 65_536
    assert "zz_held" in said
    assert "Nothing was sent." in said
    assert ("more audiences" in said) == (count == 5_000)


GUARD = {"name": "max_exited", "seen": 4000, "limit": 240, "held": True, "message": "4,000 exits"}
UPSTREAM = {
    "name": "upstream",
    "seen": 1,
    "limit": 0,
    "held": True,
    "message": "Contact.Title is no longer visible",
    "hint": "Check the permissions. To send all the same: --allow vip_contacts:upstream",
}


def test_a_held_audience_without_changes_is_not_up_to_date() -> None:
    none = {"entered": 0, "changed": 0, "exited": 0, "by_reason": {}}
    made = result("plan", audience(status="held", guards=[UPSTREAM], **none))
    made["segment"]["calls"] = 0
    assert shown(made).startswith("Held by a guard: vip_contacts by upstream.")
    assert "Nothing would be sent: see what is held." in shown(made)


def test_the_comment_says_why_an_audience_is_held_and_where_an_error_is() -> None:
    error = {
        "error": "SqlDoesNotParse",
        "message": 'The SQL does not parse at "FORM"',
        "hint": "Correct the file",
        "file": "models/audiences/mail.sql",
        "line": 9,
    }
    held = audience(status="held", guards=[UPSTREAM, GUARD])
    said = markdown.markdown(result("plan", held, errors=[error]), None)
    assert 'models/audiences/mail.sql:9: The SQL does not parse at "FORM". Correct the file' in said
    assert "| **upstream**, **max_exited: 4,000 of 240** |" in said
    assert "held by upstream: Contact.Title is no longer visible. Check the permissions." in said
    assert "--allow vip_contacts:max_exited" in said


def test_the_comment_shows_the_members_that_show_asks_for() -> None:
    row = {
        "key": ["003***0001"],
        "op": "changed",
        "reason": "data",
        "changes": [{"column": "city", "old": "B***", "new": "```"}],
        "problem": "",
        "messages": [{"type": "identify"}],
    }
    said = markdown.markdown(result("plan", audience(rows=[row], samples=[{"id": "x"}])), None)
    assert "vip_contacts: 003***0001 changed (data)" in said
    assert '  city: "B***" → "\\u0060\\u0060\\u0060"' in said
    assert '{"type": "identify"}' in said
    # Only the fence of the block is left.
    assert 2 == said.count("```")


def test_the_comment_mentions_no_user_and_breaks_no_table() -> None:
    error = {"error": "ModelError", "message": "@everyone | <img src=x> `x`"}
    said = markdown.markdown(result(errors=[error]), None)
    assert "@everyone" not in said
    assert "<img" not in said
    assert "| <" not in said


def test_json_lines_carry_what_the_caller_gave_and_no_text_of_an_exception() -> None:
    stream = io.StringIO()
    logs.set_up("json", stream)
    logger = logging.getLogger("tailrace.somewhere")
    try:
        try:
            raise ValueError("jane@example.com")
        except ValueError:
            logger.warning("a batch was refused", extra={"run_id": "r1"}, exc_info=True)
    finally:
        logging.getLogger("tailrace").handlers = []
    line = json.loads(stream.getvalue())
    assert ("warning", "a batch was refused", "r1", "ValueError") == (
        line["level"],
        line["message"],
        line["run_id"],
        line["exception"],
    )
    assert "jane" not in stream.getvalue()


@pytest.mark.parametrize(
    ("calls", "audiences", "said"),
    [
        (9, [{"rejected": 1}], "in 1 batch. Rejected: 1 row; see: tailrace rejected\n"),
        (0, [{"rejected": 2}], "\nRejected: 2 rows; see: tailrace rejected\n"),
        (0, [{"status": "unchanged"}], "Nothing to send: Segment is up to date.\n"),
        (
            9,
            [{"status": "failed"}, {}],
            "see the errors. The next run sends the rest.\n",
        ),
        (0, [{"status": "held", "held": 3}], "Nothing was sent.\n"),
        # Held for its data, although no member would move.
        (0, [{"status": "held", "held": 0}], "Nothing was sent.\n"),
    ],
)
def test_a_run_ends_in_one_true_sentence(
    calls: int, audiences: list[dict[str, Any]], said: str
) -> None:
    """Which also names the command that comes next."""
    made = result("sync", *(audience(**each) for each in audiences))
    made["segment"]["calls"] = calls
    assert said in shown(made)


def wide(width: int, made: dict[str, Any]) -> list[str]:
    """The lines on a terminal of this width."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    text.show(made, out, plain=True, width=width)
    return out.getvalue().splitlines()


STATUS = result(
    "status",
    *[audience(name, rejected=rejected) for name, rejected in (("vip_contacts", 0), ("mail", 7))],
    verdict={
        "status": "held",
        "word": "Held by a guard",
        "sentence": "vip_contacts is held by max_exited: 4,000 of 12,000 would have exited.",
        "command": "tailrace plan --show 5 --select vip_contacts",
    },
    runs=[
        {
            "run_id": "2026-11-22T05:00:00Z-4f2a",
            "command": "run",
            "phase": "done",
            "started_at": "2026-11-22T05:00:00.000000Z",
            "finished_at": "2026-11-22T05:00:09.000000Z",
            "exit_code": 3,
            "error": None,
        }
    ],
    running=None,
    sending=[],
)
HELD = result("plan", audience(status="held", held=6, guards=[GUARD]), audience("mail"))


@pytest.mark.parametrize("width", [60, 72, 80, 100, 140, 200])
@pytest.mark.parametrize("made", [STATUS, HELD], ids=["status", "plan"])
def test_lines_fit_the_terminal_and_no_word_is_broken(made: dict[str, Any], width: int) -> None:
    lines = wide(width, made)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("Held by a guard: vip_contacts")
    # The words are those of a file, whose lines have no limit, without columns that are left out.
    assert {word.rstrip(",") for line in lines for word in line.split()} <= {
        word.rstrip(",") for word in shown(made).split()
    }
    # An option and its value stay together.
    for pair in ("--select vip_contacts", "--allow vip_contacts:max_exited"):
        option = pair.split()[0]
        found = [line for line in lines if option in line]
        assert all(pair in line for line in found)


def test_a_narrow_table_leaves_out_what_is_zero_and_never_what_is_not() -> None:
    narrow = "\n".join(wide(70, HELD))
    assert "quar" not in narrow and "  held" in narrow
    narrow = "\n".join(wide(60, STATUS))
    assert "started" not in narrow
    assert re.search(r"mail\n(  .*\n)* .*rejected 7\b", narrow)


def test_a_zero_has_no_colour_and_a_status_has_its_own() -> None:
    from tailrace.cli.output.table import Table, table_lines

    rows = (("vip", "held", "0", "7"), ("mail", "some rejected (4)", "3", "0"))
    lines = table_lines(Table(("audience", "status", "entered", "rejected"), rows, first_number=2))
    styles = [{part.strip(): style for part, style in line} for line in lines]
    assert ("yellow", "", "red") == tuple(styles[1][part] for part in ("held", "0", "7"))
    assert ("yellow", "green", "") == tuple(
        styles[2][part] for part in ("some rejected (4)", "3", "0")
    )
