"""Keys to sign folders with."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def ssh_key(path: Path) -> tuple[Path, str]:
    """Make a key without a passphrase; return its file and its line for a file of allowed signers."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path, path.with_suffix(".pub").read_text()
