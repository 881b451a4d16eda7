"""The checksum of a checkpoint: the comment of its zip, which is the SHA-256 of every byte before it.

It lies in the file itself, so that no kill parts the two, and at its end, so that it covers all else; ``torch.load``
and every reader of zips pass it over. Torch checks none of the zip's own checksums.
"""

import hashlib
import io
import struct
import zipfile

_MARK = b"qtrain sha256 "
_SIZE = len(_MARK) + 2 * hashlib.sha256().digest_size
_ZIP = b"PK\3\4"
_END = b"PK\5\6"  # of the record at the end of a zip, whose last two bytes are the comment's length
_END_SIZE = 22


def seal(file: io.BytesIO) -> None:
    """Append the checksum to what ``torch.save`` has written."""
    file.seek(-2, io.SEEK_END)
    file.write(struct.pack("<H", _SIZE))
    with file.getbuffer() as content:
        digest = hashlib.sha256(content).hexdigest()
    file.write(_MARK + digest.encode())


def is_whole(content: bytes) -> bool:
    """Whether a checkpoint is what was written: by its seal, or where an older one has none, by the zip's checksums."""
    end = content[-_SIZE:]
    if end.startswith(_MARK):
        with memoryview(content) as whole:
            return hashlib.sha256(whole[:-_SIZE]).hexdigest().encode() == end[len(_MARK) :]
    last = content[-_END_SIZE:]
    is_zip = content.startswith(_ZIP) and last.startswith(_END) and last.endswith(b"\0\0")
    return is_zip and records_match(content)


def records_match(content: bytes) -> bool:
    """Whether all that a zip holds matches the zip's own checksums; true of what is no zip."""
    if not content.startswith(_ZIP):
        return True
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return file.testzip() is None
    except Exception:  # damaged bytes raise nearly any
        return False
