"""What the documentation says of the log is what the code does."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from procwatch.observe.events import EVENTS, catalogue_markdown, problems
from procwatch.observe.metrics import metrics_markdown

pytestmark = pytest.mark.integration

README = Path(__file__).parents[2] / "systemd" / "README.md"


def example(name: str, /, **changes: Any) -> dict[str, Any]:
    return {**EVENTS[name].example, **changes}


LOG = [
    example("service.started", timestamp="2027-03-14T09:26:50.000Z"),
    example("job.started", timestamp="2027-03-14T09:26:51.000Z"),
    example("job.done", timestamp="2027-03-14T09:26:59.000Z", run_s=0.2, recovered=True),
    example("job.done", timestamp="2027-03-14T09:27:10.000Z", path="b.jpg", run_s=6.5, worker_pid=4103),
    example("job.done", timestamp="2027-03-14T09:27:11.000Z", path="c.jpg", run_s=0.4),
    example("job.failed", timestamp="2027-03-14T09:27:12.000Z", path="d.jpg", run_s=None),
    example(
        "job.failed", timestamp="2027-03-14T09:27:13.000Z", path="e.jpg", error="timeout", reason="too slow"
    ),
    example("job.failed", timestamp="2027-03-14T09:27:14.000Z", path="f\udcff.jpg"),
]

ANSWERS: Mapping[str, list[str]] = {
    "Which files failed, and why?": [
        "2027-03-14T09:27:12.000Z\tinbox\td.jpg\ttruncated\tthe picture is cut off or damaged (image file is truncated (172 bytes not processed))",
        "2027-03-14T09:27:13.000Z\tinbox\te.jpg\ttimeout\ttoo slow",
        "2027-03-14T09:27:14.000Z\tinbox\tf\ufffd.jpg\ttruncated\tthe picture is cut off or damaged (image file is truncated (172 bytes not processed))",
    ],
    "How often does each reason occur?": ["1 timeout", "2 truncated"],
    "Which files took longer than five seconds?": ["6.5 s b.jpg pid 4103"],
    "How many files did each worker process do?": ["4102 2", "4103 1"],
    "What are the median and the 95th percentile of the rendering time?": ["0.4 s 6.5 s"],
    "How many files were done in each minute?": ["2027-03-14T09:26 1", "2027-03-14T09:27 2"],
    "What happened to one file?": [
        '["2027-03-14T09:26:51.000Z","job.started",1,null]',
        '["2027-03-14T09:26:59.000Z","job.done",1,null]',
    ],
    "Which jobs were repeated after a crash?": [f"{LOG[2]['job']} 1 2027/IMG_0042.jpg"],
    "Read on where a power failure cut a line:": [line["event"] for line in LOG],
}


def recipes() -> dict[str, str]:
    """Return question → command of the page."""
    return dict(re.findall(r"^([A-Z].*[?:])\n```sh\n(jq .*)\n```$", README.read_text("utf-8"), re.MULTILINE))


def ask(question: str, folder: Path) -> list[str]:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    done = subprocess.run(
        ["sh", "-c", recipes()[question]], cwd=folder, capture_output=True, timeout=30, check=True
    )
    return done.stdout.decode("utf-8").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in LOG)
    (tmp_path / "procwatch.log").write_text(text)
    return tmp_path


def test_the_log_that_the_recipes_are_tried_on_is_a_right_one() -> None:
    assert [problems(line) for line in LOG] == [[]] * len(LOG)


def test_the_page_has_the_catalogue_of_the_code() -> None:
    page = README.read_text("utf-8")
    block = page.split("<!-- log events: begin -->\n")[1].split("<!-- log events: end -->")[0]
    assert block == catalogue_markdown(), "print it anew with: python -m procwatch.observe.events"


def test_every_recipe_of_the_page_is_tried() -> None:
    assert set(recipes()) == {*ANSWERS, "Is there anything that I should look at?"}
    assert README.read_text("utf-8").count("```sh") == len(recipes())


@pytest.mark.parametrize("question", sorted(ANSWERS))
def test_a_recipe_answers_its_question(question: str, folder: Path) -> None:
    if question.startswith("Read on"):
        with (folder / "procwatch.log").open("a") as log:
            log.write('{"event": "job.do')
    assert ask(question, folder) == ANSWERS[question]


def test_the_recipe_for_trouble_finds_warnings_and_errors_only(folder: Path) -> None:
    found = [json.loads(line) for line in ask("Is there anything that I should look at?", folder)]
    assert [line["event"] for line in found] == ["job.failed"] * 3


def test_the_page_shows_the_metrics_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "systemd" / "README.md").read_text()
    shown = text.partition("<!-- metrics: begin -->\n")[2].partition("\n<!-- metrics: end -->")[0]
    assert shown == metrics_markdown().strip()
