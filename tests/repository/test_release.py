"""What a release consists of beside the wheel: the image recipe, the workflow, the hooks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from shop import PEOPLE, Shop

from tailrace.cli import app

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
PUBLISH = ROOT / ".github" / "workflows" / "publish.yml"
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "linter",
    [
        ("hadolint", "--no-color", ROOT / "Dockerfile"),
        ("zizmor", "--offline", "--quiet", PUBLISH),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", PUBLISH),
    ],
    ids=lambda linter: linter[0],
)
def test_the_recipes_pass_their_linters(linter: tuple[str, ...]) -> None:
    command = [str(BINARIES / linter[0]), *map(str, linter[1:])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_image_is_built_from_the_wheel_and_does_not_run_as_root() -> None:
    """Only the wheel and the versions reach the builder, so no secret can."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    assert ["*", "!constraints.txt", "!dist/*.whl"] == ignored[1:]
    assert ["constraints.txt dist/*.whl ./"] == re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.M)
    assert ["10001"] == re.findall(r"^USER (.+)$", DOCKERFILE, re.M)
    assert 'ENTRYPOINT ["tailrace"]' in DOCKERFILE


def test_the_image_gets_the_tested_versions_without_hashes() -> None:
    """The command of the recipe leaves one requirement a line."""
    (command,) = re.findall(r"^RUN (sed .+) constraints\.txt > ", DOCKERFILE, re.M)
    done = subprocess.run(
        ["sh", "-c", f"{command} {ROOT / 'constraints.txt'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert [] == [line for line in lines if not re.fullmatch(r"[\w.-]+==[^ \\]+( ;.+)?", line)]


def test_a_release_is_published_without_a_token() -> None:
    """By trusted publishing, in an environment of its own; every action is pinned to a commit."""
    workflow = yaml.safe_load(PUBLISH.read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert {} == workflow["permissions"]
    assert ({"contents": "read"}, {"id-token": "write"}) == (
        jobs["build"]["permissions"],
        jobs["publish"]["permissions"],
    )
    assert "release" == jobs["publish"]["environment"]
    text = PUBLISH.read_text(encoding="utf-8")
    assert "secrets." not in text
    uses = re.findall(r"uses: (.+)$", text, re.M)
    assert uses and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", use) for use in uses)


def test_the_hooks_run_and_fail_for_a_broken_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each hook's entry, in a project; `files` names what the commands read."""
    shop = Shop(tmp_path / "shop")
    shop.audience(PEOPLE)
    monkeypatch.chdir(shop.root)
    commands = {hook["id"]: hook["entry"].split() for hook in HOOKS}
    assert {"tailrace-validate", "tailrace-test"} == set(commands)
    for hook in HOOKS:
        assert ("python", False) == (hook["language"], hook["pass_filenames"])
        pattern = re.compile(hook["files"])
        assert pattern.search("models/audiences/people.sql")
        assert pattern.search("shop/models/audiences/people.test.yml")
        assert not pattern.search("README.md") and not pattern.search(".dlt/secrets.toml")
        program, *arguments = hook["entry"].split()
        assert ("tailrace", 0) == (program, app.answer(arguments))
    shop.audience(PEOPLE.replace("key: id", "kye: id"))
    assert 2 == app.answer(commands["tailrace-validate"][1:])
    assert "kye" in capsys.readouterr().err
