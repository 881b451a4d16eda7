"""The server of qtrain watch: who has not the secret, the host and a reading method gets 403; nothing is written."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from qtrain.records.lock import held_folders
from qtrain.report.watch.server import policy_of, serving
from qtrain.report.watch.state import POINTS, Watched
from tests.checks import check_refusal, tree
from tests.experiments.sweep.sweep_data import write_sweep
from tests.report.runs.run_folders import add_epoch, write_run
from tests.test_start import HEAVY, loaded

SECRET = "a line of a file that is nobody's business"


class Client:
    """Asks a served folder."""

    def __init__(self, address: str):
        parts = urlsplit(address)
        self.port = int(parts.port or 0)
        self.host = f"127.0.0.1:{self.port}"
        self.path = parts.path

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and content of an answer to exactly this request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = {"Host": self.host} | headers
        for name, value in given.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def raw(self, request: bytes) -> bytes:
        """Return all that the server says to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def runs(self) -> dict:
        status, _, content = self.ask(f"{self.path}runs.json")
        assert status == 200
        return json.loads(content)


@contextmanager
def served(folder: Path) -> Iterator[Client]:
    with serving(Watched(folder, held_folders)) as address:
        yield Client(address)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    top = tmp_path_factory.mktemp("watched")
    (top / "secret.txt").write_text(SECRET)
    folder = top / "runs"
    write_run(folder / "a", done=3)
    write_run(folder / "b & c", seed=1)
    (folder / "linked").mkdir()
    (folder / "linked" / "records.jsonl").symlink_to(folder / "a" / "records.jsonl")
    before = tree(top)
    with served(folder) as found:
        yield found
    assert tree(top) == before


def test_the_secret_opens_the_page_and_its_data(client: Client) -> None:
    status, headers, content = client.ask(client.path)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<!DOCTYPE html>" in content
    rows = {Path(row["folder"]).name: row for row in client.runs()["runs"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "a": "stopped",
        "b & c": "finished",
        "linked": "damaged",
    }
    name = rows["b & c"]["folder"]
    status, _, content = client.ask(f"{client.path}curves.json?run={quote(name, safe='')}")
    assert status == 200
    assert json.loads(content)[name]["validation_accuracy"] == [61.0, 62.0, 63.0, 64.0]


def test_the_secret_is_long_and_another_each_time(tmp_path: Path) -> None:
    with served(tmp_path) as one, served(tmp_path) as other:
        assert one.path != other.path
        assert len(one.path.strip("/")) >= 43  # 256 bits
        assert one.ask(other.path)[0] == 403


WITHOUT = [
    "/",
    "/runs.json",
    "/favicon.ico",
    "//",
    "/x/",
    "/{short}/",
    "/{token}x/",
    "/x{token}/",
    "/{upper}/",
    "{token}/",
]


@pytest.mark.parametrize("path", WITHOUT)
def test_without_the_secret_everything_is_403(path: str, client: Client) -> None:
    token = client.path.strip("/")
    given = path.format(token=token, short=token[:-1], upper=token.swapcase())
    check_refused(client.raw(f"GET {given} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()))


INSIDE = [
    *("..", "../", "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "a/records.jsonl", "/etc/passwd", "?x"),
    *("runs", "runs.json/", "runs.json?x=1", "curves.json", "curves.json?", "curves.json?run", "curves.json?folder=a"),
    *("curves.json?run=a&x=1", "curves.json?" + "&".join(f"run={i}" for i in range(9)), "curves.json?run=%ff"),
]


@pytest.mark.parametrize("path", INSIDE)
def test_behind_the_secret_nothing_else_is_there(path: str, client: Client) -> None:
    check_refused(client.raw(f"GET {client.path}{path} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()))


NAMES = ["../secret.txt", "..", "", "/etc", "{top}", "{top}/a/../b & c", "a\0", "{top}/linked"]


@pytest.mark.parametrize("name", NAMES)
def test_curves_are_looked_up_by_names_that_were_found_and_never_through_a_link(name: str, client: Client) -> None:
    top = str(Path(client.runs()["runs"][0]["folder"]).parent)
    asked = quote(name.format(top=top), safe="")
    status, _, content = client.ask(f"{client.path}curves.json?run={asked}")
    assert SECRET.encode() not in content
    if status == 200:
        assert not any(json.loads(content).values())
    else:
        assert status == 403


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "x" * 300]
)
@pytest.mark.parametrize("path", ["", "runs.json"])
def test_other_methods_are_403_even_with_the_secret(method: str, path: str, client: Client) -> None:
    check_refused(client.raw(f"{method} {client.path}{path} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()))


def test_head_says_what_get_would_without_its_content(client: Client) -> None:
    status, headers, content = client.ask(client.path, "HEAD")
    assert (status, content) == (200, b"")
    assert headers["Content-Length"] == str(len(client.ask(client.path)[2]))


HOSTS = [
    *("evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1:{port}, evil.example", ""),
    *("127.0.0.1", "127.0.0.1:1", "127.0.0.2:{port}", "[::1]:{port}", "0.0.0.0:{port}", "user@127.0.0.1:{port}"),
]


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_403_so_that_no_rebound_name_reads(host: str, client: Client) -> None:
    status, headers, content = client.ask(f"{client.path}runs.json", Host=host.format(port=client.port))
    assert (status, content) == (403, b"refused\n")
    assert "Access-Control-Allow-Origin" not in headers


def test_no_host_and_two_hosts_are_403(client: Client) -> None:
    line = f"GET {client.path}runs.json HTTP/1.1\r\n"
    check_refused(client.raw(f"{line}\r\n".encode()))
    check_refused(client.raw(f"{line}Host: {client.host}\r\nHost: evil.example\r\n\r\n".encode()))
    check_refused(client.raw(f"{line}Host: evil.example\r\nHost: {client.host}\r\n\r\n".encode()))


def test_localhost_is_this_machine_too(client: Client) -> None:
    assert client.ask(client.path, Host=f"localhost:{client.port}")[0] == 200


@pytest.mark.parametrize(
    "request_line",
    [b"", b"\r\n", b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"/" * 70000],
)
def test_what_is_no_request_tells_nothing(request_line: bytes, client: Client) -> None:
    answer = client.raw(request_line)
    assert not answer or b"refused" in answer
    assert client.ask(client.path)[0] == 200


def test_an_address_in_full_is_no_path_of_ours(client: Client) -> None:
    check_refused(client.raw(f"GET http://{client.host}{client.path} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()))


def test_it_listens_on_this_machine_alone(client: Client) -> None:
    """Every address of 127/8 is this machine; the server is bound to one of them."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", client.port), timeout=5)


def test_the_policy_names_the_very_styles_and_scripts_of_the_page(client: Client) -> None:
    _, headers, content = client.ask(client.path)
    policy = headers["Content-Security-Policy"]
    assert policy == policy_of(content.decode())
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert "http" not in policy
    assert content.count(b"<script") == rules["script-src"].count("sha256-") == 2
    assert content.count(b"<style") == rules["style-src"].count("sha256-")
    assert b"style=" not in content
    assert b" onclick" not in content


def test_nothing_of_an_answer_is_kept_framed_or_told_to_others(client: Client) -> None:
    for path in ("", "runs.json", "nothing"):
        headers = client.ask(f"{client.path}{path}")[1]
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Python" not in headers["Server"]


def test_what_has_not_changed_is_not_sent_again(client: Client) -> None:
    _, headers, _ = client.ask(f"{client.path}runs.json")
    status, _, content = client.ask(f"{client.path}runs.json", If_None_Match=headers["ETag"])
    assert (status, content) == (304, b"")


def check_refused(answer: bytes) -> None:
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 403 ")
    assert content in (b"refused\n", b"")
    assert SECRET.encode() not in answer


# --- What it tells ----------------------------------------------------------------------------------------------------


def test_it_follows_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtrain.report.watch.state.EVERY", 0.0)
    folder = write_run(tmp_path / "a", done=1)
    with served(tmp_path) as client:
        assert client.runs()["runs"][0]["done"] == 1
        add_epoch(folder, 2, loss=float("nan"))
        write_run(tmp_path / "b")
        rows = client.runs()["runs"]
        assert [(row["done"], row["state"]) for row in rows] == [(2, "running?"), (4, "finished")]
        curve = json.loads(client.ask(f"{client.path}curves.json?run={quote(str(folder), safe='')}")[2])[str(folder)]
        assert (curve["epoch"], curve["loss"]) == ([1, 2], [1.0, None])
        (folder / "records.jsonl").write_text("{broken\n")
        assert client.runs()["damaged"]


def test_a_long_curve_is_thinned_and_keeps_its_ends(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", done=2 * POINTS + 3, epochs=5000)
    with served(folder) as client:
        curve = json.loads(client.ask(f"{client.path}curves.json?run={quote(str(folder), safe='')}")[2])[str(folder)]
    assert (curve["epoch"][0], curve["epoch"][-1]) == (1, 2 * POINTS + 3)
    assert len(curve["epoch"]) == len(curve["lr"]) <= POINTS + 1


def test_a_folder_that_is_gone_is_said_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtrain.report.watch.state.EVERY", 0.0)
    write_run(tmp_path / "runs" / "a")
    with served(tmp_path / "runs") as client:
        (tmp_path / "runs").rename(tmp_path / "away")
        assert "is not there" in client.runs()["error"]
        (tmp_path / "away").rename(tmp_path / "runs")
        assert len(client.runs()["runs"]) == 1


def test_a_sweep_is_told_with_its_cells(tmp_path: Path) -> None:
    write_sweep(tmp_path, widths=(1, 2), seeds=(0,))
    with served(tmp_path) as client:
        rows = client.runs()["runs"]
        assert len(rows) == 7
        assert not any(row["curve"] for row in rows)


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    write_run(tmp_path / "a")
    command = [sys.executable, "-W", "ignore", "-m", "qtrain.cli", "watch", str(tmp_path)]
    # a shell's background jobs, which the tests may be, are started deaf to Ctrl-C, and so are their children
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True, preexec_fn=heard)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_the_command_serves_until_ctrl_c(number: int, status: int, watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None
    address = watching.stdout.readline().strip()
    assert "Ctrl-C ends it" in watching.stdout.readline()
    client = Client(address)
    assert len(client.runs()["runs"]) == 1
    watching.send_signal(number)
    out, err = watching.communicate(timeout=30)
    assert (watching.returncode, out, err) == (status, "", "")
    with pytest.raises(ConnectionRefusedError):
        client.runs()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere",), "nowhere is not there"),
        ((".", "--port", "70000"), "port must be 0 to 65535"),
        ((".", "--port", "any"), "port must be a whole number"),
        (("a", "b"), "unrecognized arguments: b"),
    ],
)
def test_what_cannot_be_watched_is_refused(words: tuple[str, ...], says: str, cli: Callable) -> None:
    check_refusal(cli("watch", *words), 2, says)


def test_a_port_that_is_taken_is_refused(tmp_path: Path, cli: Callable) -> None:
    with served(tmp_path) as client:
        check_refusal(cli("watch", tmp_path, "--port", client.port), 2, f"cannot listen on 127.0.0.1:{client.port}")


def test_neither_command_loads_torch_or_matplotlib(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    code = "from qtrain.report.watch.server import serving; from qtrain.report.watch.state import Watched\n"
    code += "from pathlib import Path; from qtrain.records.lock import held_folders; import qtrain.commands.runs\n"
    code += "watched = Watched(Path('.'), held_folders)\nwith serving(watched) as address:\n    watched.runs()\n"
    modules, said = loaded(code, tmp_path)
    assert not said
    assert not modules & HEAVY
    modules, _ = loaded("from qtrain.cli import main; main(['runs'])", tmp_path)
    assert "qtrain.report.runs.read" in modules
    assert not modules & HEAVY
