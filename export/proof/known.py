"""The test splits of qtrain's data sets, which it knows by their checksums."""

# By ``digests.test_digest``: every image and label of the test split, in its order.
TEST_SPLITS: dict[str, str] = {
    "a123663818e5dcd242b49f1e54300ce64932e5fa8f497a20024e690dda551095": "digits",
    "24b63ef0f7c8387559fc753f07ee918399f4350d2ab9196ade015c1b77f558af": "cifar10",
    "185f6c6ee0fdacacbcc20c8ccc22c5fdf9f912d2bb63c8e4349cd3f375198333": "cifar100",
}
