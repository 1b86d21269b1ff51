"""Answers a question from own documents in a store, with citations.

    $ python examples/01_own_documents.py
    Answer: 9 July 1917
    Source: Larch and Iron | cited: -
    Source: Sunnefa Brandvold | cited: 9 July 1917
    Tokens: 98 read, 63 written

Every passage that was retrieved is a citation. It has a `cited_text` if it contains the answer
verbatim. The tokens read are the prompt and the passages, each counted once.
"""

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
# The title is the first line, because the model was trained on passages of that form.
documents = [
    Document(id=str(number), page_content=f"{title}\n{text}", metadata={"title": title})
    for number, (title, text) in enumerate(TEXTS.items(), 1)
]

store = InMemoryVectorStore.from_documents(documents, OneGenEmbeddings())
chat = OneGenChatModel(vectorstore=store, k=1)
message = chat.invoke("When was the director of the film Larch and Iron born?")

print("Answer:", message.text)
for block in message.content_blocks:
    for citation in block.get("annotations", ()):
        print("Source:", citation["title"], "| cited:", citation.get("cited_text", "-"))
usage = message.usage_metadata
print("Tokens:", usage["input_tokens"], "read,", usage["output_tokens"], "written")
