"""``zoo serve``: a real process, a real browser, and a run whose history grows while both look on."""

from __future__ import annotations

import contextlib
import http.client
import json
import mimetypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from web_browser import wait
from web_runs import LAPTOP, history, make_run

from zoo.results.folder import RunFolder
from zoo.results.history import save_history
from zoo.utils.disk import take
from zoo.utils.lock import lock
from zoo.web import live as live_module
from zoo.web import site as site_module
from zoo.web import watch as watch_module
from zoo.web.data import run_id
from zoo.web.live import Builder
from zoo.web.live import unfinished as unfinished_of
from zoo.web.server import make_server
from zoo.web.site import Site
from zoo.web.watch import Watch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import scale


@contextlib.contextmanager
def serving(cli: Any, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A server on a free port, its address and its port; ended whatever happens."""
    process = cli.start("serve", "--port", "0", *options)
    try:
        ready, _, _ = select.select([process.stdout], [], [], 90)
        assert ready, "no address within 90 s"
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
        address = line.split()[0]
        yield process, address, int(address.rstrip("/").rpartition(":")[2])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_new_epochs_and_results_appear_without_a_reload(page, zoo_cli, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    from selenium.webdriver.support.ui import Select

    make_run(runs, "bn", 0, 240)
    going = RunFolder.of(runs, "cifar10-jpeg", LAPTOP, "resnet20_ln", 0)
    going.path.mkdir(parents=True)
    save_history(going.history, history(1))
    held = contextlib.ExitStack()
    held.enter_context(lock(going.path))
    with held, serving(zoo_cli) as (process, address, _):
        page.get(address)
        page.execute_script("window.same = true")
        cell = "document.querySelector('#running .epoch')?.textContent"
        wait(page, f"{cell} === '1 / 4'")
        assert "running" in page.find_element("id", "running").text
        save_history(going.history, history(2))
        wait(page, f"{cell} === '2 / 4'")
        expected = f"{100 * history(2)[-1].eval_accuracy:.2f}"
        assert page.find_element("css selector", "#running tbody td:nth-child(5)").text == expected
        assert page.execute_script("return document.querySelectorAll('#running polyline').length") == 1

        page.find_element("css selector", "section.board th[data-key=accuracy] button").click()
        page.find_element("css selector", "section.board th[data-key=accuracy] button").click()  # worst first
        Select(page.find_element("css selector", "#filters [name=view]")).select_by_visible_text("quality")
        page.find_element("css selector", "#filters input[name=text]").send_keys("resnet20")
        held.close()
        make_run(runs, "ln", 0, 210)  # done
        wait(page, "document.querySelectorAll('section.board tbody tr').length === 2")
        wait(page, "document.getElementById('running').hidden")
        # Whoever was typing goes on typing, in a table sorted as it was.
        assert (
            page.execute_script("return document.activeElement.name + document.activeElement.value") == "textresnet20"
        )
        shown = "return [...document.querySelectorAll('section.board th.model a')].map(link => link.textContent)"
        assert page.execute_script(shown) == ["resnet20_ln", "resnet20_bn"]
        assert page.find_element("css selector", "td.view-quality").is_displayed()
        assert page.execute_script("return window.same") is True  # the page was never loaded again

        other = RunFolder.of(runs, "cifar10-jpeg", LAPTOP, "resnet20_gn", 1)
        other.path.mkdir(parents=True)
        save_history(other.history, history(2))
        link = wait(page, "document.querySelector('#stopped th a')?.href")
        assert "stopped" in page.find_element("id", "stopped").text
        page.get(link)
        drawn = "document.getElementById('chart')?.data?.[0]?.y?.length"
        wait(page, f"{drawn} === 2")
        page.execute_script("window.same = true")
        save_history(other.history, history(3))
        wait(page, f"{drawn} === 3")
        assert page.execute_script("return window.same") is True
        page.get("about:blank")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == "stopped\n"


def test_windows_registry_does_not_say_what_a_script_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some programs make .js plain text there, and a browser runs no script that is sent as such."""
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("text/plain", None))
    server = make_server(SimpleNamespace(read=lambda name: b""), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert ask(server.server_port, "/page.js")[2]["Content-Type"].endswith("javascript; charset=utf-8")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_only_files_of_the_page_are_given(zoo_cli, tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    (tmp_path / "secret.txt").write_text("secret")
    with serving(zoo_cli) as (process, _, port):
        status, body, headers = ask(port, "/")
        assert (status, b"Leaderboard" in body) == (200, True)
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert ask(port, "/static/page.css")[2]["Content-Type"] == "text/css; charset=utf-8"
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2f..%2fsecret.txt", "//etc/passwd", "/static/",
                     "/static/../index.html", "/%00", "/runs", "/x.json/", f"/{tmp_path}/secret.txt"):  # fmt: skip
            status, body, _ = ask(port, path)
            assert (status, body) == (404, b"no such page\n"), path
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(port, "/", method)[0] == 501
        assert ask(port, "/live.json", Host="evil.example")[0] == 403
        assert ask(port, "/live.json", Host=f"localhost:{port}")[0] == 200

        output = zoo_cli("serve", "--port", str(port))
        (line,) = output.lines
        assert output.returncode == 2
        assert f"port {port} of 127.0.0.1 is in use" in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_damaged_result_leaves_the_page_and_is_told(zoo_cli, tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "bn")
    other = make_run(tmp_path / "runs", "ln")
    good = other.result.read_bytes()
    with serving(zoo_cli, "--baseline", "resnet20_gn") as (_, _, port):

        def news(edition: int, word: str) -> dict[str, Any]:
            end = time.monotonic() + 30
            while True:
                told = json.loads(ask(port, "/live.json")[1])
                if told["edition"] == edition and word in (told["problem"] or ""):
                    return told
                assert time.monotonic() < end, told
                time.sleep(0.2)

        news(1, "no finished run of the baseline 'resnet20_gn' yet")
        other.result.write_bytes(good[:100])
        news(1, "result.json: not valid JSON")
        assert b"resnet20_ln" in ask(port, "/")[1]
        make_run(tmp_path / "runs", "gn")
        other.result.write_bytes(good)
        until(port, lambda told: told["edition"] > 1 and told["problem"] is None)
        assert b"baseline" in ask(port, "/")[1]


def live(port: int) -> dict[str, Any]:
    return json.loads(ask(port, "/live.json")[1])


def until(port: int, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the server says as soon as that `holds`."""
    end = time.monotonic() + 30
    while not holds(told := live(port)):
        assert time.monotonic() < end, told
        time.sleep(0.2)
    return told


def test_row_10_an_error_of_one_run_leaves_the_others_live(zoo_cli, tmp_path: Path) -> None:
    """The page went stale for ever after an error that was not zoo's own, and stood still for one at a pipe."""
    runs = tmp_path / "runs"
    make_run(runs, "bn")
    with serving(zoo_cli) as (_, _, port):
        pipe = make_run(runs, "ln")
        pipe.result.unlink()
        os.mkfifo(pipe.result)
        until(
            port, lambda told: "ln/seed0/result.json: cannot be read: it is no regular file" in (told["problem"] or "")
        )
        make_run(runs, "gn")
        until(port, lambda told: told["edition"] == 2 and "result.json" in told["problem"])
        assert b"resnet20_gn" in ask(port, "/")[1]
        pipe.result.unlink()

        curve = make_run(runs, "in").history
        good = curve.read_bytes()
        curve.write_bytes(b"damaged")
        os.utime(curve.parent / "result.json")
        until(port, lambda told: "the history cannot be read" in (told["problem"] or ""))
        make_run(runs, "frn")
        until(port, lambda told: b"resnet20_frn" in ask(port, "/")[1])
        curve.write_bytes(good)
        until(port, lambda told: told["problem"] is None)

        other = make_run(tmp_path / "runs" / "copy", "bn", correct=200)  # contradicts what is there
        until(port, lambda told: "two different runs of resnet20_bn seed 0" in (told["problem"] or ""))
        make_run(runs, "brn")
        until(port, lambda told: b"resnet20_brn" in ask(port, "/")[1])
        other.result.unlink()
        until(port, lambda told: told["problem"] is None)


def test_row_10_what_passes_by_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs", "bn")
    builder = Builder([tmp_path / "runs"], tmp_path / "site", None)
    make_run(tmp_path / "runs", "ln")
    with monkeypatch.context() as patch:
        patch.setattr(live_module, "tables", lambda *_: 1 / 0)
        builder.watch._again = 0.0
        (words,) = builder.refresh().problem
        assert "the page could not be made anew: ZeroDivisionError" in words
    builder._when = 0.0
    news = builder.refresh()
    assert (news.edition, news.problem) == (2, None)


ROWS = "document.querySelectorAll('section.board tbody tr').length"


def test_a_page_that_is_told_late_knows_that_it_is_old(page, zoo_cli, tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "bn")
    hold = "(() => { const ask = window.fetch, held = new Promise(go => { window.go = go });"
    hold += "window.fetch = (...what) => held.then(() => ask(...what)) })()"
    with serving(zoo_cli) as (_, address, port):
        added = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": hold})
        page.get(address)
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        assert page.execute_script(f"return {ROWS}") == 1
        make_run(tmp_path / "runs", "ln")
        end = time.monotonic() + 30
        while json.loads(ask(port, "/live.json")[1])["edition"] == 1:
            assert time.monotonic() < end
            time.sleep(0.2)
        page.execute_script("go()")
        wait(page, f"{ROWS} === 2")
        page.get("about:blank")


def test_a_server_that_was_started_again(page, zoo_cli, tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "bn")
    with serving(zoo_cli) as (_, address, port):
        page.get(address)
        wait(page, "document.getElementById('notice')")
    wait(page, "document.getElementById('notice').textContent.includes('does not respond')")
    make_run(tmp_path / "runs", "ln")
    with serving(zoo_cli, "--port", str(port)):
        wait(page, f"{ROWS} === 2")
        wait(page, "document.getElementById('notice').hidden")
        page.get("about:blank")
    refused = [entry["message"] for entry in page.get_log("browser")]  # as the browser tells it, and nothing else
    assert refused
    assert all("live.json" in message and "ERR_CONNECTION_REFUSED" in message for message in refused)


def unfinished(runs: Path, epochs: dict[tuple[str, str], int]) -> dict[str, Any]:
    """The news of unfinished runs under `runs`."""
    watch = Watch([runs])
    watch.look()
    about, problem = unfinished_of(watch.seen, epochs)
    assert problem is None
    return about


def test_a_killed_process_is_not_at_work(tmp_path: Path) -> None:
    """The lock says so, not a number, which another process may have by now. Who looks does not disturb who locks."""
    folder = RunFolder.of(tmp_path, "cifar10-jpeg", LAPTOP, "resnet20_ln", 0).path
    folder.mkdir(parents=True)
    save_history(RunFolder(folder).history, history(2))

    def states() -> tuple[list[str], list[str]]:
        about = unfinished(tmp_path, {("cifar10-jpeg", LAPTOP): 40})
        return [run["state"] for run in about["running"]], [run["state"] for run in about["stopped"]]

    path = folder.with_name(".seed0.lock")
    for text in ("", "no number"):
        path.write_text(text)
        assert states() == (["running"], [])
    path.write_text(str(os.getpid()))  # left by a killed process whose number this one has
    assert states() == ([], [f"process {os.getpid()} has ended; the same `zoo bench` goes on"])
    handle = os.open(path, os.O_RDWR)
    assert take(handle)
    threading.Timer(0.2, os.close, [handle]).start()  # somebody else is looking just then
    with lock(folder):
        assert states() == (["running"], [])
    assert not path.exists()
    assert states() == ([], ["stopped; the same `zoo bench` goes on"])


def test_trials_of_a_tuning_are_no_runs_of_a_bench(tmp_path: Path) -> None:
    model = tmp_path / "tuning-0" / "cifar10-jpeg" / LAPTOP / "resnet20_ln"
    for name in ("seed12", "trial3"):
        (model / name).mkdir(parents=True)
        (model / f".{name}.lock").write_text("")
        save_history(RunFolder(model / name).history, history(2))
    about = unfinished(tmp_path, {})
    assert [(run["seed"], run["state"]) for run in about["running"]] == [(12, "running")]
    assert about["counts"] == {"running": 1, "stopped": 0}


def test_before_the_first_result(zoo_cli, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with serving(zoo_cli) as (_, _, port):
        assert b"No finished run yet" in ask(port, "/")[1]
        assert json.loads(ask(port, "/live.json")[1]) == {
            "edition": 1, "running": [], "stopped": [], "counts": {"running": 0, "stopped": 0}, "problem": None,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("nowhere",), ("nowhere", "no such folder")),
        (("--port", "70000"), ("--port", "70000")),
        (("--host", "192.0.2.1"), ("cannot listen on 192.0.2.1",)),
    ],
)
def test_mistakes_are_one_line(inline_cli, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    make_run(tmp_path / "runs")
    output = inline_cli("serve", *options)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert all(word in line for word in ("zoo: ", *words))


# Thousands of runs


def test_requests_do_not_wait_for_the_page_to_be_made(zoo_cli, tmp_path: Path) -> None:
    """At 10,000 runs no request was answered for 50 s after each run that ended, not even one for a script."""
    run = make_run(tmp_path / "runs")
    with serving(zoo_cli) as (process, _, port):
        (maker,) = [pid for pid in children(process.pid) if "spawn_main" in command(pid)]
        page = re.search(r"runs/[\w-]+\.html", ask(port, "/")[1].decode())
        os.kill(maker, signal.SIGSTOP)  # as long as making the page may ever take
        try:
            os.utime(run.result)
            begun = time.monotonic()
            for path in ("/", f"/{page[0]}", "/static/page.js", "/live.json"):
                assert ask(port, path)[0] == 200
            assert time.monotonic() - begun < 5
        finally:
            os.kill(maker, signal.SIGCONT)


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()


def test_a_process_that_was_killed_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "PATIENCE", 0.1)
    make_run(tmp_path / "runs")
    with contextlib.closing(Site([tmp_path / "runs"], tmp_path / "site", None)) as site:
        assert site.news()["problem"] is None
        site._process.kill()
        make_run(tmp_path / "runs", "ln")
        end = time.monotonic() + 60
        while b"resnet20_ln" not in (site.read("index.html") or b"") or site.news()["problem"]:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_only_pages_of_changed_runs_are_made_again(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "runs", norm, seed) for norm in ("bn", "ln") for seed in range(2)]
    builder = Builder([tmp_path / "runs"], tmp_path / "site", None)

    def pages() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "site" / "pages" / "runs").iterdir()}

    before = pages()
    make_run(tmp_path / "runs", "ln", 2)
    builder.watch._again = 0.0
    assert builder.refresh().edition == 2
    kept = [name for name, written in pages().items() if before.get(name) == written]
    assert len(before) == 4
    assert len(pages()) == 5
    assert sorted(name[: len("resnet20_bn")] for name in kept) == ["resnet20_bn", "resnet20_bn"]  # ln has another seed
    assert builder.refresh().edition == 2  # nothing changed

    (runs[0].path / "explain").mkdir()
    (runs[0].path / "explain" / "map.png").write_bytes(b"\x89PNG picture")
    builder.watch._again = 0.0
    assert builder.refresh().edition == 3
    assert len(list((tmp_path / "site" / "pages" / "pictures").rglob("*.png"))) == 1
    runs[0].result.unlink()
    builder.watch._again = 0.0
    builder.refresh()
    assert len(pages()) == 4


def test_300_unfinished_runs_are_listed_in_part(tmp_path: Path) -> None:
    """They put the leaderboard 22,797 pixels down, and 7.4 MB were sent every two seconds."""
    make_run(tmp_path / "runs")
    for number in range(300):
        run = RunFolder.of(tmp_path / "runs", "cifar10-jpeg", LAPTOP, f"resnet20_m{number}", 0)
        run.path.mkdir(parents=True)
        save_history(run.history, history(200))
        if number % 3 == 0:
            run.path.with_name(".seed0.lock").write_text("")
    with contextlib.closing(Site([tmp_path / "runs"], tmp_path / "site", None)) as site:
        news = site.news()
        assert news["counts"] == {"running": 100, "stopped": 200}
        assert len(news["running"]) == len(news["stopped"]) == live_module.LISTED
        assert len(json.dumps(news)) < 40_000
        last = run_id(run.path, run.path.parent.name, 0)
        curve = site.read(f"data/{last}.js").decode()  # on demand, of runs that are not listed too
        assert curve.startswith(f'zoo.curve("{last}",')
        assert '"epoch":[1,2,' in curve


@pytest.mark.parametrize("reports", [True, False])
def test_what_changed_is_known_without_reading_what_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: bool
) -> None:
    """By the system's reports alone, and by looks at all folders alone."""
    if not reports:
        monkeypatch.setattr(watch_module, "sys", SimpleNamespace(platform="other"))
    elif sys.platform != "linux":
        pytest.skip("only Linux reports")
    runs = tmp_path / "runs"
    first = make_run(runs, "bn")
    watch = Watch([runs])
    assert watch.look() == {str(first.path)}

    def look() -> set[str]:
        watch._again = float("inf") if reports else 0.0
        return watch.look()

    assert look() == set()
    second = make_run(tmp_path / "elsewhere", "ln")
    place = runs / second.path.relative_to(tmp_path / "elsewhere")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(second.path, place)
    assert look() == {str(place)}
    os.utime(first.result)
    assert look() == {str(first.path)}
    place.with_name(".seed0.lock").write_text("")
    assert look() == {str(place)}
    assert watch.seen[str(place)].locked
    (first.path / "notes.txt").write_text("nothing of a run's")
    assert look() == set()
    shutil.rmtree(place)
    assert look() == {str(place)}
    shutil.rmtree(runs / "cifar10-jpeg")
    assert look() == {str(first.path)}
    assert watch.seen == {}


def test_one_of_two_runs_that_contradict_each_other_is_found_among_many(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "bn")
    builder = Builder([tmp_path / "runs"], tmp_path / "site", None)
    for number in range(8):
        make_run(tmp_path / "runs", f"m{number}")
    make_run(tmp_path / "runs" / "copy", "bn", correct=200)
    builder.watch._again = 0.0
    news = builder.refresh()
    assert "two different runs of resnet20_bn seed 0" in news.problem[0]
    assert len(builder._runs) == 9


@pytest.mark.slow
def test_zoo_serve_at_10_000_runs(zoo_cli, figure: Callable[..., None]) -> None:
    """50 s of CPU to start and after each run that ends, in which nothing was answered; 30 % of a core when idle."""
    runs = zoo_cli.folder / "runs"
    scale.make(runs, 10_000, "one table")
    template = next(runs.rglob("result.json")).parent
    with serving(zoo_cli) as (process, _, port):
        page = "/" + re.search(r"runs/[\w-]+\.html", ask(port, "/")[1].decode())[0]
        pids = [process.pid, *children(process.pid)]

        def cpu() -> float:
            fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
            return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")

        before, begun = cpu(), time.monotonic()
        while time.monotonic() < begun + 60:
            live(port)  # as an open page does
            time.sleep(2)
        idle = (cpu() - before) / (time.monotonic() - begun)

        place = template.parents[1] / "new_ln" / "seed0"
        place.mkdir(parents=True)
        record = json.loads((template / "result.json").read_text())
        record["model"]["name"] = "new_ln"
        (place / "fresh").write_text(json.dumps(record))
        (place / "fresh").replace(place / "result.json")
        ended, slowest, shown = time.monotonic(), 0.0, None
        while shown is None or time.monotonic() < ended + 6:
            assert time.monotonic() < ended + 60
            for path in ("/", page, "/static/page.js", "/live.json"):
                asked = time.monotonic()
                status, body, _ = ask(port, path)
                slowest = max(slowest, time.monotonic() - asked)
                assert status == 200
                if path == "/" and shown is None and b"new_ln" in body:
                    shown = time.monotonic() - ended
            time.sleep(0.05)
    figure("zoo serve of 10,000 runs", f"idle {100 * idle:.1f} % of a core; a run that ended shown in {shown:.1f} s, "
           f"the slowest answer meanwhile in {slowest:.3f} s")  # fmt: skip
    assert idle < 0.02
    assert shown < 3
    assert slowest < 0.2
