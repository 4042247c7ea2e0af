"""What every store must do: versions, conditional writes, and one winner of a race."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from state.azure_server import AzureServer
from state.gcs_server import GcsServer
from state.machines import SteppedClock
from state.s3_server import S3Server

from tailrace.config.settings import StateSettings
from tailrace.errors import ConfigurationError, StateStoreFailed, Unreachable
from tailrace.state.folder import FolderStore
from tailrace.state.manifest import generation_of, part_name
from tailrace.state.object_store import ObjectStore
from tailrace.state.store import Store, StoreConflict, Stored, replace_surely

RACERS = 12


def check_store(store: Store) -> None:
    """The contract of a store."""
    assert store.get("a") is None
    assert [] == store.names("parts")
    first = store.replace("a", b"1", None)
    with pytest.raises(StoreConflict):
        store.replace("a", b"2", None)
    assert Stored(b"1", first) == store.get("a")
    second = store.replace("a", b"2", first)
    with pytest.raises(StoreConflict):
        store.replace("a", b"3", first)
    assert Stored(b"2", second) == store.get("a")
    store.put("parts/x", b"x" * 300_000)
    store.put("parts/y", b"y")
    store.put("parts/y", b"z")
    assert ["parts/x", "parts/y"] == sorted(store.names("parts"))
    assert b"z" == store.get("parts/y").body  # type: ignore[union-attr]
    store.delete(["parts/x", "parts/none"])
    assert ["parts/y"] == store.names("parts")


def check_race(store: Store) -> None:
    """Of many writers that expect the same version, one wins; the object is the winner's."""
    for name, expected in (("new", None), ("old", store.replace("old", b"0", None))):
        won: list[bytes] = []
        start = threading.Barrier(RACERS)

        def write(body: bytes, name: str, expected: str | None, won: list[bytes]) -> None:
            start.wait()  # noqa: B023
            try:
                replace_surely(store, name, body, expected, clock=SteppedClock())
                won.append(body)
            except StoreConflict:
                pass

        threads = [
            threading.Thread(target=write, args=(f"{n}".encode() * 9, name, expected, won))
            for n in range(1, RACERS + 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = store.get(name)
        assert stored is not None
        assert [stored.body] == won


def test_a_folder_is_a_store(tmp_path: Path) -> None:
    check_store(FolderStore(tmp_path / "a folder"))
    check_race(FolderStore(tmp_path / "race"))


def test_what_a_killed_process_began_to_write_is_known_as_a_part(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    name = part_name(3, "f" * 16, 0)
    child = os.fork()
    if child == 0:
        # Killed between the write and the rename.
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        store.put(name, b"x")
        os._exit(0)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (left,) = store.names("parts")
    assert 3 == generation_of(left)
    assert left != name


def test_a_bucket_is_a_store(s3_server: S3Server) -> None:
    check_store(s3_server.store("contract"))
    check_race(s3_server.store("race"))


def test_a_bucket_of_google_is_a_store(gcs_server: GcsServer) -> None:
    """A conditional write is one on the generation of the object."""
    check_store(gcs_server.store("contract"))
    check_race(gcs_server.store("race"))


@pytest.mark.engines
def test_a_container_of_azure_is_a_store(azure_server: AzureServer) -> None:
    check_store(azure_server.store("contract"))
    check_race(azure_server.store("race"))


class AnswerLost:
    """A store whose conditional writes succeed or fail without an answer."""

    def __init__(self, store: Store, outcomes: Sequence[Callable[[Store], None]]) -> None:
        self.store = store
        self.outcomes = list(outcomes)

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, name: str) -> Stored | None:
        return self.store.get(name)

    def put(self, name: str, body: bytes) -> None:
        self.store.put(name, body)

    def names(self, folder: str) -> list[str]:
        return self.store.names(folder)

    def delete(self, names: Sequence[str]) -> None:
        self.store.delete(names)

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        if self.outcomes:
            self.outcomes.pop(0)(self.store)
            raise Unreachable("no answer")
        return self.store.replace(name, body, expected)


def test_a_write_without_an_answer_is_read_back(tmp_path: Path) -> None:
    clock = SteppedClock()
    folder = FolderStore(tmp_path / "store")
    version = folder.replace("m", b"old", None)
    wrote = AnswerLost(folder, [lambda store: store.put("m", b"ours")])
    assert replace_surely(wrote, "m", b"ours", version, clock=clock) == folder.get("m").version  # type: ignore[union-attr]

    version = folder.get("m").version  # type: ignore[union-attr]
    lost = AnswerLost(folder, [lambda store: None, lambda store: None])
    replace_surely(lost, "m", b"again", version, clock=clock)
    assert b"again" == folder.get("m").body  # type: ignore[union-attr]

    version = folder.get("m").version  # type: ignore[union-attr]
    overtaken = AnswerLost(folder, [lambda store: store.put("m", b"theirs")])
    with pytest.raises(StoreConflict):
        replace_surely(overtaken, "m", b"ours", version, clock=clock)

    version = folder.get("m").version  # type: ignore[union-attr]
    down = AnswerLost(folder, [lambda store: None] * 9)
    with pytest.raises(Unreachable):
        replace_surely(down, "m", b"ours", version, clock=clock)


def test_an_unusable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory"):
        FolderStore(tmp_path / "file" / "store")
    store = FolderStore(tmp_path / "store")
    (store.folder / "lease.json").mkdir()
    with pytest.raises(StateStoreFailed, match="Is a directory"):
        store.get("lease.json")


@pytest.mark.parametrize(
    ("url", "options", "error", "message"),
    [
        ("s3://b/p", {"endpoint": "http://127.0.0.1:1"}, Unreachable, "cannot be reached"),
        ("az://b/p", {}, ConfigurationError, "Account must be specified"),
    ],
)
def test_an_unusable_bucket_is_an_error(
    url: str, options: dict[str, str], error: type[Exception], message: str
) -> None:
    settings = StateSettings(retry_seconds_max=0.01)
    if url.startswith("s3"):
        options |= {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}
    with pytest.raises(error, match=message):
        ObjectStore(url, options, settings, allow_http=True).get("lease.json")


def test_a_refused_credential_is_an_error(s3_server: S3Server) -> None:
    from tailrace.errors import CredentialRefused

    with pytest.raises(CredentialRefused) as raised:
        s3_server.store("contract", secret="wrong").get("lease.json")
    assert "secrets.toml" in raised.value.hint
    assert "wrong" not in f"{raised.value} {raised.value.hint}"
