"""A proof's numbers as rows, printed on the terminal."""

from qtrain.records.manifest import Proof
from qtrain.report.console import report_console
from qtrain.report.table import print_facts


def proof_rows(proof: Proof) -> list[tuple[str, str]]:
    """Return what was proven and the number, one row each."""
    differs = proof.float32_torch_differs
    rows = [
        ("test images with equal classes", f"{proof.equal} of {proof.images}"),
        ("accuracy of torch, float64", f"{proof.accuracy_torch:.2f} %"),
        ("accuracy of the exported graph", f"{proof.accuracy_graph:.2f} %"),
        ("largest difference of logits", f"{proof.largest_logit_difference:.1e}"),
        ("images whose best logits tie", f"{proof.ties}"),
        ("images that float32 torch classifies otherwise", "not measured" if differs is None else f"{differs}"),
        ("equal classes in qonnx's own executor", f"{proof.qonnx_equal} of {proof.qonnx_images}"),
    ]
    for caveat in proof.caveats:
        rows.append(("the proof leaves open", caveat))
    return rows


def print_proof(proof: Proof) -> None:
    """Print the numbers of a proof."""
    print_facts(proof_rows(proof), report_console())
