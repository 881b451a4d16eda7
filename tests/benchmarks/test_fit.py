"""The benchmark of fits: each cell of a sweep meets the best network of the fit that is no larger."""

from typing import Any

from benchmarks.fit import compared
from qtrain.records.fit import Candidate, CandidatesFile


def candidate(name: str, lut: int, accuracy: float) -> Candidate:
    used = {"LUT": lut, "BRAM_18K": 1, "URAM": 0, "DSP": 0}
    known: dict[str, Any] = {"round": 1, "bits": {}, "folding": {}, "predicted": {}, "bound": 1.0, "state": "done"}
    return Candidate(name=name, used=used, validation_accuracy=accuracy, test_accuracy=accuracy - 2, **known)


def row(bits: int, accuracy: float) -> dict[str, Any]:
    return {"weight_bits": bits, "act_bits": bits, "validation_accuracy": accuracy, "test_accuracy": accuracy - 1}


def test_a_cell_meets_the_most_accurate_network_that_is_no_larger() -> None:
    others = (
        candidate("small", 100, 80.0),
        candidate("as good", 190, 90.0),
    )  # of equal ones the smallest, as fit has it
    found = CandidatesFile(candidates=(candidate("large", 200, 90.0), *others))
    luts = {"1W1A": 90, "2W2A": 150, "4W4A": 200}  # FINN does not take the widest
    pairs = compared([row(1, 70.0), row(2, 75.0), row(4, 85.0), row(8, 95.0)], luts, found)
    assert [(pair["cell"], pair["fit"], pair["fit_test"]) for pair in pairs] == [
        ("1W1A", None, None),
        ("2W2A", "small", 78.0),
        ("4W4A", "as good", 88.0),
    ]
    assert pairs[2]["sweep_test"] == 84.0
