"""The container image, built by the recipe with buildah and run: with `make test-engines` only.

The base image is a Debian of debootstrap with its Python, since no image registry is needed then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = "trixie"
BASE = "localhost/python"
# Where packages of Python are fetched from may be known to this machine's certificates only.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Builder:
    """buildah with storage of its own. It needs no daemon, and isolates by chroot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *arguments: object) -> str:
        places = ("--root", self.folder / "storage", "--runroot", self.folder / "running")
        return run("buildah", *places, *arguments, env=self.environ)


def run(*command: object, env: dict[str, str] | None = None) -> str:
    """Run a program that must succeed, and return what it printed."""
    arguments = [str(argument) for argument in command]
    done = subprocess.run(arguments, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, (done.stdout + done.stderr)[-3_000:]
    return done.stdout


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    """A builder with a base image."""
    if os.geteuid() != 0 or not shutil.which("buildah") or not shutil.which("debootstrap"):
        pytest.skip("an image is built as root, with buildah and debootstrap")
    build = Builder(tmp_path / "images")
    system = tmp_path / "system"
    packages = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", packages, SUITE, system)
    (system / "usr" / "bin" / "python").symlink_to("python3")
    container = build("from", "scratch").strip()
    build("add", "--quiet", container, system, "/")
    build("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
    build("commit", "--quiet", container, BASE)
    build("rm", container)
    shutil.rmtree(system)
    try:
        yield build
    finally:
        build("rm", "--all")
        shutil.rmtree(build.folder, ignore_errors=True)


@pytest.mark.engines
@pytest.mark.timeout(2_400)
def test_the_image_runs_the_main_job_as_a_user_that_is_not_root(
    builder: Builder, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    (context / "dist").mkdir(parents=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", context / "dist")
    for name in ("Dockerfile", "constraints.txt", ".dockerignore"):
        shutil.copy(ROOT / name, context)
    mounts = ("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro") if CERTIFICATES.exists() else ()
    base = ("--pull-never", "--build-arg", f"PYTHON_IMAGE={BASE}")
    builder("bud", *base, *mounts, "--tag", "tailrace", context)
    container = builder("from", "--pull-never", "localhost/tailrace").strip()
    isolated = ("run", container, "--")
    assert "10001\n" == builder(*isolated, "id", "-u")
    assert builder(*isolated, "tailrace", "--version").startswith("tailrace, version")
    write = "tailrace init . >/dev/null && tailrace validate && ! touch /opt/tailrace/x 2>/dev/null"
    assert "audiences: valid." in builder(*isolated, "sh", "-c", write)
    assert "Nothing to send" in builder(*isolated, "tailrace", "demo")
