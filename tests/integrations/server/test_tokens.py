"""`/tokenize` and `/detokenize` speak of the tokens of the model."""

from fastapi.testclient import TestClient

from onegen_model import Conversation, OneGenModel

TEXT = "Alba, größer als Brig."


def test_a_text_is_its_tokens_and_back(client: TestClient, model: OneGenModel) -> None:
    body = {"model": "tiny", "prompt": TEXT, "return_token_strs": True}
    reply = client.post("/tokenize", json=body).json()
    assert reply["tokens"] == model.token_ids(TEXT)
    assert reply["count"] == len(reply["tokens"]) == len(reply["token_strs"])
    assert reply["max_model_len"] == model.max_context
    back = client.post("/detokenize", json={"tokens": reply["tokens"]})
    assert back.json() == {"prompt": TEXT}


def test_messages_are_counted_as_the_chat_reads_them(
    client: TestClient, model: OneGenModel
) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXT}]
    reply = client.post("/tokenize", json={"messages": messages}).json()
    assert reply["count"] == model.count_prompt(Conversation.from_messages(messages))


def test_odd_requests_are_refused_by_name(client: TestClient) -> None:
    for path, body, param in (
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": True}, "add_special_tokens"),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens.0"),
    ):
        reply = client.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
