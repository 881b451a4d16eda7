"""The mistakes a user can make and mend; the command line shows them as one line with exit status 2."""

import difflib
import errno
from collections.abc import Iterable, Iterator

# What the process itself has run out of: no fault of what was being read, imported or built.
_OWN_LIMITS = (errno.EMFILE, errno.ENFILE)
# What keeps a file from being written whose folder could be written a moment ago.
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class UserError(ValueError):
    """What was given, what is allowed and what to do, in one line."""


def closest(given: object, names: Iterable[str]) -> str:
    """Return the name that ``given`` is most alike, nothing where it is no text or none is close; case is no matter."""
    if not isinstance(given, str):
        return ""
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(given.lower(), lowered, n=1)
    return lowered[close[0]] if close else ""


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """Return the closest name as the end of an error; nothing where none is close."""
    name = closest(given, names)
    return f"; did you mean {name}?" if name else ""


def printable(text: str, keep: str = "") -> str:
    """Return text without what would steer a terminal or is no character: files, and what they hold, may be anything.

    Args:
        text: to be printed.
        keep: characters that stay as they are, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    """Return a character as Python writes it, an escape; a byte of a name that is no UTF-8 as that byte."""
    if 0xDC80 <= ord(letter) <= 0xDCFF:
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def is_out_of_files(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, is that the process may open no more files.

    The dynamic loader says so in the text of an ImportError alone.
    """
    return any(_is_own_limit(each) for each in _with_causes(error))


def _is_own_limit(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _OWN_LIMITS
    return isinstance(error, ImportError) and "Too many open files" in str(error)


def is_of_machine(error: BaseException) -> bool:
    """Whether an error says nothing of what was being worked on: no more files may be opened, or a disk is full."""
    return is_out_of_files(error) or is_out_of_storage(error)


def is_out_of_storage(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, is that a disk is full or takes nothing any more."""
    return any(isinstance(each, OSError) and each.errno in _STORAGE for each in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
