"""Named objects in a folder or in an S3-compatible bucket: whole, immutable, listed by prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from domain.errors import NotFound, SettingsError, StorageError, StorageUnavailable
from storage.durable_files import translate_os_error, write_durably

_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9._\-/=]{1,512}")


class Objects(Protocol):
    """Where objects are kept. Names look like `blobs/ab12.pack`; every method raises StorageError or a child of it."""

    def put(self, name: str, content: bytes) -> None:
        """Store an object durably, in place of one of that name."""
        ...

    def get(self, name: str) -> bytes:
        """Return an object; raises NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the names that begin so, in order, each with a text that changes when the object does."""
        ...

    def delete(self, name: str) -> None:
        """Take an object away, if it is there."""
        ...


class FolderObjects:
    """Objects as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, content: bytes) -> None:
        write_durably(self._path(name), content)

    def get(self, name: str) -> bytes:
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(f"There is no object {name}.") from exc
        except OSError as exc:
            raise translate_os_error(exc, path) from exc

    def list(self, prefix: str) -> Iterator[tuple[str, str]]:
        start = self._folder / prefix if prefix[-1:] in ("", "/") else (self._folder / prefix).parent
        for path in sorted(start.rglob("*")) if start.is_dir() else ():
            name = path.relative_to(self._folder).as_posix()
            if name.startswith(prefix) and _NAME.fullmatch(name) and path.is_file() and not path.name.startswith("."):
                facts = path.stat()
                yield name, f"{facts.st_size}-{facts.st_mtime_ns}"

    def delete(self, name: str) -> None:
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise translate_os_error(exc, path) from exc

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name.startswith("/"):
            raise StorageError(f"{name[:80]!r} is not the name of an object.")
        return self._folder / name


class S3Objects:
    """Objects in a bucket of S3, MinIO or anything that speaks its protocol. Needs the extra `s3`."""

    def __init__(self, bucket: str, prefix: str = "", *, endpoint: str = "", region: str = "") -> None:
        try:
            import boto3
            import botocore.exceptions
        except ImportError as exc:
            raise SettingsError("S3 needs boto3: install the extra `s3` (pip install 'causegraph[s3]').") from exc
        self._errors = botocore.exceptions
        self._bucket = bucket
        self._prefix = prefix
        self._client: Any = boto3.client("s3", endpoint_url=endpoint or None, region_name=region or None)

    def put(self, name: str, content: bytes) -> None:
        self._ask(name, lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content))

    def get(self, name: str) -> bytes:
        def read() -> bytes:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read())

        return bytes(self._ask(name, read))

    def list(self, prefix: str) -> Iterator[tuple[str, str]]:
        token: dict[str, str] = {}
        while True:
            asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **token}
            page = self._ask(prefix, lambda asked=asked: self._client.list_objects_v2(**asked))
            for held in page.get("Contents", ()):
                yield held["Key"][len(self._prefix) :], f"{held['Size']}-{held['ETag']}"
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, name: str) -> None:
        self._ask(name, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(name)))

    def _key(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise StorageError(f"{name[:80]!r} is not the name of an object.")
        return self._prefix + name

    def _ask(self, name: str, call: Any) -> Any:
        try:
            return call()
        except self._errors.ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code in ("NoSuchKey", "404"):
                raise NotFound(f"There is no object {name}.") from exc
            raise StorageError(f"S3 refused {name} in bucket {self._bucket}: {exc}") from exc
        except self._errors.BotoCoreError as exc:
            raise StorageUnavailable(f"S3 cannot be reached for bucket {self._bucket}: {exc}") from exc


def open_objects(address: str, *, endpoint: str = "", region: str = "") -> Objects:
    """Return the objects at `s3://bucket/prefix` or in a folder."""
    if not address.startswith("s3://"):
        return FolderObjects(Path(address))
    parts = urlsplit(address)
    if not parts.netloc:
        raise SettingsError(f"{address!r} names no bucket: it must look like s3://bucket or s3://bucket/prefix.")
    prefix = parts.path.strip("/")
    return S3Objects(parts.netloc, f"{prefix}/" if prefix else "", endpoint=endpoint, region=region)
