"""Records of GPUs become tables; without any the page says so."""

from typing import Any

from docs_tools.gpu_tables import NOT_YET, tables

SPREAD = {"median": 0.5, "min": 0.4, "max": 0.6}
GPU = {"device": "NVIDIA H200", "network": "CNV_4W4A", "width": 1.0, "batch_size": 100, "precision": "fast"}


def check(network: str, name: str, passed: bool, device: str = "NVIDIA H200") -> dict[str, Any]:
    checks = [{"check": name, "passed": passed, "detail": ""}]
    return {"benchmark": "gpu_check", "device": device, "network": network, "checks": checks}


def test_there_are_no_tables_without_a_gpu() -> None:
    epoch = {"benchmark": "epoch", "device": "cpu"}
    assert tables([]) == NOT_YET
    assert tables([epoch, check("CNV_1W1A", "bits", True, "cpu"), {"benchmark": "data"}]) == NOT_YET


def test_the_last_verdict_of_each_check_counts() -> None:
    records = [
        check("A", "bits", False),
        check("A", "bits", True),
        check("B", "bits", False),
        check("B", "memory", True),
    ]
    records.append({"benchmark": "gpu_check", "device": "NVIDIA H200", "network": "C", "skipped": "no time is left"})
    text = tables(records)
    assert text == "NVIDIA H200: 2 of 3 checks of `make gpu-check` passed; failed: B bits."


def test_validations_are_rows_and_say_where_nothing_was_captured() -> None:
    times = {"captured": SPREAD, "kernel by kernel": SPREAD}
    about = {"benchmark": "validation", **GPU, "images": 5000, "times": times}
    captured = about | {"captured": True, "why_not": None, "batch_size": 2500}
    plain = about | {"network": "OWN", "captured": False, "why_not": "the batch reads", "batch_size": 2500}
    text = tables([captured, plain])
    assert "| NVIDIA H200 | CNV_4W4A | 5,000 | 2,500 | 0.50 [0.40..0.60] | 0.50 [0.40..0.60] |" in text
    assert "| NVIDIA H200 | OWN | 5,000 | NOT CAPTURED: the batch reads |" in text


def test_epochs_and_profiles_are_rows() -> None:
    epoch = {"benchmark": "epoch", **GPU, "compile": True, "images": 45_000, "epoch_s": SPREAD, "first_epoch_s": 9.0}
    epoch["epoch_without_validation_s"] = SPREAD
    profile = {
        **{"benchmark": "profile", **GPU, "width": 10.0, "compile": False, "captured": False, "step_us": 1234.5},
        **{"kernels": 300.0, "busy_us": 900.0, "gaps_us": 300.0, "megabytes": 1922.0, "bytes_us": 450.0},
        **{"gflop": 35.0, "products_us": 45.0, "most": [{"name": "a|b", "calls": 1.0, "us": 99.0}]},
    }
    ceilings = {"benchmark": "ceilings", "device": "NVIDIA H200", "copy_gb_per_s": 4300.0}
    ceilings |= {"float32_tflop_per_s": 50.0, "tf32_tflop_per_s": 400.0, "bfloat16_tflop_per_s": 790.0}
    text = tables([epoch, profile, ceilings])
    assert "| NVIDIA H200 | CNV_4W4A | 100 | fast, compiled | 0.50 [0.40..0.60] | 0.50 [0.40..0.60] | 9.0 |" in text
    assert (
        "| CNV_4W4A width 10 | 100 | fast | NO | 1,234 | 300 | 900 | 300 | 1,922 MB: 450 | 35 GFLOP: 45 | a\\|b: 99 |"
        in text
    )
    assert "a large copy moves 4,300 GB/s" in text
