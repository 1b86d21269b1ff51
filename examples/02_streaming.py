"""Prints steps, queries, passages and the answer in a terminal while the model writes.

    $ python examples/02_streaming.py
    Which film whose director was born first, Larch and Iron or Wet Harvest?
    Who is the director of Larch and Iron?
      [searching with the state behind 'Who is the director of Larch and Iron?']
      [found 1: Larch and Iron, cosine 0.89]
     Sunnefa Brandvold
    Who is the director of Wet Harvest?
      [searching with the state behind 'Who is the director of Wet Harvest?']
      [found 3: Wet Harvest, cosine 0.89]
     Tobin Aldermay
    When was Sunnefa Brandvold born?
      [searching with the state behind 'When was Sunnefa Brandvold born?']
      [found 2: Sunnefa Brandvold, cosine 0.88]
     9 July 1917
    When was Tobin Aldermay born?
      [searching with the state behind 'When was Tobin Aldermay born?']
      [found 4: Tobin Aldermay, cosine 0.91]
     19 August 1931
    A = Larch and Iron 1917 A, B = Wet Harvest 1931 B. Earlier: 1917 A < 1931 B, so A = Larch and Iron
    Larch and Iron

The answer takes four searches and one pass. The last line but one is the comparison.
"""  # noqa: E501

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
store = InMemoryVectorStore(OneGenEmbeddings())
store.add_documents(
    [
        Document(id=str(number), page_content=f"{title}\n{text}")
        for number, (title, text) in enumerate(TEXTS.items(), 1)
    ]
)
chat = OneGenChatModel(vectorstore=store, k=1)
question = "Which film whose director was born first, Larch and Iron or Wet Harvest?"

print(question)
for chunk in chat.stream(question):
    for block in chunk.content_blocks:
        match block:
            case {"type": "reasoning", "reasoning": text}:
                print(text, end="", flush=True)
            case {"type": "server_tool_call", "args": {"queries": [query]}}:
                print(f"\n  [searching with the state behind {query!r}]")
            case {"type": "server_tool_result", "output": found}:
                for passage in found:
                    title = passage["page_content"].partition("\n")[0]
                    print(f"  [found {passage['id']}: {title}, cosine {passage['score']:.2f}]")
            case {"type": "text", "text": text}:
                print(text, end="", flush=True)  # The answer is the last line.
print()
