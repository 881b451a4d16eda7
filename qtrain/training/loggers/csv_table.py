"""A table of the epochs in the run folder, for spreadsheets and pandas."""

import csv
import io
from collections.abc import Sequence

from qtrain.records.files import write_whole, writing
from qtrain.training.loggers.logger import LoggedRun, Logger, Record, epoch_scalars

TABLE = "epochs.csv"


class CsvTable(Logger):
    """Writes ``epochs.csv``: a row an epoch, a column a number; of a resumed run the epochs before it too."""

    def begin(self, run: LoggedRun) -> None:
        """Write the epochs that are known; a new run has no table before its first."""
        self._path = run.folder / TABLE
        self._rows = [epoch_scalars(record) for record in run.epochs]
        self._columns: list[str] = []
        if self._rows:
            self._write_whole()

    def epoch(self, record: Record) -> None:
        """Append a row; where it has a column that the table lacks, write the table anew."""
        row = epoch_scalars(record)
        self._rows.append(row)
        if any(name not in self._columns for name in row):
            self._write_whole()
            return
        with writing(self._path), self._path.open("a", newline="") as file:
            file.write(self._text([row]))

    def _write_whole(self) -> None:
        self._columns = list(dict.fromkeys(name for row in self._rows for name in row))
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow(self._columns)
        write_whole(self._path, (head.getvalue() + self._text(self._rows)).encode())

    def _text(self, rows: Sequence[Record]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()
