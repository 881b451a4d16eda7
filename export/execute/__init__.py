"""The executor: a QONNX graph in float64 on torch, operator by operator."""
