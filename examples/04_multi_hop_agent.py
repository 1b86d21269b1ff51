"""Runs an agent with a calculator and a date tool, whose model also retrieves.

    $ python examples/04_multi_hop_agent.py
    user: When was the director of Larch and Iron born?
      calls: onegen_retrieve {'queries': ['Who is the director of Larch and Iron?']}
      calls: onegen_retrieve {'queries': ['When was Sunnefa Brandvold born?']}
      ai: 9 July 1917
    user: On which weekday was 9 July 1917?
      calls: weekday {'date': '9 July 1917'}
      tool: Monday
    user: What is 1963 - 1947?
      calls: calculator {'expression': '1963 - 1947'}
      tool: 16

Two hops are one call of the model and need no tool. The default checkpoint (135M) is no agent: it
does not choose well among tools and has seen none of their results in training. So `choose_tool`
forces the tool of a turn, the model writes the arguments, and the result ends the turn.
"""

from datetime import datetime
from operator import add, sub

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings

TEXTS = {
    "Larch and Iron": "Larch and Iron is a 1947 Haldrian drama film by Sunnefa Brandvold.",
    "Sunnefa Brandvold": "Sunnefa Brandvold (born 9 July 1917) was a film director from Nordhella.",
    "Tobin Aldermay": "Tobin Aldermay (born 19 August 1931) was a film director from Ondrel.",
}
documents = [Document(page_content=f"{title}\n{text}", id=title) for title, text in TEXTS.items()]
store = InMemoryVectorStore.from_documents(documents, OneGenEmbeddings())


@tool(return_direct=True)
def calculator(expression: str) -> str:
    """Add or subtract two whole numbers, for example 12 - 7."""
    left, sign, right = expression.split()
    return str({"+": add, "-": sub}[sign](int(left), int(right)))


@tool(return_direct=True)
def weekday(date: str) -> str:
    """The day of the week of a date."""
    return datetime.strptime(date, "%d %B %Y").strftime("%A")


@wrap_model_call
def choose_tool(request, handler):
    wanted = request.runtime.context["tool"]
    offered = [tool for tool in request.tools if tool.name == wanted]
    return handler(request.override(tools=offered, tool_choice=wanted))


chat = OneGenChatModel(vectorstore=store, k=1)
agent = create_agent(chat, [calculator, weekday], middleware=[choose_tool])


def ask(question: str, tool: str | None = None) -> list[AnyMessage]:
    print("user:", question)
    asked = {"messages": [HumanMessage(question)]}
    _, *told = agent.invoke(asked, context={"tool": tool})["messages"]
    for message in told:
        for block in message.content_blocks:
            if block["type"] in ("server_tool_call", "tool_call"):
                print("  calls:", block["name"], block["args"])
        if message.text:
            print(f"  {message.type}: {message.text}")
    return told


*_, born = ask("When was the director of Larch and Iron born?")
ask(f"On which weekday was {born.text}?", "weekday")
ask("What is 1963 - 1947?", "calculator")
