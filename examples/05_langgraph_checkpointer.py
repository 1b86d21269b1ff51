"""Continues a conversation after a restart, by a LangGraph graph and its checkpointer.

    $ python examples/05_langgraph_checkpointer.py conversation.sqlite
    0 messages in conversation.sqlite
    user: Where was the director of Wet Harvest born?
    ai: Ondrel
    retrieved now: 2
    $ python examples/05_langgraph_checkpointer.py conversation.sqlite
    2 messages in conversation.sqlite
    user: When was the director of the film born?
    ai: 19 August 1931
    retrieved now: 2

The second process restores the first answer with its passages, as the model wrote and read them. So
it understands "the film" as Wet Harvest, which only the first question names. Without a path, both
turns run in one process and nothing is written to the disk.
"""

import sys

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Wet Harvest": "Wet Harvest is a 1963 Tarsevian drama film directed by Tobin Aldermay.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
QUESTIONS = (
    "Where was the director of Wet Harvest born?",
    "When was the director of the film born?",
)
store = InMemoryVectorStore(OneGenEmbeddings())
store.add_documents(
    [Document(page_content=f"{title}\n{text}", id=title) for title, text in TEXTS.items()]
)
chat = OneGenChatModel(vectorstore=store, k=1, max_tokens=96)

builder = StateGraph(MessagesState)
builder.add_node("chat", lambda state: {"messages": [chat.invoke(state["messages"])]})
builder.add_edge(START, "chat")

path = sys.argv[1] if len(sys.argv) > 1 else ":memory:"
turns = 1 if len(sys.argv) > 1 else len(QUESTIONS)
with SqliteSaver.from_conn_string(path) as checkpointer:
    graph = builder.compile(checkpointer=checkpointer)
    config = {"configurable": {"thread_id": "films"}}
    earlier = graph.get_state(config).values.get("messages", [])
    print(f"{len(earlier)} messages in {path}")
    for question in QUESTIONS[len(earlier) // 2 :][:turns]:
        answer = graph.invoke({"messages": [("user", question)]}, config)["messages"][-1]
        print("user:", question)
        print("ai:", answer.text)
        print("retrieved now:", answer.response_metadata["onegen"]["usage"]["retrievals"])
