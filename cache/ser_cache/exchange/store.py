"""An object store as a place for a cache: names, whole objects, and the conditional PUT that a commit needs, through fsspec."""

from collections.abc import Sequence
from pathlib import Path

from ser_cache.errors import CacheError

CONDITIONAL = ("s3", "s3a", "memory")
"""Protocols whose exclusive create is atomic and tested here."""


class CannotReach(CacheError, OSError):
    """An object store that cannot be used."""

    url: str
    problem: str
    got = "{url} cannot be used as a cache: {problem}."
    next = (
        "Give s3://BUCKET/PREFIX with the usual AWS settings (AWS_PROFILE, AWS_ENDPOINT_URL, ...); S3 needs "
        'pip install "ser-fusion[s3]".'
    )


class Store:
    """A prefix of an object store.

    Args:
        url: ``s3://bucket/prefix``.

    Raises:
        CannotReach: a protocol without a conditional create, or one whose package is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol, found, _ = url.partition("://")
        if not found or protocol not in CONDITIONAL:
            raise CannotReach(url, f"known are {', '.join(f'{name}://' for name in CONDITIONAL)}")
        try:
            import fsspec

            self.files, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError, OSError) as error:
            raise CannotReach(url, str(error)) from error

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, sorted; none if there is none."""
        try:
            found = self.files.ls(f"{self.root}/{folder}", detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rsplit("/", 1)[1] for path in found} - {folder.rsplit("/", 1)[-1]})

    def read(self, path: str) -> bytes:
        """One object; raises FileNotFoundError."""
        return bytes(self.files.cat_file(f"{self.root}/{path}"))

    def create(self, path: str, data: bytes) -> bool:
        """The conditional PUT: True if the object now holds our bytes, also after a lost reply."""
        place = f"{self.root}/{path}"
        try:
            self.files.pipe_file(place, data, mode="create")
        except FileExistsError:
            return self.read(path) == data
        except OSError as error:
            if getattr(error, "errno", None) is None and "PreconditionFailed" not in str(error):
                raise
            return self.read(path) == data
        return True

    def replace(self, path: str, data: bytes) -> None:
        """An ordinary PUT."""
        self.files.pipe_file(f"{self.root}/{path}", data)

    def send(self, local: Path, path: str) -> None:
        """Uploads one file."""
        self.files.put_file(str(local), f"{self.root}/{path}")

    def fetch(self, path: str, local: Path) -> None:
        """Downloads one object."""
        self.files.get_file(f"{self.root}/{path}", str(local))

    def delete(self, paths: Sequence[str]) -> None:
        """Deletes objects; those that are gone are no error."""
        for path in paths:
            try:
                self.files.rm_file(f"{self.root}/{path}")
            except FileNotFoundError:
                continue
