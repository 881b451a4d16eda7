"""What `benchmarks/gpu_check.py` and `benchmarks/gpu_evidence.py` are made of."""
