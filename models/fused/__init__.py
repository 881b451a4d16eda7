"""BatchNorm and quantizer as one: integers from a layer's sums in one pass, and the way back in one pass.

Each computation has a plain form, in PyTorch, and a kernel in Triton that does the same; a test holds them to each
other. ``operators`` chooses between them, ``self_check`` sees on the device whether the kernels may be chosen.
"""
