"""A signature over a folder's manifest, made and checked by the tools that people have: ssh-keygen, or minisign.

The manifest holds the checksum of every other file, so that one signature covers the folder.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from qtrain.errors import UserError
from qtrain.export.errors import ProofError
from qtrain.export.folder.contents import MANIFEST, SIGNATURES
from qtrain.records.files import temporary_folder

NAMESPACE = "qtrain-finn"  # ssh's: a signature made for something else does not count here
_SSH, _MINISIGN = SIGNATURES
_MINISIGN_HEAD = b"untrusted comment:"
_TIMEOUT_S = 300  # a passphrase is typed meanwhile


@dataclass(frozen=True)
class Signature:
    """What is known of a folder's signature.

    Attributes:
        by: whose it is: a name of the file of signers, else the key; None where the folder is unsigned.
        checked: whether the signer is one that the caller named.
    """

    by: str | None
    checked: bool

    def __str__(self) -> str:
        if self.by is None:
            return "unsigned"
        return f"signed by {self.by}" + ("" if self.checked else "; --signers says whether that is one you trust")


def _tool(name: str) -> str:
    if (found := shutil.which(name)) is None:
        package = "openssh-client" if name == "ssh-keygen" else name
        raise UserError(f"{name} is not installed, which makes and checks signatures; install {package}")
    return found


def _run(command: list[str], stdin: bytes | None = None) -> tuple[bool, str]:
    """Run a tool; return whether it succeeded, and its last line."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False, f"no answer in {_TIMEOUT_S} s"
    lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").splitlines()
    words = [line.strip() for line in lines if line.strip() and set(line) - set("@ ")]
    return done.returncode == 0, (words[-1] if words else "it said nothing")[:200]


def _is_minisign(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MINISIGN_HEAD)) == _MINISIGN_HEAD


def _sign(key: Path, file: Path) -> None:
    if not key.is_file():
        raise UserError(f"{key} is no file; --sign takes a private key of ssh-keygen or minisign")
    if _is_minisign(key):
        command = [_tool("minisign"), "-S", "-s", str(key), "-m", str(file), "-x", f"{file}.minisig"]
    else:
        command = [_tool("ssh-keygen"), "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)]
    done, says = _run(command)
    if not done:
        raise UserError(f"{key} cannot sign ({says}); --sign takes a private key of ssh-keygen or minisign")


def check_key(key: Path) -> None:
    """Sign a trifle with a key, so that a wrong one is heard of before an export and not after it.

    Raises:
        UserError: no such key, no tool for it, or the tool's reason.
    """
    with temporary_folder("qtrain-sign-") as temporary:
        trial = temporary / "trial"
        trial.write_bytes(b"trial\n")
        _sign(key, trial)


def sign(folder: Path, key: Path) -> Path:
    """Sign a FINN folder's manifest; return the signature's file.

    Args:
        folder: that ``export_finn`` wrote.
        key: private key of ssh-keygen (or the public one of a key that an agent holds), or of minisign.

    Raises:
        UserError: no such key, no tool for it, or the tool's reason.
    """
    drop(folder)
    _sign(key, folder / MANIFEST)
    return next(folder / name for name in SIGNATURES if (folder / name).is_file())


def drop(folder: Path) -> bool:
    """Take a folder's signature away, whose manifest changes; say whether there was one."""
    there = [folder / name for name in SIGNATURES if (folder / name).is_file()]
    for path in there:
        path.unlink()
    return bool(there)


def check_signature(folder: Path, signers: Path | None = None) -> Signature:
    """Check the signature over a FINN folder's manifest.

    Args:
        folder: FINN folder.
        signers: whose signature is required: an allowed-signers file of ssh-keygen, or a public key of minisign. None
            takes an unsigned folder, and of a signed one checks what can be without it.

    Raises:
        UserError: no such file of signers, or no tool.
        ProofError: the signature is not one of this manifest, or of nobody in ``signers``.
    """
    if signers is not None and not signers.is_file():
        raise UserError(f"{signers} is no file; --signers takes ssh's allowed signers or a public key of minisign")
    there = [name for name in SIGNATURES if (folder / name).is_file()]
    if not there:
        if signers is not None:
            raise ProofError(f"{folder} is unsigned, and a signature by one of {signers} is required")
        return Signature(None, False)
    if len(there) > 1:
        raise ProofError(f"{folder} has two signatures, {' and '.join(there)}; take one of them away")
    if signers is not None and _is_minisign(signers) != (there[0] == _MINISIGN):
        raise ProofError(f"{folder} is signed by {there[0]}, which {signers} is no file of signers for")
    return _ssh_signature(folder, signers) if there[0] == _SSH else _minisign_signature(folder, signers)


def _ssh_signature(folder: Path, signers: Path | None) -> Signature:
    tool = _tool("ssh-keygen")
    signature = str(folder / _SSH)
    manifest = (folder / MANIFEST).read_bytes()
    good, says = _run([tool, "-Y", "check-novalidate", "-n", NAMESPACE, "-s", signature], manifest)
    if not good:
        raise ProofError(f"{folder / _SSH} is no signature of this {MANIFEST} ({says})")
    key = says.partition(" with ")[2] or says
    if signers is None:
        return Signature(key, False)
    found, who = _run([tool, "-Y", "find-principals", "-s", signature, "-f", str(signers)])
    who = who.partition(",")[0]
    if found:
        command = [tool, "-Y", "verify", "-f", str(signers), "-I", who, "-n", NAMESPACE, "-s", signature]
        found, says = _run(command, manifest)
    if not found:
        raise ProofError(f"{folder} is signed with {key}, which {signers} does not allow")
    return Signature(f"{who} with {key}", True)


def _minisign_signature(folder: Path, signers: Path | None) -> Signature:
    if signers is None:
        return Signature("a key of minisign", False)
    command = [_tool("minisign"), "-V", "-p", str(signers), "-m", str(folder / MANIFEST), "-x", str(folder / _MINISIGN)]
    good, says = _run(command)
    if not good:
        raise ProofError(f"{folder / _MINISIGN} is no signature of this {MANIFEST} by {signers} ({says})")
    return Signature(f"the minisign key {signers.name}", True)
