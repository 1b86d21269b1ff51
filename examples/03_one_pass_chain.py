"""Turns a classic RAG chain into one pass by another retriever and another prompt.

    $ python examples/03_one_pass_chain.py
    Classic
    found: ['Wet Harvest', 'Sunnefa Brandvold']
    answer: Who is the director of Wet Harvest? search Wet Harvest: Wet Harvest is a
    read: 29 positions to search, 92 after
    One pass
    found: ['Wet Harvest', 'Tobin Aldermay']
    answer: Ondrel
    read: 114 positions to search, 12 after

The classic chain embeds the question, and then reads the passages and the question again. In the
second chain the model writes and retrieves all hops inside the retriever, and the chat model
continues from there: it reads nothing but what it writes itself. (The checkpoint was trained to
retrieve, not to answer from a prompt, so the classic answer is useless.)
"""

from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenEmbeddings,
    OneGenRetriever,
    onegen_rag_prompt,
)

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
QUESTION = "Where was the director of Wet Harvest born?"
store = InMemoryVectorStore(OneGenEmbeddings())
store.add_documents(
    [Document(page_content=f"{title}\n{text}", id=title) for title, text in TEXTS.items()]
)
chat = OneGenChatModel(max_tokens=16)  # Without a store: in a chain the retriever searches.
chat.invoke("Hello")  # Builds the engine and reads the system prompt before anything is counted.
read: list[int] = []  # Positions of every forward of the network.
chat.shared.model.network.get_decoder().register_forward_pre_hook(
    lambda _module, _args, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
)


def run(retriever: BaseRetriever, prompt: Runnable) -> None:
    chain = (
        RunnablePassthrough.assign(context=lambda given: retriever.invoke(given["question"]))
        | RunnablePassthrough.assign(searching=lambda _: sum(read))
        | RunnablePassthrough.assign(message=prompt | chat)
    )
    read.clear()
    told = chain.invoke({"question": QUESTION})
    print("found:", [document.id for document in told["context"]])
    print("answer:", told["message"].text)
    print(f"read: {told['searching']} positions to search, {sum(read) - told['searching']} after")


def join(given: dict) -> dict:
    texts = [document.page_content for document in given["context"]]
    return {**given, "context": "\n\n".join(texts)}


print("Classic")
run(
    store.as_retriever(search_kwargs={"k": 2}),
    RunnableLambda(join) | ChatPromptTemplate.from_template("{context}\n\n{question}"),
)
print("One pass")
run(
    OneGenRetriever(vectorstore=store, k=1),
    onegen_rag_prompt,
)
