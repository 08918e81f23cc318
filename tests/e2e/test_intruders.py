"""Attacks on Prefect and ingest by another user of this machine, and by web pages in the operator's browser.

All are tried on one installation run by ``streamwave up``.
"""

from __future__ import annotations

import functools
import http.server
import json
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from streamwave.v1 import streamwave_pb2 as pb
from tests.e2e.browser import EVIL, PlayerHarness
from tests.support.http import LOCAL
from tests.support.live import LIMIT_S, Installation
from tests.support.prefect_api import basic
from tests.support.processes import command_line, marked, wait_for

NOBODY = 65534

ATTACK = """
import encodings.idna, json, os, sys, urllib.error, urllib.request
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
for method, url, body in json.loads(sys.argv[2]):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    try:
        print(urllib.request.urlopen(request, timeout=60).status)
    except urllib.error.HTTPError as error:
        print(error.code)
for path in sys.argv[3:]:
    try:
        print(open(path, "rb").read(100))
    except OSError as error:
        print(type(error).__name__)
"""


def ask(running: Installation, method: str, path: str, body: Any = None) -> Any:
    """A request to Prefect's API with the login."""
    url, auth = f"{running.prefect.url}{path}", basic(running.prefect.auth)
    answer = httpx.request(method, url, json=body, auth=auth, timeout=60, **LOCAL).raise_for_status()
    return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def deployment(running: Installation) -> str:
    """Wait for the deployment that the service registers after its start."""
    find = lambda: ask(running, "POST", "/deployments/filter", {})  # noqa: E731
    return str(wait_for(find, "the deployment", LIMIT_S)[0]["id"])


@contextmanager
def page_of(harness: PlayerHarness, address: str) -> Iterator[Page]:
    with harness.page() as page:
        page.set_default_timeout(LIMIT_S * 1000)
        page.goto(address)
        yield page


def seen(page: Page) -> list[int]:
    """Record the status of each response that the page receives."""
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status))
    return statuses


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the attacker's web server."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "index.html").write_text("<!doctype html><title>cats</title>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_another_user_of_this_machine(running: Installation, deployment: str, tmp_path: Path) -> None:
    api = running.prefect.url
    step = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {tmp_path}/made"}}
    state = {"type": "SCHEDULED"}
    attack = [
        ("PATCH", f"{api}/deployments/{deployment}", {"pull_steps": [step]}),
        ("POST", f"{api}/deployments/{deployment}/create_flow_run", {"state": state}),
        ("POST", f"{api}/block_documents/filter", {"include_secrets": True}),
        ("POST", f"{api}/flow_runs/filter", {}),
        ("POST", f"{api}/flow_runs/{deployment}/set_state", {"state": state, "force": True}),
        ("POST", f"{api}/flows/", {"name": "evil"}),
        ("DELETE", f"{api}/deployments/{deployment}", None),
        ("GET", f"{api}/admin/settings", None),
    ]
    processes = [f"/proc/{pid}/environ" for pid in marked(running.cli.mark)]
    files = [str(path) for path in running.settings.prefect_home.glob("*auth*")]
    assert len(files) == 1 and len(processes) > 4
    assert stat.S_IMODE(Path(files[0]).stat().st_mode) == 0o600
    done = subprocess.run(
        [sys.executable, "-I", "-c", ATTACK, str(NOBODY), json.dumps(attack), *files, *processes],
        cwd="/", env={}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    said = done.stdout.split()
    assert said[: len(attack)] == ["401"] * len(attack), done
    assert set(said[len(attack) :]) <= {"PermissionError", "FileNotFoundError"}, done
    assert ask(running, "GET", f"/deployments/{deployment}")["pull_steps"] in (None, [])
    # Other users cannot read the secret: it is in no command line and in no log.
    password = running.prefect.auth.partition(":")[2]
    assert not [pid for pid in marked(running.cli.mark) if password in " ".join(command_line(pid))]
    logs = [running.log, *(running.settings.state_dir / "logs").rglob("*")]
    assert not [path for path in logs if path.is_file() and password in path.read_text(errors="replace")]


CALLS = """
import grpc, os, sys
channel = grpc.insecure_channel(sys.argv[2])
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
for method in sys.argv[4:]:
    name, _, answers = method.partition(":")
    call = channel.unary_stream(name) if answers == "stream" else channel.unary_unary(name)
    try:
        answer = call(b"", timeout=60)
        print("OK", list(answer) if answers == "stream" else answer)
    except grpc.RpcError as error:
        print(error.code().name)
try:
    print(open(sys.argv[3]).read())
except OSError as error:
    print(type(error).__name__)
"""


def test_another_user_and_the_processing_service(running: Installation) -> None:
    service = pb.DESCRIPTOR.services_by_name["StreamProcessing"]
    methods = [
        f"/{service.full_name}/{method.name}:{'stream' if method.server_streaming else ''}"
        for method in service.methods
    ]
    token = running.settings.state_dir / "grpc-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(methods) == 6
    done = subprocess.run(
        [sys.executable, "-I", "-c", CALLS, str(NOBODY), f"127.0.0.1:{running.settings.grpc_port}", str(token), *methods],
        cwd="/", env={}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == [*["UNAUTHENTICATED"] * len(methods), "PermissionError"], done
    assert token.read_text().strip() not in running.log.read_text(errors="replace")


FETCH = """
async ([url, body]) => {
  const found = [];
  const json = {"Content-Type": "application/json", "Authorization": "Basic eDp5"};
  for (const options of [
    {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body},
    {method: "POST", mode: "no-cors", body: new URLSearchParams({name: "x", clientid: "1"})},
    {method: "POST", headers: json, body},
    {method: "PATCH", headers: json, body},
    {method: "GET", mode: "no-cors"},
  ]) {
    try { const answer = await fetch(url, options); found.push(answer.type + " " + answer.status); }
    catch (error) { found.push("failed"); }
  }
  return found;
}
"""
SUBMIT = """
([url]) => {
  const form = Object.assign(document.createElement("form"), {method: "POST", action: url, enctype: "text/plain"});
  form.append(Object.assign(document.createElement("input"), {name: '{"name":"evil","x":"', value: '"}'}));
  document.body.append(form);
  form.submit();
}
"""
SOCKET = """
(url) => new Promise((resolve) => {
  const socket = new WebSocket(url, "prefect");
  socket.onopen = () => resolve("open");
  socket.onclose = () => resolve("closed");
})
"""


@pytest.mark.parametrize("how", ["another origin", "rebinding"])
def test_a_page_in_the_browser_of_the_operator(
    running: Installation, harness: PlayerHarness, elsewhere: int, how: str
) -> None:
    """No request of the page is processed, and it can read no answer: the status is 403, or the browser does not send it."""
    settings = running.settings
    flows = lambda: {flow["id"]: flow["name"] for flow in ask(running, "POST", "/flows/filter", {})}  # noqa: E731
    before = flows()
    for port, path in (
        (settings.prefect_port, "/api/flows/"),
        (settings.ingest_port, "/start-stream"),
        (settings.ingest_port, "/status"),
    ):
        # EVIL resolves to this machine, as with DNS rebinding: for the browser, the page and the server are one origin.
        host = f"127.0.0.1:{port}" if how == "another origin" else f"{EVIL}:{port}"
        origin = f"http://{EVIL}:{elsewhere}/" if how == "another origin" else f"http://{host}/healthz"
        with page_of(harness, origin) as page:
            statuses = seen(page)
            url = f"http://{host}{path}"
            found = page.evaluate(FETCH, [url, json.dumps({"name": "evil"})])
            readable = [answer for answer in found if not answer.startswith(("opaque", "failed"))]
            assert not readable if how == "another origin" else set(readable) == {"basic 403"}, found
            assert statuses and set(statuses) == {403}, (url, statuses)
            assert page.evaluate(SOCKET, f"ws://{host}/api/events/in") == "closed"
            with page.expect_navigation():
                page.evaluate(SUBMIT, [url])
            assert "evil" not in page.content() and set(statuses) == {403}, page.content()
    # By identity and not by name: other tests make flows at the same Prefect server.
    assert flows() == before


def test_grpc_says_nothing_to_web_pages(running: Installation, harness: PlayerHarness, elsewhere: int) -> None:
    port = running.settings.grpc_port
    path = "/streamwave.v1.StreamProcessing/ListStreams"
    with page_of(harness, f"http://127.0.0.1:{elsewhere}/") as page:
        found = page.evaluate(FETCH, [f"http://127.0.0.1:{port}{path}", "\0\0\0\0\0"])
        assert set(found) == {"failed"}
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n"
        connection.sendall(head.encode() + bytes(5))
        said = b""
        while block := connection.recv(4096):
            said += block
    assert not said.startswith(b"HTTP/1")


def test_hosts_and_origins_without_a_browser(running: Installation) -> None:
    settings = running.settings
    for port, path in ((settings.prefect_port, "/api/health"), (settings.ingest_port, "/healthz")):
        url = f"http://127.0.0.1:{port}{path}"
        for headers, status in (
            ({}, 200),
            ({"Host": f"localhost:{port}"}, 200),
            ({"Origin": f"http://127.0.0.1:{port}"}, 200),
            ({"Host": f"{EVIL}:{port}"}, 403),
            ({"Host": f"{EVIL}:{port}", "Origin": f"http://{EVIL}:{port}"}, 403),
            ({"Origin": f"http://127.0.0.1:{settings.media_port}"}, 403),
            ({"Origin": "null"}, 403),
        ):
            assert httpx.get(url, headers=headers, timeout=60, **LOCAL).status_code == status, headers


def test_a_person_logs_in(running: Installation, harness: PlayerHarness) -> None:
    done = running.cli.run("prefect", "login")
    assert done.code == 0, done.err
    address, login = done.out.split()
    assert "streamwave prefect login" in running.log.read_text()
    for name in (address, address.replace("127.0.0.1", "localhost")):
        with page_of(harness, name) as page:
            expect(page.get_by_role("button", name="Login")).to_be_visible()
            page.locator("input").fill("streamwave:wrong")
            page.keyboard.press("Enter")
            expect(page.locator("input")).to_be_visible()
            page.locator("input").fill(login)
            page.keyboard.press("Enter")
            page.wait_for_url("**/dashboard*")
            statuses = seen(page)
            page.goto(f"{name}/v2/deployments")
            expect(page.get_by_text("live-stream").first).to_be_visible()
            assert statuses and max(statuses) < 400


def test_runs_that_are_asked_for_through_prefect_are_confined(running: Installation, tmp_path: Path) -> None:
    """Run the commands of the README; a user who can log in to Prefect does not have the rights of the operator."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"x")
    done = running.cli.run("prefect", "env")
    variables = dict(line.removeprefix("export ").split("=", 1) for line in done.out.splitlines())
    assert variables.keys() == {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"}
    shell = 'eval "$(streamwave prefect env)" && prefect deployment run live-stream/live -p stream=x -p source='
    for parameters in (f"file:{secret}", f"srt://127.0.0.1:9 -p output={tmp_path}/out"):
        environment = {**running.cli.environment, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        command = ["bash", "-c", shell + parameters]
        run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr

    def ended() -> list[dict[str, Any]]:
        runs = running.prefect.flow_runs("live-stream", stream="x")
        return runs if len(runs) == 2 and all(run["state_type"] == "FAILED" for run in runs) else []

    words = sorted(run["state"]["message"] for run in wait_for(ended, "both runs to fail", LIMIT_S))
    assert "STREAMWAVE_ALLOWED_FILE_ROOTS" in words[0] and "OUTPUT_DIR" in words[1]
    assert not (tmp_path / "out").exists()
