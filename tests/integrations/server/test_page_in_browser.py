"""The page in a headless Chromium, against a real server."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onegen_integrations.server import ApiKey, Serving, create_app
from onegen_model import OneGenModel, RetrievalParams, SamplingParams
from tests.support.linking_model import TEXT, entity_index, linking_model
from tests.support.script import QUERY, scripted
from tests.support.serving import running

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
expect = sync_api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SECONDS = 60
TURNS = {
    "Who founded Alba?": f"Founder of Alba{QUERY}Ann did.\n<FINAL-ANSWER>Ann</FINAL-ANSWER>",
    "Brig": "<FINAL-ANSWER>Ben</FINAL-ANSWER>",
    "Count!": "<FINAL-ANSWER>" + "la " * 3000,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("The page is tested in Chromium; there is none on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new tab, which must ask one server alone and report nothing."""
    context = browser.new_context(viewport={"width": 700, "height": 800})
    context.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    page, problems, origins = context.new_page(), list[str](), set[str]()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: origins.add("/".join(request.url.split("/")[:3])))
    yield page
    context.close()
    # Of an answer with an error status the browser tells as well.
    assert not [one for one in problems if not one.startswith("Failed to load resource")]
    assert len(origins) == 1


def ask(page: Any, question: str) -> Any:
    """The turn of a question."""
    turns = page.locator("article")
    turn = turns.nth(turns.count())
    page.get_by_label("Question").fill(question)
    page.get_by_label("Question").press("Enter")
    return turn


def test_an_answer_with_its_steps_passages_citations_and_counters(
    page: Any, serve: Callable[..., Serving], model: OneGenModel
) -> None:
    serving = serve(storage=None, retrieval=RetrievalParams(top_k=2))
    with running(create_app(serving)) as url, scripted(model, TURNS):
        page.goto(url)
        expect(page.get_by_text("an index of 2 passages")).to_be_visible()
        expect(page.get_by_role("tab")).to_have_text(["Chat", "Documents"])
        turn = ask(page, "Who founded Alba?")
        expect(turn).to_have_attribute("aria-busy", "false")
        expect(turn.locator("mark")).to_have_text("Ann")
        expect(turn.get_by_text("Ann did.")).to_be_hidden()
        turn.get_by_text("Steps").click()
        expect(turn.get_by_text("Ann did.")).to_be_visible()
        card = turn.get_by_role("button", name="Alba was founded by Ann.")
        expect(card).to_have_text(re.compile(r"\[\d\] Albascore -?\d\.\d\d · hop 1Alba was"))
        counters = turn.locator(".counters").inner_text()
        assert re.search(r"prompt\s+\d+\s+retrieved\s+[1-9]\d*\s+cached\s+\d+\s+written", counters)
        second = ask(page, "And <i>Brig</i>?")
        expect(second.locator(".answer")).to_have_text("Ben")
        assert page.locator("i").count() == 0
        page.get_by_role("button", name="New conversation").click()
        assert page.locator("article").count() == 0
        page.get_by_role("tab", name="Chat").press("ArrowRight")
        expect(page.get_by_text("onegen serve --storage DIR")).to_be_visible()


def test_turns_follow_each_other_and_a_stopped_one_ends(
    page: Any, serve: Callable[..., Serving], model: OneGenModel
) -> None:
    # Long enough to be stopped, however fast the machine is.
    app = create_app(serve(sampling=SamplingParams(max_new_tokens=3500)))
    with scripted(model, TURNS), running(app) as url:
        page.goto(url)
        turn = ask(page, "Count!")
        expect(turn.locator(".answer")).to_contain_text("la la la")
        page.get_by_role("button", name="Stop").click()
        expect(turn.get_by_text("Stopped.")).to_be_visible()
        written = turn.locator(".answer").inner_text()
        with page.expect_request("**/v1/chat/completions") as sent:
            second = ask(page, "And <i>Brig</i>?")
        expect(second.locator(".answer")).to_have_text("Ben")
        assert turn.locator(".answer").inner_text() == written
        roles = [one["role"] for one in sent.value.post_data_json["messages"]]
        assert roles == ["user", "assistant", "user"]
        cut = "async (all) => (await import('./page/citations.js')).citedParts('🦊 Ann did.', all)"
        spans = [{"start_index": 0, "end_index": 5}, {"start_index": 2, "end_index": 99}]
        parts = [
            (one["text"], len(one["citations"]), len(one["ended"]))
            for one in page.evaluate(cut, spans)
        ]
        assert parts == [("🦊 ", 1, 0), ("Ann", 2, 1), (" did.", 1, 1)]
        failed = ask(page, "word " * 5000)
        expect(failed.get_by_role("alert")).to_contain_text("expected")
        assert page.get_by_label("Question").input_value().startswith("word word")


def test_uploaded_documents_are_searched_cited_opened_and_deleted(
    page: Any, serve: Callable[..., Serving], model: OneGenModel
) -> None:
    with running(create_app(serve(with_index=False))) as url, scripted(model, TURNS):
        page.goto(url)
        page.get_by_role("tab", name="Documents").click()
        text = b"# Alba\n\nAlba <b>was</b> founded by Ann \xf0\x9f\xa6\x8a."
        files = [
            {"name": "alba.md", "mimeType": "text/markdown", "buffer": text},
            {"name": "b.zip", "mimeType": "application/zip", "buffer": b"PK"},
        ]
        page.get_by_label("Drop files here").set_input_files(files)
        rows = page.get_by_role("listitem")
        expect(rows.filter(has_text="alba.md")).to_contain_text("ready")
        expect(rows.filter(has_text="b.zip")).to_contain_text("cannot be used")
        page.get_by_role("tab", name="Chat").click()
        turn = ask(page, "Who founded Alba?")
        turn.get_by_role("button", name="Source 1").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("alba.md")
        expect(dialog).to_contain_text("Alba <b>was</b> founded by")
        expect(dialog.locator("mark")).to_have_text("Ann")
        assert page.locator("b").count() == 0
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        page.get_by_role("tab", name="Documents").click()
        page.on("dialog", lambda question: question.accept())
        page.get_by_role("button", name="Delete alba.md").click()
        expect(rows).to_have_count(1)


def test_a_reader_is_asked_for_the_key(page: Any, serve: Callable[..., Serving]) -> None:
    with running(create_app(serve(keys=(ApiKey("secret-all", "all"),)))) as url:
        page.goto(url)
        dialog = page.get_by_role("dialog", name="API key")
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_have_text("The server does not know this key.")
        page.get_by_label("Key", exact=True).fill("secret-all")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(page.get_by_text("an index of 2 passages")).to_be_visible()
        stored = "[localStorage.length, document.cookie, Object.values(sessionStorage)]"
        assert page.evaluate(stored) == [0, "", ["secret-all"]]
        page.get_by_role("button", name="Forget the key").click()
        expect(dialog).to_be_visible()


def test_a_text_is_linked(page: Any) -> None:
    linker = linking_model()
    serving = Serving({"linker": linker}, entities=entity_index(linker))
    text = f"🦊 {TEXT}"
    with running(create_app(serving)) as url:
        page.goto(url)
        page.get_by_role("tab", name="Link entities").click()
        page.get_by_label("Text", exact=True).fill(text)
        page.get_by_role("button", name="Link entities").click()
        mention = page.locator(".mention").first
        mention.focus()
        surface = mention.evaluate("one => one.firstChild.textContent")
        candidates = page.locator("#candidates")
        expect(candidates).to_contain_text(f"Candidates for “{surface}”")
        expect(candidates.get_by_role("listitem").first).to_contain_text(re.compile(r"Q\d"))
        plain = "one => [...one.childNodes].map(n => n.firstChild?.textContent ?? n.data).join('')"
        assert page.locator("#linked-text").evaluate(plain) == text
