"""A signature over the manifest, by the tools themselves: made, checked, and refused in one line."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.export import ProofError
from qtrain.export.folder.signing import check_key, check_signature, drop, sign
from tests.checks import check_refusal, tree
from tests.keys import needs_ssh, ssh_key

needs_minisign = pytest.mark.skipif(shutil.which("minisign") is None, reason="needs minisign")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a manifest, which is all that is signed."""
    (tmp_path / "finn").mkdir()
    (tmp_path / "finn" / "manifest.json").write_text("{}\n")
    return tmp_path / "finn"


@needs_ssh
def test_a_signature_names_its_signer_and_no_other_counts(folder: Path, tmp_path: Path) -> None:
    key, public = ssh_key(tmp_path / "alice")
    _, other = ssh_key(tmp_path / "bob")
    signers, others = tmp_path / "signers", tmp_path / "others"
    signers.write_text(f"alice@lab {public}")
    others.write_text(f"bob@lab {other}")
    assert str(check_signature(folder)) == "unsigned"
    with pytest.raises(ProofError, match="is unsigned, and a signature by one of"):
        check_signature(folder, signers)
    assert sign(folder, key).name == "manifest.json.sig"
    sign(folder, key)  # anew, over the old one
    found = check_signature(folder, signers)
    assert found.checked
    assert str(found).startswith("signed by alice@lab with ED25519 key SHA256:")
    unnamed = check_signature(folder)
    assert not unnamed.checked
    assert "signed by ED25519 key SHA256:" in str(unnamed)
    with pytest.raises(ProofError, match=r"is signed with ED25519 key SHA256:.*, which .*others does not allow"):
        check_signature(folder, others)
    (folder / "manifest.json").write_text("{} \n")
    for allowed in (signers, None):
        with pytest.raises(ProofError, match=r"is no signature of this manifest\.json"):
            check_signature(folder, allowed)
    assert drop(folder)
    assert not drop(folder)


@needs_ssh
def test_a_signature_made_for_something_else_does_not_count(folder: Path, tmp_path: Path) -> None:
    key, _ = ssh_key(tmp_path / "alice")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "git", str(folder / "manifest.json")]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ProofError, match="is no signature"):
        check_signature(folder)


@needs_ssh
def test_wrong_keys_and_signers_are_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "nonsense").write_text("no key\n")
    with pytest.raises(UserError, match=r"nonsense cannot sign \(.+\); --sign takes a private key"):
        check_key(tmp_path / "nonsense")
    with pytest.raises(UserError, match="is no file; --sign takes"):
        check_key(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no file; --signers takes"):
        check_signature(folder, tmp_path / "nowhere")
    key, _ = ssh_key(tmp_path / "alice")
    sign(folder, key)
    with pytest.raises(ProofError, match="does not allow"):
        check_signature(folder, tmp_path / "nonsense")
    (folder / "manifest.json.sig").write_text("nonsense\n")
    with pytest.raises(ProofError, match="is no signature"):
        check_signature(folder)
    (folder / "manifest.json.minisig").write_text("nonsense\n")
    with pytest.raises(ProofError, match="has two signatures"):
        check_signature(folder)


@needs_minisign
def test_minisign_signs_and_checks_too(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        files = ["-p", str(tmp_path / f"{name}.pub"), "-s", str(tmp_path / f"{name}.key")]
        subprocess.run(["minisign", "-G", "-W", *files], check=True, capture_output=True)
    assert sign(folder, tmp_path / "a.key").name == "manifest.json.minisig"
    assert str(check_signature(folder, tmp_path / "a.pub")) == "signed by the minisign key a.pub"
    assert not check_signature(folder).checked
    with pytest.raises(ProofError, match=r"is no signature of this manifest\.json by .*b\.pub"):
        check_signature(folder, tmp_path / "b.pub")
    signers = tmp_path / "signers"
    signers.write_text("alice@lab ssh-ed25519 AAAA\n")
    with pytest.raises(ProofError, match="is no file of signers for"):
        check_signature(folder, signers)


def test_without_the_tool_the_line_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "key").write_text("a private key\n")
    (tmp_path / "mini").write_text("untrusted comment: minisign secret key\n")
    with pytest.raises(UserError, match=r"ssh-keygen is not installed.*install openssh-client"):
        sign(folder, tmp_path / "key")
    with pytest.raises(UserError, match=r"minisign is not installed.*install minisign"):
        sign(folder, tmp_path / "mini")
    (folder / "manifest.json.sig").write_text("a signature\n")
    with pytest.raises(UserError, match="ssh-keygen is not installed"):
        check_signature(folder)


@needs_ssh
def test_a_signature_is_required_and_a_wrong_key_heard_of_before_the_export(
    proven: Path, finn: Path, cli: Callable
) -> None:
    key, public = ssh_key(Path("alice").resolve())
    Path("signers").write_text(f"alice@lab {public}")
    check_refusal(cli("verify", "finn", "--signers", "signers"), 3, "finn is unsigned")
    sign(finn, key)
    outcome = cli("verify", "finn", "--signers", "signers")
    assert (outcome.status, outcome.err) == (0, "")
    assert "finn: signed by alice@lab with ED25519" in outcome.out
    before = tree(Path.cwd())
    Path("nonsense").write_text("no key\n")
    check_refusal(cli("export", proven.parent / "run", "--out", "new", "--sign", "nonsense"), 2, "nonsense cannot sign")
    Path("nonsense").unlink()
    assert tree(Path.cwd()) == before
