"""Opens a ZIP from a stranger: names, sizes and offsets are checked before anything is unpacked.

Python's zipfile believes what an archive says of itself. Here an archive is refused as a whole if
it is damaged, locked, a bomb, or tells two stories. Knows nothing of what the files mean.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from almanac_pipeline.errors import ImportFileError

MAX_ENTRIES = 10_000
# Text of this kind packs to a fifth; the most that deflate can do is a thousandth.
MAX_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 1_000_000
CHUNK_BYTES = 1_000_000

_END_OF_DIRECTORY = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_KIND_OF_FILE, _SYMLINK = 0o170000, 0o120000
# Everything that zipfile and its decompressors are known to raise on damaged input.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,  # zipfile's word for a packing method or a version of the format it cannot read
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)


class Archive:
    """A checked archive of at most `max_bytes` unpacked; its files by path, as they are spelled."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive = archive
        self._entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        self._left = max_bytes

    @property
    def paths(self) -> list[str]:
        """The paths of all files in it."""
        return list(self._entries)

    @property
    def newest_at(self) -> datetime | None:
        """The newest time stamp of a file in it, taken for UTC: a ZIP does not say in which zone it is."""
        stamps = []
        for info in self._entries.values():
            try:
                stamps.append(datetime(*info.date_time, tzinfo=UTC))
            except ValueError:
                continue  # a month 0 or a day 31 of February
        return max(stamps, default=None)

    def read(self, path: str, called: str) -> bytes:
        """The bytes of one file. What is unpacked is counted, whatever the archive states.

        Messages say `called` in place of the path, which may name somebody.

        Raises:
            ImportFileError: it is damaged, or too large.
        """
        chunks = []
        with _saying_what_is_damaged(called), self._archive.open(self._entries[path]) as file:
            while chunk := file.read(CHUNK_BYTES):
                self._left -= len(chunk)
                if self._left < 0:
                    raise _too_large()
                chunks.append(chunk)
        return b"".join(chunks)


@contextmanager
def open_archive(body: bytes, *, max_bytes: int) -> Iterator[Archive]:
    """Check the ZIP in `body` and yield it.

    Raises:
        ImportFileError: it is no ZIP, damaged, locked with a password, too large, or not to be trusted.
    """
    _check_end(body)
    with _saying_what_is_damaged("The ZIP"):
        opened = zipfile.ZipFile(io.BytesIO(body))
    with opened as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise _too_many()
        _check_sizes(entries, max_bytes)
        for info in entries:
            _check_entry(info)
        if len({info.filename.lower() for info in entries}) < len(entries):
            raise _hostile("two of its files have the same name")
        _check_offsets(body, entries, archive.start_dir)
        yield Archive(archive, max_bytes)


def _check_end(body: bytes) -> None:
    """Refuse what is no ZIP, and a directory too long to be read, before zipfile reads it."""
    if not body:
        raise ImportFileError("The file is empty. Download the export again.")
    if not body.strip(b"\0"):
        raise ImportFileError("The file consists of NUL bytes: a damaged copy. Download the export again.")
    end = body.rfind(_END_OF_DIRECTORY, max(len(body) - 66_000, 0))
    if end < 0 or len(body) < end + 22:
        if body.startswith(b"PK\x03\x04"):
            raise ImportFileError("The ZIP is truncated: its end is missing. Download the export again.")
        raise ImportFileError(
            "The file is no ZIP. Give the ZIP as letterboxd.com/settings/data hands it out."
        )
    count, size = struct.unpack_from("<HI", body, end + 10)
    is_zip64 = body[max(end - 20, 0) : end].startswith(_ZIP64_LOCATOR)
    if is_zip64 or count > MAX_ENTRIES or size > MAX_ENTRIES * 500:
        raise _too_many()


def _check_sizes(entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    sizes = [(info.file_size, info.compress_size) for info in entries]
    total = sum(unpacked for unpacked, _ in sizes), sum(packed for _, packed in sizes)
    if total[0] > max_bytes:
        raise _too_large()
    # Each on its own too, or a file that packs badly would hide one that packs too well.
    for unpacked, packed in (total, *sizes):
        if unpacked > RATIO_COUNTS_FROM_BYTES and unpacked > MAX_RATIO * packed:
            raise _hostile(f"it unpacks to more than {MAX_RATIO} times its size")


def _check_entry(info: zipfile.ZipInfo) -> None:
    if not info.filename:
        raise _damaged("The ZIP")
    parts = info.filename.split("/")
    if info.filename.startswith("/") or ".." in parts or "\\" in info.filename or ":" in parts[0]:
        raise _hostile("a file in it wants to lie outside of it")
    if (info.external_attr >> 16) & _KIND_OF_FILE == _SYMLINK:
        raise _hostile("it holds a link to another file")
    if info.flag_bits & _ENCRYPTED:
        raise ImportFileError("The ZIP is protected by a password. Unpack it and pack it again without one.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImportFileError(
            "The ZIP is packed by a method that exports do not use. Give the export as it was downloaded."
        )


def _check_offsets(body: bytes, entries: list[zipfile.ZipInfo], start_of_directory: int) -> None:
    """Refuse entries that share bytes: the same data, unpacked many times, is the smallest bomb."""
    end_of_previous = 0
    for info in sorted(entries, key=lambda entry: entry.header_offset):
        start = info.header_offset
        if start < end_of_previous:
            raise _hostile("files in it overlap")
        if start + _LOCAL_HEADER.size > len(body):
            raise _damaged("The ZIP")
        signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(body, start)
        if signature != b"PK\x03\x04":
            raise _damaged("The ZIP")
        end_of_previous = start + _LOCAL_HEADER.size + name_length + extra_length + info.compress_size
    if end_of_previous > start_of_directory:
        raise _hostile("files in it overlap")


@contextmanager
def _saying_what_is_damaged(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED:
        # Not their message: it may quote the file.
        raise _damaged(what) from None


def _damaged(what: str) -> ImportFileError:
    return ImportFileError(f"{what} is damaged and cannot be unpacked. Download the export again.")


def _hostile(reason: str) -> ImportFileError:
    return ImportFileError(f"The ZIP is refused: {reason}. Give the export as it was downloaded.")


def _too_many() -> ImportFileError:
    return ImportFileError(
        f"The ZIP holds more than {MAX_ENTRIES:,} files, which no export does. "
        "Give the export as it was downloaded."
    )


def _too_large() -> ImportFileError:
    return ImportFileError(
        "The ZIP unpacks to more than ALMANAC_IMPORT_MAX_MEGABYTES. "
        "Raise it if the export is really so large."
    )
