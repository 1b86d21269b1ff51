"""Continues a conversation after a restart, by a LangGraph graph and its checkpointer.

    $ python examples/05_langgraph_checkpointer.py conversation.sqlite
    0 messages in conversation.sqlite
    user: Where was the director of Winter Harbour born?
    ai: Bergen
    retrieved now: 2
    $ python examples/05_langgraph_checkpointer.py conversation.sqlite
    2 messages in conversation.sqlite
    user: When was the director of the film born?
    ai: 19 June 1930
    retrieved now: 2

The second process restores the first answer with its passages, as the model wrote and read them. So
it understands "the film" as Winter Harbour, which only the first question names. Without a path,
both turns run in one process and nothing is written to the disk.
"""

import sys

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "The Blue Door": "The Blue Door is a 1962 Swedish drama film directed by Ada Lindqvist.",
    "Ada Lindqvist": "Ada Lindqvist (born 4 May 1921) was a Swedish film director from Lund.",
    "Winter Harbour": "Winter Harbour is a 1974 Norwegian thriller film by Olav Brekke.",
    "Olav Brekke": "Olav Brekke (born 19 June 1930) was a Norwegian director from Bergen.",
}
QUESTIONS = (
    "Where was the director of Winter Harbour born?",
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
