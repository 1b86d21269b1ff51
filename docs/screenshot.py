"""Takes `docs/images/server-page.png`: the page of a running server, after a question.

    onegen index onegen_model/demo/corpus.jsonl --out demo.index
    onegen serve --index demo.index --storage storage --port 8000
    python docs/screenshot.py http://127.0.0.1:8000

It drives Debian's Chromium by Playwright. Another name for the picture is the second argument.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

TARGET = Path(__file__).parent / "images" / "server-page.png"
QUESTION = "What is the place of birth of the director of film The Frog Year?"
MAX_BYTES = 150_000
MINUTE = 60_000  # milliseconds


def ask(page: Page, question: str) -> None:
    page.get_by_label("Question").fill(question)
    page.get_by_label("Question").press("Enter")
    turn = page.locator("article").last
    turn.locator("dd").last.wait_for(timeout=10 * MINUTE)
    page.get_by_text("Answered.").wait_for()
    page.wait_for_timeout(200)  # It scrolls to its end.


def take(url: str, target: Path) -> None:
    with sync_playwright() as playwright:
        found = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 690})
        page.set_default_timeout(2 * MINUTE)
        page.goto(url)
        page.locator("#welcome").wait_for()
        ask(page, QUESTION)
        page.screenshot(path=target)
        browser.close()
    if (size := target.stat().st_size) > MAX_BYTES:
        raise SystemExit(f"{target} has {size} bytes; expected at most {MAX_BYTES}")


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else TARGET)
