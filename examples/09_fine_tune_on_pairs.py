"""Fine-tune on your own pairs, and compare the query engine before and after (LlamaIndex).

    $ python examples/09_fine_tune_on_pairs.py
    before: 4 of 6 right
    after 6 steps: 6 of 6 right

The questions asked are none of those trained on. After training the passages are embedded anew.
"""

import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from llama_index.core import Document, VectorStoreIndex

from onegen_integrations import llama_index as onegen
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.trainable import AdapterSettings
from onegen_model.finetune.run.training import run

PASSAGES = {
    "travel": "Expenses for travel are refunded within 30 days of the form's arrival.",
    "leave": "Holidays are asked for in the calendar, four weeks ahead.",
    "badge": "Lost entrance cards are replaced at the reception for ten euros.",
    "laptop": "Broken computers are handed in at the workshop on the second floor.",
    "parking": "Cars may stand in the yard after six in the evening.",
    "kitchen": "Whoever empties the coffee machine fills it up again.",
}
TRAIN = {
    "travel": ("What is a blue slip for?", "Who signs my blue slip?", "Blue slip still missing"),
    "leave": (
        "How early do I file a sunflower?",
        "Sunflower for August",
        "Sunflower denied",
    ),
    "badge": ("I left my penguin on the train", "Who hands out a penguin?", "A penguin for guests"),
    "laptop": ("My anvil does not start", "Where does an old anvil go?", "The anvil makes a noise"),
    "parking": ("May I moor here?", "Mooring on Sundays", "Visitors want to moor"),
    "kitchen": ("The volcano is dry", "Who feeds the volcano?", "The volcano blinks red"),
}
TEST = {
    "travel": "When do I get the money for a blue slip?",
    "leave": "I need a sunflower next week",
    "badge": "What does a new penguin cost?",
    "laptop": "Somebody dropped an anvil",
    "parking": "From when on can one moor?",
    "kitchen": "I took the last cup of the volcano",
}


def count_hits(model: str | None) -> int:
    """Questions whose first passage is the right one."""
    index = VectorStoreIndex.from_documents(
        [Document(text=text, id_=name) for name, text in PASSAGES.items()],
        transformations=[onegen.PassageParser(embedding := onegen.OneGenEmbedding(model=model))],
        embed_model=embedding,
    )
    llm = onegen.OneGenLLM(model=model, max_tokens=2)
    engine = onegen.OneGenQueryEngine.from_index(index, llm, similarity_top_k=1, retrieval="always")
    return sum(engine.query(TEST[n]).source_nodes[0].node.ref_doc_id == n for n in PASSAGES)


folder = Path(tempfile.mkdtemp())
pairs = [{"query": query, "positive": PASSAGES[name]} for name in TRAIN for query in TRAIN[name]]
(folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
recipe = Recipe(
    train=folder / "pairs.jsonl",
    output=folder / "model",
    format="pairs",
    adapter_from="default",
    adapter=AdapterSettings(rank=16, alpha=32),
    trainer={"per_device_train_batch_size": 6, "max_steps": 6, "learning_rate": 1e-3,
             "use_cpu": True, "report_to": "none", "save_strategy": "no"},
)  # fmt: skip
print(f"before: {count_hits(None)} of {len(TEST)} right")
with redirect_stdout(sys.stderr):  # The trainer's own lines.
    trained = run(recipe)
print(f"after 6 steps: {count_hits(str(trained))} of {len(TEST)} right")
