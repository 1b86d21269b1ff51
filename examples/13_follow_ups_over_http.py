"""Follow-up questions over HTTP, beside a pipeline that condenses each question first.

    $ python examples/13_follow_ups_over_http.py
    Who is the director of Larch and Iron? Sunnefa Brandvold
      one pass: 0 cached, 29 new, 151 retrieved: 240 computed
    And where was she born? Nordhella
      one pass: 240 cached, 17 new, 92 retrieved: 140 computed
      condensed to 'to Iron?': 103 computed, then 126
    And her husband? Harald Eskeland
      one pass: 380 cached, 15 new, 64 retrieved: 117 computed
      condensed to 'to Iron?': 98 computed, then 54

By its id a response is continued from what the model wrote and read, so a turn computes only its
question, passages and answer. The pipeline computes the history again to rewrite the question
(badly: this checkpoint was not trained to), and then the passages again.
"""

import json
import threading
import time
from importlib.resources import files

import uvicorn
from openai import OpenAI

from onegen_integrations.server import Serving, create_app
from onegen_integrations.shared import shared_model
from onegen_model import Passage, PassageIndex

QUESTIONS = (
    "Who is the director of Larch and Iron?",
    "And where was she born?",
    "And her husband?",
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
    usage, details = previous.usage, previous.usage.input_tokens_details
    new = usage.input_tokens - details.cached_tokens - details.retrieved_tokens
    print(question, previous.output_text)
    print(f"  one pass: {details.cached_tokens} cached, {new} new, ", end="")
    print(f"{details.retrieved_tokens} retrieved: {usage.onegen['forwarded']} computed")
    if history:  # The first question stands alone in both pipelines.
        asked = f"{history}{question}\n\n{CONDENSE}"
        rewritten = client.responses.create(model="onegen", input=asked)
        alone = " ".join(rewritten.output_text.split()) or question
        answer = client.responses.create(model="onegen", input=alone, tools=[SEARCH])
        computed = [one.usage.onegen["forwarded"] for one in (rewritten, answer)]
        print(f"  condensed to {alone!r}: {computed[0]} computed, then {computed[1]}")
    history += f"{question}\n{previous.output_text}\n"
server.should_exit = True
