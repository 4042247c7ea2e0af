"""Documents as blocks, and a runner that executes them against the simulators.

The language of a fenced block says what happens to it:

* `sh`: every line runs; `# exits with 3` behind a command names its exit code, else it is 0;
* `text`: the output of the `sh` block before it, compared without its numbers; `pytest
  --write-docs` writes the real output there;
* `sql`: a file if its first line is a comment with a path, else a query on the landed warehouse;
* `toml`: settings that a project accepts; `yaml` (a file, as with `sql`) and `json` parse;
* `python` runs in the project;
* `sh not-run` and every other language: not executed, counted in the test.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from fork_server import ForkServer

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\s+# exits with (\d+)$")
SIMULATOR = re.compile(r"python -m tailrace\.testing (salesforce|segment|webhook) --port (\d+)")
EXECUTED = {"sh", "sql", "toml", "yaml", "json", "python", "text"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block; `start` and `end` are the positions of its text in the document."""

    info: str
    text: str
    line: int
    start: int
    end: int

    @property
    def language(self) -> str:
        """The first word of the info string; empty if the block is not executed."""
        return self.info if self.info in EXECUTED else ""


def documents() -> list[Path]:
    """README.md and every page under docs/ that is not generated."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *(p for p in pages if p.parent.name != "reference")]


def name_of(document: Path) -> str:
    """The path of a document in the repository."""
    return document.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [
        Block(
            info=match[2].strip(),
            text=textwrap.dedent(match[3]),
            line=text.count("\n", 0, match.start()) + 1,
            start=match.start(3),
            end=match.end(3),
        )
        for match in BLOCK.finditer(text)
    ]


def lines_of(script: str) -> Iterator[str]:
    """The commands of a shell block: continued lines joined, here-documents kept together."""
    lines = iter(script.splitlines())
    for line in lines:
        while line.endswith("\\"):
            line = line[:-1].rstrip() + " " + next(lines).lstrip()
        here = re.search(r"<<'?(\w+)'?$", line)
        if here:
            for following in lines:
                line += "\n" + following
                if following == here[1]:
                    break
        if line.strip() and not line.startswith("#"):
            yield line


@dataclass
class Runner:
    """Executes the blocks of one document in a folder.

    Attributes:
        urls: URL of each simulator by its kind; they replace the ports that a document names.
        environ: Variables of the commands; `export` adds to them.
        server: Runs the commands that need a process of their own.
        output: What the last `sh` block wrote.
        errors: What the last `tailrace` command wrote to stderr.
    """

    folder: Path
    urls: Mapping[str, str]
    environ: dict[str, str]
    server: ForkServer
    output: str = ""
    errors: str = ""
    replaced: dict[str, str] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Execute one block.

        Raises:
            AssertionError: A command exits with another code, or a file is not valid.
        """
        getattr(self, f"_{block.language}")(block)

    def _sh(self, block: Block) -> None:
        self.output = ""
        for line in lines_of(block.text):
            expected = EXIT.search(line)
            command = EXIT.sub("", line)
            for written, real in self.replaced.items():
                command = command.replace(written, real)
            code, output = self._command(command)
            self.output += output
            wanted = int(expected[1]) if expected else 0
            assert wanted == code, f"line {block.line}: {line}\nexit code {code}\n{output}"

    def _command(self, command: str) -> tuple[int, str]:
        simulator = SIMULATOR.match(command)
        if simulator:
            kind, port = simulator.groups()
            self.replaced[f"http://127.0.0.1:{port}"] = self.urls[kind]
            return 0, ""
        word, _, rest = command.partition(" ")
        if word == "cd":
            self.folder = (self.folder / rest).resolve()
            return 0, ""
        if word == "export":
            name, _, value = rest.partition("=")
            self.environ[name] = shlex.split(value)[0]
            return 0, ""
        if word == "tailrace":
            return self.tailrace(rest)
        own = f'tailrace() {{ "{sys.executable}" -m tailrace "$@"; }}'
        return self._process(["bash", "-euc", f"{own}\n{command}"])

    def tailrace(self, rest: str) -> tuple[int, str]:
        """Run one command line; its exit code, and stdout followed by stderr."""
        arguments, _, target = rest.partition(" > ")
        argv = shlex.split(arguments, comments=True)
        # dlt keeps the first target of a process.
        in_process = not {"-t", "--target", "demo"} & set(argv)
        code, output, errors = self._answer(argv) if in_process else self._forked(argv)
        if target:
            (self.folder / target.strip()).write_text(output, encoding="utf-8")
            output = ""
        self.errors = errors
        return code, output + errors

    def _answer(self, argv: list[str]) -> tuple[int, str, str]:
        from tailrace.cli.app import answer

        before, here = dict(os.environ), Path.cwd()
        output, errors = io.StringIO(), io.StringIO()
        os.environ.update(self.environ)
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                code = answer(argv)
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)
        return code, output.getvalue(), errors.getvalue()

    def _forked(self, argv: list[str]) -> tuple[int, str, str]:
        done = self.server.run(
            argv, cwd=self.folder, environ={**os.environ, **self.environ}, timeout_seconds=120
        )
        return done.returncode, done.stdout, done.stderr

    def _process(self, argv: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def _text(self, block: Block) -> None:
        real = {shape(line) for line in self.output.splitlines()}
        missing = [line for line in block.text.splitlines() if shape(line) not in real]
        assert [] == missing, (
            f"line {block.line}: not in the output; run `make docs`\n{self.output}"
        )

    def _sql(self, block: Block) -> None:
        path = re.match(r"-- (models/\S+\.sql)\n", block.text)
        if path:
            target = self.folder / path[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text.removeprefix(path[0]), encoding="utf-8")
            code, output = self.tailrace(f"validate -s {target.stem}")
            assert (0, "") == (code, self.errors), output
            return
        import duckdb

        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as warehouse:
            for statement in filter(str.strip, block.text.split(";")):
                warehouse.execute(statement).fetchall()

    def _toml(self, block: Block) -> None:
        from tailrace.config.project import load_project

        told = tomllib.loads(block.text)
        folder = self.folder / ".toml-of-a-document" / ".dlt"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(block.text, encoding="utf-8")
        project = load_project(folder.parent, environ={})
        project.salesforce()
        for name, section in told.get("destination", {}).items():
            if "write_key" in section:
                project.segment(name)

    def _yaml(self, block: Block) -> None:
        path = re.match(r"# (models/\S+\.yml)\n", block.text)
        if path:
            (self.folder / path[1]).write_text(block.text, encoding="utf-8")
        assert yaml.safe_load(block.text), f"line {block.line}: empty"

    def _json(self, block: Block) -> None:
        assert json.loads(block.text), f"line {block.line}: empty"

    def _python(self, block: Block) -> None:
        code, output = self._process([sys.executable, "-c", block.text])
        assert 0 == code, f"line {block.line}:\n{output}"
        self.output = output


def shape(line: str) -> str:
    """A line of output without what differs from run to run: numbers, ids, widths."""
    line = re.sub(r"tr1-[0-9a-f]+…?", "ID", line)
    line = re.sub(r"\b(?=[A-Za-z]*\d)[0-9a-zA-Z]{15}(?:[0-9a-zA-Z]{3})?\b", "ID", line)
    line = re.sub(r"\d[\d,.:]*", "N", line)
    return " ".join(line.split())


def with_output(text: str, block: Block, output: str, moved: int) -> str:
    """The document with the real output in a `text` block, which earlier ones `moved`."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    return text[: block.start + moved] + "\n".join(lines) + "\n" + text[block.end + moved :]
