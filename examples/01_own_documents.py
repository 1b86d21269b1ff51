"""Answers a question from own documents in a store, with citations.

    $ python examples/01_own_documents.py
    Answer: 4 May 1921
    Source: The Blue Door | cited: -
    Source: Ada Lindqvist | cited: 4 May 1921
    Tokens: 92 read, 60 written

Every passage that was retrieved is a citation. It has a `cited_text` if it contains the answer
verbatim. The tokens read are the prompt and the passages, each counted once.
"""

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "The Blue Door": "The Blue Door is a 1962 Swedish drama film directed by Ada Lindqvist.",
    "Ada Lindqvist": "Ada Lindqvist (born 4 May 1921) was a Swedish film director from Lund.",
    "Winter Harbour": "Winter Harbour is a 1974 Norwegian thriller film by Olav Brekke.",
    "Olav Brekke": "Olav Brekke (born 19 June 1930) was a Norwegian director from Bergen.",
}
# The title is the first line, because the model was trained on passages of that form.
documents = [
    Document(id=str(number), page_content=f"{title}\n{text}", metadata={"title": title})
    for number, (title, text) in enumerate(TEXTS.items(), 1)
]

store = InMemoryVectorStore.from_documents(documents, OneGenEmbeddings())
chat = OneGenChatModel(vectorstore=store, k=1)
message = chat.invoke("When was the director of the film The Blue Door born?")

print("Answer:", message.text)
for block in message.content_blocks:
    for citation in block.get("annotations", ()):
        print("Source:", citation["title"], "| cited:", citation.get("cited_text", "-"))
usage = message.usage_metadata
print("Tokens:", usage["input_tokens"], "read,", usage["output_tokens"], "written")
