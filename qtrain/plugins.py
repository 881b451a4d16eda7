"""Where names come from beside qtrain's own: installed packages, which add rows by entry points.

Networks, data sets, schedulers and boards are each a ``Registry``: the built-in rows, and what installed packages add
under its group. A package does so in its ``pyproject.toml``, and no file of qtrain changes::

    [project.entry-points."qtrain.schedulers"]
    polynomial = "my_package.polynomial:POLYNOMIAL"

Nothing of a package is imported before its name is asked for or all rows are, and a built-in name is always qtrain's.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import extract_tb
from typing import Any, Generic, TypeVar

from qtrain.errors import UserError, did_you_mean, is_out_of_files

_MEND = "mend or uninstall that package"

Row = TypeVar("Row")


class Registry(Generic[Row]):
    """A table of named rows, which installed packages extend.

    Args:
        what: one row in words, as in ``scheduler``, for the errors.
        group: of the entry points, as in ``qtrain.schedulers``; the entry point's name is the row's.
        kind: the type that each row has.
        built_in: qtrain's own rows by name.
        naming: a regular expression that a package's name must match in full, and the same in words.

    Attributes:
        built_in: the rows as given.
    """

    def __init__(
        self,
        what: str,
        group: str,
        kind: type[Row],
        built_in: Mapping[str, Row],
        naming: tuple[str, str] = (".+", "some text"),
    ):
        self.built_in: Mapping[str, Row] = dict(built_in)
        self._what = what
        self._group = group
        self._kind = kind
        self._naming = naming
        self._loaded: dict[str, Row] = {}
        self._packages: dict[str, str] = {}
        self._warned: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """Return every name that can be asked for, the built-in ones first; nothing is imported.

        A name that packages may not have, or that two of them have, is left out and warned of once.
        """
        found = []
        for name, entries in self._offers().items():
            if problem := self._problem(name, entries):
                self.warn(problem)
            else:
                found.append(name)
        return (*self.built_in, *found)

    def __contains__(self, name: object) -> bool:
        """Whether somebody has a row of this name, which may be broken; nothing is imported."""
        return isinstance(name, str) and (name in self.built_in or name in self._loaded or name in self._offers())

    def check(self, name: object) -> None:
        """See that there is a row of this name; nothing is imported.

        Raises:
            UserError: there is none, or several packages have one.
        """
        if not (isinstance(name, str) and (name in self.built_in or name in self._loaded)):
            self._entry(name)

    def get(self, name: str) -> Row:
        """Return the row of this name.

        Raises:
            UserError: there is none, several packages have one, or its package is broken.
        """
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._loaded:
            entry = self._entry(name)
            self._packages[name] = _package(entry)
            row = self._imported(entry)
            if not isinstance(row, self._kind):
                wanted = f"{self._kind.__module__}.{self._kind.__qualname__}"
                found = type(row).__name__
                raise UserError(f"{self.origin(name)} must be a {wanted}, but {entry.value} is of type {found}")
            self._loaded[name] = row
        return self._loaded[name]

    def find(self, name: str) -> Row | None:
        """Return the row of this name, None where there is none; a broken one counts as none and is warned of once."""
        if name not in self:
            return None
        try:
            return self.get(name)
        except UserError as error:
            self.warn(str(error))
            return None

    def rows(self) -> dict[str, Row]:
        """Return all rows by name, the built-in ones first; a broken one is left out and warned of once."""
        found = {name: self.find(name) for name in self.names()}
        return {name: row for name, row in found.items() if row is not None}

    def load(self, name: str, reference: str) -> Any:
        """Import what the row of this name refers to; who took a built-in name, and is not used, is warned of once.

        Args:
            name: of a row that was asked for before.
            reference: ``module:name``, as in an entry point.

        Raises:
            UserError: the package that the row comes from does not let it be imported.
        """
        offers = self._offers() if name in self.built_in else {}
        if name in offers:
            self.warn(self._problem(name, offers[name]))
        return self._imported(EntryPoint(name, reference, self._group))

    @contextmanager
    def blaming(self, name: str) -> Iterator[None]:
        """Inside, what a package's code raises becomes one line that names the package.

        An error of a user passes as it is, and so does everything that comes from a built-in row.

        Args:
            name: of the row whose code is called; it was asked for before.

        Raises:
            UserError: the package's code failed; the cause is kept for a traceback.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # whatever somebody else's code does
            if name in self.built_in or is_out_of_files(error):
                raise
            last = extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            raise UserError(f"{self.origin(name)} failed in {where} ({_reason(error)}); {_MEND}") from error

    def origin(self, name: str) -> str:
        """Say what a row is and which package it comes from, for an error's beginning."""
        package = self._packages.get(name)
        return f"{self._what} {name}" + (f" of the package {package}" if package else "")

    def hint(self, name: object) -> str:
        """Return the closest name as the end of an error, nothing where none is close; case does not count."""
        return did_you_mean(name, self.names())

    def warn(self, line: str) -> None:
        """Warn of something once."""
        if line not in self._warned:
            self._warned.add(line)
            warnings.warn_explicit(line, UserWarning, "qtrain", 0)  # one line: no source stands behind it

    def _offers(self) -> dict[str, list[EntryPoint]]:
        """What the installed packages offer now, by name; looked up anew, as a notebook may install one meanwhile."""
        offers: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self._group):
            offers.setdefault(entry.name, []).append(entry)
        return offers

    def _problem(self, name: str, entries: list[EntryPoint]) -> str:
        """Say why packages' rows of this name cannot be used, nothing where one can."""
        packages = ", ".join(_package(entry) for entry in entries)
        if name in self.built_in:
            return f"{self._what} {name} of the package {packages} is not used: qtrain has its own of this name"
        if len(entries) > 1:
            return f"{self._what} {name} is in several installed packages ({packages}); uninstall all but one of them"
        pattern, words = self._naming
        if not re.fullmatch(pattern, name):
            return f"{self._what} {name} of the package {packages} is not used: its name must be {words}"
        return ""

    def _entry(self, name: object) -> EntryPoint:
        """The entry point of a name that is not built in."""
        entries = self._offers().get(name, []) if isinstance(name, str) else []
        if not entries:
            names = ", ".join(self.names())
            raise UserError(f"{self._what} must be one of {names}, but got {name!r}{self.hint(name)}")
        if problem := self._problem(str(name), entries):
            raise UserError(problem)
        return entries[0]

    def _imported(self, entry: EntryPoint) -> Any:
        if entry.name in self.built_in:
            return entry.load()
        try:
            return entry.load()
        except (Exception, SystemExit) as error:  # whatever somebody else's module does when it is imported
            if is_out_of_files(error):
                raise
            where = f"{self.origin(entry.name)} cannot be loaded from {entry.value}"
            raise UserError(f"{where} ({_reason(error)}); {_MEND}") from error


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]
