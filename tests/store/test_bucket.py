"""Backups in S3-compatible storage: whole or not there, and every refusal says what to do."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from meschain.app.keeping.backups import (
    BackupPlan,
    Proof,
    backups_in,
    forget,
    make_backup,
    prove,
    read_proof,
    write_proof,
)
from meschain.app.keeping.bucket import Bucket, BucketFailed, S3Access
from meschain.cli.failure import explain
from meschain.cli.tree import root
from meschain.messages import LANGUAGES, Catalog
from meschain.store.backup import scratch
from meschain.testing.shop import Shop
from tests.store.bucket_server import PART_BYTES_MIN, BucketServer, Refused, serving
from tests.store.test_backup import content
from tests.store.test_isolation import fill

pytestmark = pytest.mark.slow

Connection = psycopg.Connection[tuple[object, ...]]
NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
KEY = b"a key of 16 bytes or more"


def no_tick(_done: int, _total: int) -> None:
    """Nobody looks."""


@pytest.fixture
def server() -> Iterator[BucketServer]:
    with serving(BucketServer()) as running:
        yield running


@pytest.fixture
def bucket(server: BucketServer, tmp_path: Path) -> Bucket:
    """With parts as small as S3 lets them be."""
    return opened(server, tmp_path)


def opened(server: BucketServer, tmp_path: Path, place: str = "hub/one", **other: str) -> Bucket:
    found = Bucket.at(
        f"s3://{server.bucket}/{place}", tmp_path / "s3.toml", server.environment() | other
    )
    return Bucket(found.place, found.store, part_bytes=PART_BYTES_MIN)


def upload(bucket: Bucket, name: str, data: bytes) -> None:
    with bucket.writing(name) as file:
        for at in range(0, len(data), 1_000_000):
            file.write(data[at : at + 1_000_000])


def break_off(bucket: Bucket, size: int) -> None:
    with bucket.writing("x.backup") as file:
        file.write(secrets.token_bytes(size))
        file.write(b"%d" % (1 // 0))


# — files —


@pytest.mark.parametrize("size", [0, 10, PART_BYTES_MIN, 3 * PART_BYTES_MIN + 7])
def test_a_file_comes_back_as_it_was_however_large(
    size: int, bucket: Bucket, server: BucketServer
) -> None:
    data = secrets.token_bytes(size)
    upload(bucket, "x.backup", data)
    assert server.objects == {"hub/one/x.backup": data}
    assert ("UploadPart" in server.requests) == (size >= PART_BYTES_MIN)
    assert bucket.size_bytes("x.backup") == size
    server.requests.clear()
    with bucket.reading("x.backup") as file:
        assert file.read() == data
        assert server.requests.count("GetObject") <= 2 + size // 8_000_000
        assert file.seek(size // 2) == size // 2
        assert file.read() == data[size // 2 :]
        file.seek(-min(size, 3), io.SEEK_END)
        assert file.read(9) == data[len(data) - min(size, 3) :]


def test_only_what_lies_right_under_the_prefix_is_seen(
    bucket: Bucket, server: BucketServer, tmp_path: Path
) -> None:
    for key in ("hub/one/a", "hub/one/b", "hub/one/c", "hub/one/deep/d", "hub/oneself/e", "f"):
        server.objects[key] = b"x"
    assert sorted(bucket.names()) == ["a", "b", "c"]
    assert opened(server, tmp_path, "").names() == ["f"]
    assert opened(server, tmp_path, "hub/none").names() == []
    bucket.delete(["a", "gone"])
    assert sorted(bucket.names()) == ["b", "c"]


def test_an_upload_that_breaks_off_leaves_neither_a_file_nor_its_parts(
    bucket: Bucket, server: BucketServer
) -> None:
    for size in (10, 2 * PART_BYTES_MIN):
        with pytest.raises(ZeroDivisionError):
            break_off(bucket, size)
        assert (server.objects, server.uploads) == ({}, {})
    assert "AbortMultipartUpload" in server.requests


def test_an_upload_that_is_refused_half_way_says_so_although_its_parts_stay(
    bucket: Bucket, server: BucketServer
) -> None:
    def no_more(name: str) -> None:
        if name in {"UploadPart", "AbortMultipartUpload"}:
            refuse(name)

    server.fault = no_more
    with pytest.raises(BucketFailed) as failed:
        upload(bucket, "x.backup", secrets.token_bytes(6 * PART_BYTES_MIN))
    assert (failed.value.reason, failed.value.words) == ("refused", "AccessDenied: no")
    assert "AbortMultipartUpload" in server.requests
    assert server.objects == {}


def test_an_upload_whose_process_was_killed_is_no_backup(
    server: BucketServer, tmp_path: Path
) -> None:
    program = (
        "import os, sys, signal; from pathlib import Path\n"
        "from meschain.app.keeping.bucket import Bucket\n"
        "b = Bucket.at(sys.argv[1], Path('absent'))\n"
        "b = Bucket(b.place, b.store, part_bytes=5 * 1024 ** 2)\n"
        "with b.writing('meschain-20261120T030000Z.backup') as file:\n"
        "    for _ in range(20): file.write(bytes(1_000_000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"s3://{server.bucket}/hub"],
        env={**os.environ, **server.environment()},
        timeout=60,
        check=False,
    )
    assert done.returncode == -9
    assert server.uploads, "it had begun"
    assert backups_in(opened(server, tmp_path, "hub")) == []


def test_a_file_that_the_storage_keeps_otherwise_than_sent_does_not_stay(
    bucket: Bucket, server: BucketServer
) -> None:
    server.stored = lambda data: data[:-1]
    for size in (10, 2 * PART_BYTES_MIN):
        with pytest.raises(BucketFailed) as failed:
            upload(bucket, "x.backup", secrets.token_bytes(size))
        assert failed.value.reason == "cut"
        assert server.objects == {}


def test_a_storage_in_trouble_is_asked_again(bucket: Bucket, server: BucketServer) -> None:
    troubled: set[str] = set()

    def once(name: str) -> None:
        if name not in troubled:
            troubled.add(name)
            raise Refused(503, "SlowDown")

    server.fault = once
    data = secrets.token_bytes(2 * PART_BYTES_MIN)
    upload(bucket, "x.backup", data)
    with bucket.reading("x.backup") as file:
        assert file.read() == data
    assert bucket.names() == ["x.backup"]
    bucket.delete(["x.backup"])
    assert {"UploadPart", "CompleteMultipartUpload", "GetObject", "ListObjectsV2"} <= troubled


# — what can be wrong —


def test_what_is_wrong_is_named(
    server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meschain.app.keeping.bucket._TRIES_AGAIN", 0)
    found: dict[str, BucketFailed] = {}

    def fails(reason: str, place: str = "hub", **other: str) -> None:
        with pytest.raises(BucketFailed) as failed:
            opened(server, tmp_path, place, **other).names()
        assert failed.value.reason == reason, failed.value
        assert server.secret not in repr(failed.value)
        found[reason] = failed.value

    fails("keyless", AWS_SECRET_ACCESS_KEY="")
    fails("refused", AWS_REGION="us-east-1")
    assert "AuthorizationHeaderMalformed" in found["refused"].words
    fails("refused", AWS_ACCESS_KEY_ID="another")
    fails("refused", AWS_SECRET_ACCESS_KEY=server.secret + "x")
    assert found["refused"].words == "SignatureDoesNotMatch: The signature does not match."
    fails("away", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    server.bucket = "another"
    with pytest.raises(BucketFailed) as failed:
        Bucket.at("s3://kaya-backup", tmp_path / "s3.toml", server.environment()).names()
    found["missing"] = failed.value
    assert failed.value.reason == "missing"
    for address in ("s3://", "s3:///hub", "s3://K_B/hub"):
        with pytest.raises(BucketFailed) as failed:
            Bucket.at(address, tmp_path / "s3.toml", server.environment())
        found["address"] = failed.value
        assert failed.value.reason == "address"
    found["cut"] = BucketFailed("cut", "s3://kaya-backup/hub")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "obstore.store", None)
        fails("extra")
    (tmp_path / "s3.toml").write_text("secret = 'planted'\n")
    fails("file")
    (tmp_path / "s3.toml").write_text("secret_access_key = planted\n")
    fails("file")
    assert "planted" not in found["file"].words
    assert len(found) == 8
    for language in LANGUAGES:
        for each in found.values():
            said = explain(each, Catalog.load(language))
            assert said is not None
            assert each.address in said


def test_credentials_come_from_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s3.toml"
    file.write_text(
        'endpoint = "https://storage.example"\nregion = "tr-1"\naccess_key_id = "a"\n'
        'secret_access_key = "b"\nsession_token = "c"\n'
    )
    assert S3Access.read(file, {}) == S3Access("https://storage.example", "tr-1", "a", "b", "c")
    given = {"AWS_DEFAULT_REGION": "eu-1", "AWS_REGION": ""}
    assert S3Access.read(file, given).region == "eu-1"
    # Never the key of one place with the secret of the other.
    given = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    assert S3Access.read(file, given) == S3Access("https://storage.example", "tr-1", "x", "y")
    assert S3Access.read(tmp_path / "absent", {}) == S3Access()


# — backups —


@pytest.fixture
def filled(connection: Connection) -> Connection:
    for name, mark in (("Kaya", "X"), ("Demir", "Y")):
        fill(Shop.open(connection, name), mark)
    return connection


def made(url: str, bucket: Bucket, now: datetime = NOW) -> str:
    return make_backup(url, bucket, now=now, key=KEY, master_key=None, tick=no_tick).name


@pytest.mark.usefixtures("filled")
def test_a_backup_is_kept_tried_and_forgotten_there_as_in_a_folder(
    bucket: Bucket, server: BucketServer, database_url: str
) -> None:
    for day in (10, 11, 12):
        server.objects[f"hub/one/meschain-202601{day}T030000Z.backup"] = b"old"
    name = made(database_url, bucket)
    assert backups_in(bucket)[0].name == name
    gone = forget(bucket, BackupPlan(keep_daily=2, keep_weekly=1, keep_monthly=1), NOW)
    assert len(gone) == 2
    assert len(backups_in(bucket)) == 2
    proof = prove(database_url, bucket, name, now=NOW, key=KEY, tick=no_tick)
    assert proof.rows > 80
    assert read_proof(bucket) is None
    write_proof(bucket, proof)
    assert read_proof(bucket) == proof
    write_proof(bucket, Proof(NOW, name, 0, "broken"))
    found = read_proof(bucket)
    assert found is not None
    assert found.problem == "broken"


def test_commands_save_to_a_bucket_and_try_what_lies_there(
    server: BucketServer,
    connection: Connection,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a file with the credentials, on the way a scheduled backup goes too."""
    Shop.open(connection)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    for name in server.environment():
        monkeypatch.delenv(name, raising=False)
    place = f"s3://{server.bucket}/hub"
    (tmp_path / "settings.toml").write_text(f'[backup]\nfolder = "{place}"\n')

    def said(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(root, words)
        assert result.exit_code == status, result.output
        assert server.secret not in result.output
        return result.stdout if "--json" in words else result.output

    assert str(tmp_path / "s3.toml") in said("backup", status=1)
    (tmp_path / "s3.toml").write_text(
        f'endpoint = "{server.url}"\nregion = "{server.region}"\n'
        f'access_key_id = "{server.key_id}"\nsecret_access_key = "{server.secret}"\n'
    )
    (tmp_path / "s3.toml").chmod(0o644)
    file = json.loads(said("backup", "--scheduled", "--json"))["file"]
    assert file.startswith(f"{place}/meschain-2")
    assert sorted(server.objects) == sorted(
        [file.removeprefix(f"s3://{server.bucket}/"), "hub/self-test.json"]
    )
    assert "good" in said("restore", "--test", file)
    assert Path(file).name in said("restore", place, status=1)
    assert "not there" in said("restore", "--test", f"{place}/meschain-x.backup", status=1)
    findings = {
        each["kind"]: each for each in json.loads(said("doctor", "--json", status=1))["findings"]
    }
    assert findings["backup"]["subject"] == file
    assert "credentials_open" in findings
    assert not {"backup_away", "backup_same_disk", "backup_untested"} & findings.keys()
    server.fault = refuse
    findings = {
        each["kind"]: each for each in json.loads(said("doctor", "--json", status=1))["findings"]
    }
    assert "AccessDenied" in findings["backup_away"]["what"]


def refuse(_: str) -> None:
    raise Refused(403, "AccessDenied", "no")


@pytest.mark.usefixtures("filled")
def test_everything_comes_back_from_a_bucket_in_another_database(
    bucket: Bucket, database_url: str
) -> None:
    name = made(database_url, bucket)
    before = content(database_url)
    with bucket.reading(name) as file, scratch(database_url, file, KEY) as loaded:
        assert content(loaded.conninfo) == before
