"""Prints steps, queries, passages and the answer in a terminal while the model writes.

    $ python examples/02_streaming.py
    Which film whose director was born first, The Blue Door or Winter Harbour?
    Who is the director of The Blue Door?
      [searching with the state behind 'Who is the director of The Blue Door?']
      [found 1: The Blue Door, cosine 0.92]
     Ada Lindqvist
    Who is the director of Winter Harbour?
      [searching with the state behind 'Who is the director of Winter Harbour?']
      [found 3: Winter Harbour, cosine 0.85]
     Olav Brekke
    When was Ada Lindqvist born?
      [searching with the state behind 'When was Ada Lindqvist born?']
      [found 2: Ada Lindqvist, cosine 0.83]
     4 May 1921
    When was Olav Brekke born?
      [searching with the state behind 'When was Olav Brekke born?']
      [found 4: Olav Brekke, cosine 0.91]
     19 June 1930
    A = The Blue Door 1921 A, B = Winter Harbour 1930 B. Earlier: 1921 A < 1930 B, so A = The Blue Door
    The Blue Door

The answer takes four searches and one pass. The last line but one is the comparison.
"""  # noqa: E501

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "The Blue Door": "The Blue Door is a 1962 Swedish drama film directed by Ada Lindqvist.",
    "Ada Lindqvist": "Ada Lindqvist (born 4 May 1921) was a Swedish film director from Lund.",
    "Winter Harbour": "Winter Harbour is a 1974 Norwegian thriller film by Olav Brekke.",
    "Olav Brekke": "Olav Brekke (born 19 June 1930) was a Norwegian director from Bergen.",
}
store = InMemoryVectorStore(OneGenEmbeddings())
store.add_documents(
    [
        Document(id=str(number), page_content=f"{title}\n{text}")
        for number, (title, text) in enumerate(TEXTS.items(), 1)
    ]
)
chat = OneGenChatModel(vectorstore=store, k=1)
question = "Which film whose director was born first, The Blue Door or Winter Harbour?"

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
