"""Files, environment variables and command lines as users mistake them."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from fork_server import ForkServer
from shop import CONFIG, PEOPLE, Shop

from tailrace.cli import app
from tailrace.cli.output.text import COMMON_KEYS
from tailrace.testing import SegmentSimulator

from .mutations import WORDS, changed_bytes, changed_text

# What a command prints for a defect of its own.
DEFECTS = ("Internal error", "Please report this", "Traceback (most recent", "please report it")
EXIT_CODES = (0, 1, 2, 3, 4, 5, 75)
STAGED = "SELECT id, email, city, score, is_deleted FROM salesforce.contact\n"
READS_STAGED = """/* ---
audience: persons
key: [id, city]
user_id: id
anonymous_id: email
tags: [a, b]
external_ids: {crm: id}
track:
  entered: Entered
  properties: {city: city, on: {value: 1}, score: score}
  timestamp: seen_at
identify:
  traits: {email: {column: email, hash: sha256}, score: {column: score, drop_if_null: true}}
group: {group_id: city, traits: {name: city}}
guards: {min_rows: 1, max_exited: 20%}
consent: {suppress_when: is_deleted, categories: {ads: is_deleted}}
on_definition_change: hold
--- */
WITH people AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY city) AS place FROM staged)
SELECT id, email, city, score, is_deleted, TIMESTAMP '2026-01-01 00:00:00' AS seen_at
FROM people AS p LEFT JOIN (SELECT id AS other, COUNT(*) AS n FROM staged GROUP BY id) AS o
  ON p.id = o.other
WHERE place = 1 AND (city LIKE 'O%' OR score BETWEEN 1 AND 9 OR n > CAST('0' AS INTEGER))
"""
TRACKING_PLAN = """rules:
- type: TRACK
  key: Segment Entered
  version: 1
  jsonSchema:
    properties:
      properties: {type: object, required: [city], properties: {city: {type: string}}}
"""
SETTINGS = (
    f"{CONFIG}"
    "attempts_max = 1\napi_version = '64.0'\nformula = 'land'\n"
    "[sources.salesforce.object.Contact]\nformula = 'land'\nexclude = ['Title']\n"
    "[sources.salesforce.credentials]\ninstance_url = 'http://127.0.0.1:9'\n"
    "[destination.segment]\nretry_seconds_max = 0.1\nrequests_in_flight_max = 2\n"
    "[tailrace.alerts]\nlate_hours = 24\n"
)
SQL_WORDS = (
    *WORDS[:8],
    *("SELECT", "FROM", "WHERE", "(", ")", "*", ",", ";", "--", "/*", "*/", "'", '"', "||", "::"),
    *("JOIN", "UNION", "GROUP BY", "ORDER BY", "LIMIT 0", "QUALIFY", "WINDOW w AS ()", "OVER ()"),
    *("now()", "random()", "read_csv('/etc/passwd')", "getenv('HOME')", "pragma", "ATTACH 'x'"),
    *("CAST(id AS INTEGER)", "1/0", "nothing", "salesforce.nothing", "people", "persons", "NULL"),
    *("{{ ref('x') }}", "$1", "?", "UNNEST([1])", "LATERAL", "PIVOT", "SUMMARIZE", "INSERT", "é"),
)
ARGUMENTS = (
    *("people", "nobody", "tag:a", "object:Contact", "object:*", "[", "*", "", "a:b:c", "\u202e"),
    *("--json", "--show", "3", "--at", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59.999-12:00"),
    *("--older-than", "99999999d", "0h", "-1d", "--to", "segment", "-s", "--exclude", "--dry-run"),
    *("--yes", "--allow", "people:keys", "--plan", ".dlt/config.toml", "--send", "-t", "../x"),
    *("--full-refresh", "--show-values", "--detailed-exitcode", "--format", "markdown", "-q"),
    *("--no-send", "--debug", "--out", "out.json", "--export", "out.csv", "--check", "--history"),
    *("--log-format", "json", "github", "--resend", "--no-skip", "rebind", "plan.json", "prod"),
    *("--project-dir", "/nowhere", ".", "models", "--on-new-column", "hold", "c1", "9" * 300),
    *("--reconcile", "--afresh", "\x00", "\udcff", "--", "-", "\x1b[31m", "2026-11-22", "30d"),
)
# These go on for long, or write outside of the project.
LEFT_OUT = frozenset({"demo", "init", "run", "ui"})
VARIABLES = (
    *("TAILRACE__WAREHOUSE", "TAILRACE__DATASET", "TAILRACE__FIRST_RUN_MEMBERS_MAX"),
    *("TAILRACE__MEMORY_SHARE_MAX", "TAILRACE__LEDGER_DATASET", "TAILRACE__ALERTS__LATE_HOURS"),
    *("DESTINATION__SEGMENT__HOST", "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX"),
    *("DESTINATION__SEGMENT__WRITE_KEY", "DESTINATION__DUCKDB__CREDENTIALS"),
    *("SOURCES__SALESFORCE__OBJECTS", "SOURCES__SALESFORCE__API_VERSION", "TAILRACE__SALT"),
    *("DESTINATION__SEGMENT__TIMEOUT_SECONDS", "DESTINATION__SEGMENT__PROXY", "COLUMNS", "CI"),
)


class UserInputs:
    """A project with an audience that was sent; one input of it is broken at a time."""

    def __init__(self, folder: Path) -> None:
        self.segment = SegmentSimulator()
        self.segment.__enter__()
        self.shop = Shop(folder / "shop", self.segment)
        self.files = {
            ".dlt/config.toml": SETTINGS,
            ".dlt/prod.config.toml": "[tailrace]\ndataset = 'salesforce'\n",
            ".dlt/secrets.toml": "[destination.segment]\nwrite_key = 'k'\n",
            "models/audiences/people.sql": PEOPLE,
            "models/audiences/persons.sql": READS_STAGED,
            "models/staging/staged.sql": STAGED,
            "tracking_plan.yaml": TRACKING_PLAN,
        }
        self.environ = {**self.shop.environ, "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "0.1"}
        self._write()
        rows = [{"id": f"c{n}", "email": f"{n}@example.com", "city": "Oslo"} for n in range(5)]
        self.shop.land(rows)
        code, printed = self._run(["sync"])
        assert 0 == code, printed
        assert 0 == self._run(["plan", "--out", "plan.json"])[0]
        self.plan = (self.shop.root / "plan.json").read_text()
        self.warehouse = self.shop.file.read_bytes()

    def close(self) -> None:
        """Stop the simulator."""
        self.segment.__exit__(None, None, None)

    def play(self, choose: random.Random) -> None:
        """Break one input and run a command.

        Raises:
            AssertionError: The command ends in a defect of Tailrace.
        """
        self._write()
        self.shop.file.write_bytes(self.warehouse)
        kinds: Sequence[Callable[[random.Random], tuple[list[str], dict[str, str]]]] = (
            *(self._settings, self._header, self._sql, self._sidecar, self._tracking_plan),
            *(self._saved_plan, self._variable, self._arguments, self._arguments),
        )
        arguments, variables = choose.choice(kinds)(choose)
        code, printed = self._run(arguments, **variables)
        self._check(code, printed, arguments)

    def play_damaged(self, choose: random.Random, server: ForkServer) -> None:
        """Damage the warehouse's file and run a command, in a process of its own.

        Raises:
            AssertionError: The command ends in a defect of Tailrace.
        """
        self._write()
        self.shop.file.write_bytes(changed_bytes(choose, self.warehouse))
        names = ["status", "plan", "sync", "validate", "rejected", "doctor", "trace", "history"]
        name = choose.choice(names)
        arguments = [name, *{"trace": ["c1"], "history": ["people"]}.get(name, [])]
        environ = {key: value for key, value in os.environ.items() if "__" not in key}
        done = server.run(
            arguments,
            cwd=self.shop.root,
            environ={**environ, **self.environ},
            timeout_seconds=60,
        )
        self._check(done.returncode, done.stdout + done.stderr, arguments)

    def _check(self, code: int, printed: str, arguments: Sequence[str]) -> None:
        for defect in DEFECTS:
            assert defect not in printed, (arguments, printed[-2_000:])
        assert code in EXIT_CODES, (code, arguments, printed[-2_000:])
        assert "\x1b" not in printed, (arguments, printed[-2_000:])

    def _run(self, arguments: Sequence[str], **variables: str) -> tuple[int, str]:
        printed, logged = io.StringIO(), io.StringIO()
        with (
            _environ(self.environ | variables),
            _working_directory(self.shop.root),
            redirect_stdout(printed),
            redirect_stderr(logged),
        ):
            code = app.answer(arguments)
        if "--json" in arguments and printed.getvalue().startswith("{"):
            # One object, also for a failure.
            assert set(json.loads(printed.getvalue())) >= COMMON_KEYS, (
                arguments,
                printed.getvalue(),
            )
        return code, printed.getvalue() + logged.getvalue()

    def _write(self) -> None:
        root = self.shop.root
        for entry in (root / "models").rglob("*.yml"):
            entry.unlink()
        for name in ("out.json", "out.csv"):
            if (root / name).is_dir():
                shutil.rmtree(root / name)
        for name, text in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    def _break(self, choose: random.Random, name: str, words: Sequence[str] = WORDS) -> None:
        content = self.files[name]
        path = self.shop.root / name
        if choose.random() < 0.1:
            path.write_bytes(changed_bytes(choose, content.encode()))
        else:
            text = changed_text(choose, content, words)
            path.write_text(text, encoding="utf-8", errors="replace")

    def _settings(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        name = choose.choice([".dlt/config.toml"] * 3 + [".dlt/secrets.toml"])
        target = choose.random() < 0.2
        self._break(choose, ".dlt/prod.config.toml" if target else name)
        command = choose.choice(["validate", "ls", "plan", "status", "validate", "ls", "sync"])
        return [command, *(["-t", "prod"] if target else [])], {}

    def _header(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        self._break(choose, choose.choice(["models/audiences/people.sql"] * 1 + [_PERSONS] * 2))
        return [choose.choice(["validate", "ls", "plan", "tracking-plan", "sync"])], {}

    def _sql(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        name = choose.choice([_PERSONS, _PERSONS, "models/staging/staged.sql"])
        header, mark, sql = self.files[name].rpartition("--- */\n")
        text = changed_text(choose, sql, SQL_WORDS)
        (self.shop.root / name).write_text(header + mark + text, errors="replace")
        return [
            choose.choice(["validate", "plan", "sync", "trace"]),
            *choose.choice([[], ["c1"]]),
        ], {}

    def _sidecar(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        _, header, sql = READS_STAGED.split("---", 2)[0], *READS_STAGED.split("---", 2)[1:]
        folder = self.shop.root / "models" / "audiences"
        (folder / "persons.sql").write_text(sql.replace(" */\n", "", 1))
        (folder / "persons.yml").write_text(changed_text(choose, header), errors="replace")
        return [choose.choice(["validate", "ls"])], {}

    def _tracking_plan(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        self._break(choose, "tracking_plan.yaml")
        return [choose.choice(["validate", "plan", "sync"])], {}

    def _saved_plan(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        text = changed_text(choose, self.plan)
        (self.shop.root / "plan.json").write_text(text, errors="replace")
        return ["sync", "--plan", "plan.json"], {}

    def _variable(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        values = [word.replace("\x00", "") for word in WORDS]
        chosen = {choose.choice(VARIABLES): choose.choice(values) for _ in range(2)}
        return [choose.choice(["validate", "plan", "status", "ls", "doctor"])], chosen

    def _arguments(self, choose: random.Random) -> tuple[list[str], dict[str, str]]:
        names = sorted(set(app.tailrace.commands) - LEFT_OUT)
        return [choose.choice(names), *choose.choices(ARGUMENTS, k=choose.randint(0, 5))], {}


_PERSONS = "models/audiences/persons.sql"


@contextmanager
def _environ(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
