"""Follow-up questions over HTTP, beside a pipeline that condenses each question first.

    $ python examples/13_follow_ups_over_http.py

By its id a response is continued from what the model wrote and read, so a turn reads its question
and its passages and nothing else. The pipeline pays for a call that rewrites the question, and for
the passages again; this checkpoint was not trained to rewrite, so its rewritten questions are bad.
"""

import json
import threading
import time
from importlib.resources import files

import uvicorn
from openai import OpenAI
from openai.types.responses import Response

from onegen_integrations.server import Serving, create_app
from onegen_integrations.shared import shared_model
from onegen_model import Passage, PassageIndex

QUESTIONS = (
    "Who is the director of Larch and Iron?",
    "And when was she born?",
    "And who was her husband?",
)
TITLES = {"Larch and Iron", "Wet Harvest", "Sunnefa Brandvold", "Tobin Aldermay", "Harald Eskeland"}
CONDENSE = "Rewrite the last question so that it can be understood alone. Write only the question."
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_index"], "max_num_results": 1}


def serve() -> tuple[uvicorn.Server, str]:
    """Serves some articles of the demo on a free port; `onegen serve --index DIR --port 0`."""
    model = shared_model()
    demo = files("onegen_model").joinpath("demo", "corpus.jsonl").read_text("utf-8")
    articles = [one for one in map(json.loads, demo.splitlines()) if one["title"] in TITLES]
    index = PassageIndex.build(model, [Passage(**one) for one in articles])
    app = create_app(Serving({"onegen": model}, index))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    return server, f"http://127.0.0.1:{port}/v1"


def told(response: Response) -> str:
    """What was read for a response, and the positions that the network computed."""
    usage, details = response.usage, response.usage.input_tokens_details
    new = usage.input_tokens - details.cached_tokens - details.retrieved_tokens
    return (
        f"{details.cached_tokens} cached, {new} new, {details.retrieved_tokens} retrieved: "
        f"{usage.onegen['forwarded']} computed"
    )


server, address = serve()
client = OpenAI(base_url=address, api_key="none")
previous, history = None, ""
for question in QUESTIONS:
    previous = client.responses.create(
        model="onegen",
        input=question,
        tools=[SEARCH],
        previous_response_id=previous and previous.id,
    )
    print(question, previous.output_text)
    print("  one pass:", told(previous))
    if history:  # The first question stands alone in both pipelines.
        asked = f"{history}{question}\n\n{CONDENSE}"
        rewritten = client.responses.create(model="onegen", input=asked)
        alone = rewritten.output_text or question
        answer = client.responses.create(model="onegen", input=alone, tools=[SEARCH])
        print("  condensed:", alone, answer.output_text)
        print("    to rewrite:", told(rewritten))
        print("    to answer:", told(answer))
    history += f"{question}\n{previous.output_text}\n"
server.should_exit = True
