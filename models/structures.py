"""The numbers that tell networks of one structure apart; no torch here."""

# TFC, SFC and LFC of the FINN paper: features of a hidden layer.
FULLY_CONNECTED = {"TFC": 64, "SFC": 256, "LFC": 1024}

# Xilinx/finn, notebooks/end2end_example/cybersecurity: 593 bits of UNSW-NB15, which FINN's build pads to 600.
UNSW_FEATURES = 600
UNSW_HIDDEN = (64, 64, 64)
UNSW_DROPOUT = 0.5
# Xilinx/finn-examples, build/kws, trained as in mlcommons/tiny_results_v0.7: 10 MFCCs of 49 windows.
KWS_FEATURES = 490
KWS_HIDDEN = (256, 256, 256)
KWS_DROPOUT = 0.1

POOL = "M"
VGG11_STAGES = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)
# "VGG-small" of LQ-Nets (arXiv 1807.10029) and the binary networks after it.
VGG_SMALL_STAGES = (128, 128, POOL, 256, 256, POOL, 512, 512, POOL)
IMAGENET_HIDDEN = (4096, 4096)
