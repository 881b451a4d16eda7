"""What qtrain knows by its checksum: the build files that it has shipped, and the test splits of its data sets."""

# SHA-256 of what earlier versions wrote; those of this version are compared byte by byte.
EARLIER: dict[str, frozenset[str]] = {
    "custom_steps.py": frozenset(
        {
            "73968165b909bcba5099426e924fa8d731bee50214318cc2c3fdf4fc13338e77",
            "659e6670a00e6c7f1429d76c19ece75140da126375ae9e508c6bd8a2c2ae916d",
            "71fe05f501a0ec11bf4595e87383a3f30a1660e58e89862230afcaece25be17d",
            "64c9b120d8a38442aadac98f8fcdb3866eb60b8667b77bcbfd42524d83bd198f",
        }
    ),
    "custom_transforms.py": frozenset(
        {
            "3ed707df2a22ea5545acba20e83e602405005b41b9daa0d064542585e7884f8b",
            "eb305665a25921589be2f59219af9d362387cce80d70e366e21e45a86a5a7e79",
            "750c5ef02a8ea3b74560a498ac75f7d08a11fefdfafc808dc49f5fcc85a436db",
        }
    ),
    "build.py": frozenset(
        {
            "4ac36a010a6e64663977b77e842d9e24642f12205d17556a32b8dffa31b6f0b0",
            "a60c49f81f39f8b4b46d94594214d0b9f27356b558083252ff75ab808e19428b",
        }
    ),
}

# By ``digests.test_digest``: every image and label of the test split, in its order.
TEST_SPLITS: dict[str, str] = {
    "a123663818e5dcd242b49f1e54300ce64932e5fa8f497a20024e690dda551095": "digits",
    "24b63ef0f7c8387559fc753f07ee918399f4350d2ab9196ade015c1b77f558af": "cifar10",
    "185f6c6ee0fdacacbcc20c8ccc22c5fdf9f912d2bb63c8e4349cd3f375198333": "cifar100",
}
