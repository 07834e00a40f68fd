"""The application: a question becomes a stream of steps; everything else is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from o1nano.agents.evaluation.transcripts import transcript
from o1nano.policies.search.solver import Solver
from tests.helpers.search import WIDE, Faults, caller, fault
from tests.helpers.visits import HOST, OWN, application, lines, messages


def ask(client: TestClient, problem: str, **options: Any) -> list[dict[str, Any]]:
    response = client.post("/api/ask", json={"problem": problem, **options})
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
    return messages(response.text)


def test_the_page_has_only_files_of_its_own(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text)
    assert linked == ["/playground.css", "/playground.js"]
    for path in linked:
        found = client.get(path)
        assert found.status_code == 200 and found.headers["x-content-type-options"] == "nosniff"
        assert "//" not in re.sub(r"//[^\n]*|http://www.w3.org/2000/svg", "", found.text) or path.endswith(".css")
    assert client.get("/static/index.html").status_code == 404


@pytest.mark.parametrize("problem", ["34+53", "74*68", "4198/46", "(7-4)*3"])
def test_the_frames_are_those_of_show_reasoning(client: TestClient, problem: str) -> None:
    told = ask(client, problem)
    answer = Solver(caller(), WIDE).solve(problem, keep_frames=True)
    assert lines(told) == transcript(answer).splitlines()[1:-1]
    assert told[-1]["kind"] == "answer" and told[-1]["text"] == answer.text and told[-1]["path"] == 0
    (ended,) = [message for message in told if message["kind"] == "end"]
    assert (ended["hidden_tokens"], ended["subtasks"]) == (answer.usage.hidden_tokens, answer.usage.subtasks)


def test_tokens_have_their_channel_and_the_likeliest_others(client: TestClient, scripted: Faults) -> None:
    scripted.append(fault("<think> 3 1", "5", 0.25))
    told = ask(client, "98+45")
    tokens = [message for message in told if message["kind"] == "token"]
    assert [(token["text"], token["role"]) for token in tokens[:3]] == [
        ("<think>", "completion"),
        ("<call>", "reasoning"),
        ("8", "subtask"),
    ]
    (unsure,) = [token for token in tokens if len(token["likely"]) > 1]
    assert unsure["text"] == "4" and unsure["likely"] == [["4", 0.75], ["5", 0.25]]


def test_paths_have_votes_and_checks(client: TestClient, scripted: Faults) -> None:
    told = ask(client, "98+45", paths=4)
    assert {message["path"] for message in told if message["kind"] == "frame"} == {0, 1, 2, 3}
    assert [message["answer"] for message in told if message["kind"] == "end"] == ["143"] * 4
    told = ask(client, "98+45", paths=4, select="check")
    (checked,) = [message for message in told if message["kind"] == "checked"]
    assert checked["passed"] == {"143": 2} and told[-1]["passed_checks"]
    assert {message["path"] for message in told if message["kind"] == "frame"} == {0}


@pytest.mark.parametrize("problem", ["What is ninety plus 45?", "12", "7/0", "", "9" * 1500 + "+1", "<eos>1+1", "１+1"])
def test_a_problem_that_cannot_be_read_gets_one_line(client: TestClient, problem: str) -> None:
    told = ask(client, problem)
    assert [message["kind"] for message in told] == ["waiting", "error"]
    assert "\n" not in told[-1]["text"] and len(told[-1]["text"]) < 600


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "problem"),
        ([1], "problem"),
        ({"problem": 3}, "text"),
        ({"problem": "9" * 2001}, "2000"),
        ({"problem": "1+1", "paths": 17}, "paths=17"),
        ({"problem": "1+1", "paths": True}, "paths=True"),
        ({"problem": "1+1", "paths": "4"}, "paths='4'"),
        ({"problem": "1+1", "temperature": -1}, "temperature=-1"),
        ({"problem": "1+1", "temperature": float("nan")}, "temperature=nan"),
        ({"problem": "1+1", "seed": -1}, "seed=-1"),
        ({"problem": "1+1", "select": "oracle"}, "select='oracle'"),
        ({"problem": "1+1", "select": []}, "select='[]'"),
        ({"problem": "1+1", "model": "/etc/passwd"}, "'model'"),
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(client: TestClient, given: object, named: str) -> None:
    response = client.post("/api/ask", content=json.dumps(given), headers={"content-type": "application/json"})
    assert response.status_code == 400 and "\n" not in response.json()["error"]
    assert named in response.json()["error"] and "expected" in response.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 8000, b"\xff\xfe", b'{"problem":' + b"9" * 8000 + b"}", b"x" * 10**6]
)
def test_a_body_that_is_no_question_is_refused(client: TestClient, body: bytes) -> None:
    response = client.post("/api/ask", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and "expected" in response.json()["error"]


def test_other_types_and_methods_are_refused(client: TestClient) -> None:
    response = client.post("/api/ask", content='{"problem": "1+1"}', headers={"content-type": "text/plain"})
    assert response.status_code == 400 and "application/json" in response.json()["error"]
    assert client.get("/api/ask").status_code == 405
    assert client.put("/api/ask").status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:80"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_other_sites_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    for response in (
        client.post("/api/ask", json={"problem": "1+1"}, headers=headers),
        client.get("/api/about", headers=headers),
    ):
        assert response.status_code == 403 and "expected" in response.json()["error"]


def test_a_request_without_an_origin_may_only_read(client: TestClient) -> None:
    del client.headers["origin"]
    assert client.get("/api/about").status_code == 200
    assert client.post("/api/ask", json={"problem": "1+1"}).status_code == 403


@pytest.mark.parametrize(("limit", "said"), [({"tokens": 9}, "after 9 tokens"), ({"seconds": 0.0}, "after 0 s")])
def test_what_costs_too_much_is_stopped(scripted: Faults, tmp_path: Path, limit: dict[str, Any], said: str) -> None:
    app = application(Solver(caller(), WIDE), tmp_path, **limit)
    with TestClient(app, base_url=f"http://{HOST}", headers=OWN) as client:
        told = ask(client, "98+45")
        assert told[-1]["kind"] == "error" and said in told[-1]["text"]
        assert sum(message["kind"] == "token" for message in told) <= limit.get("tokens", 0)


def test_it_says_what_can_be_asked(client: TestClient) -> None:
    about = client.get("/api/about").json()
    assert about["choices"] == ["majority", "likelihood", "check"]
    families = [example["family"] for example in about["examples"]]
    assert len(families) == len(set(families)) >= 12
    assert ask(client, about["examples"][0]["problem"])[-1]["correct"]


def test_without_measurements_and_runs_there_is_nothing(client: TestClient) -> None:
    assert client.get("/api/figures").json() == {"source": "", "families": []}
    assert client.get("/api/runs").json() == []
    for name in ("nothing", "..", "%2e%2e", "%2fetc"):
        assert client.get(f"/api/runs/{name}").status_code in (400, 404)
