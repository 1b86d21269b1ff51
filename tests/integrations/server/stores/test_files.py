"""`/v1/files`: uploads, their names, and what is refused."""

import errno
import hashlib
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from onegen_integrations.server import Serving, create_app
from onegen_integrations.server.stores.names import clean_name, suffix_of
from tests.support.uploads import upload


def test_a_file_is_kept_as_it_is_until_it_is_deleted(client: TestClient) -> None:
    content = b"Alba was founded by Ann.\r\n\xff"
    file_id = upload(client, "alba.txt", content, data={"purpose": "assistants"})
    file = client.get(f"/v1/files/{file_id}").json()
    assert (file["object"], file["filename"], file["bytes"]) == ("file", "alba.txt", len(content))
    assert (file["purpose"], file["sha256"]) == ("assistants", hashlib.sha256(content).hexdigest())
    reply = client.get(f"/v1/files/{file_id}/content")
    assert (reply.content, reply.headers["content-type"]) == (content, "application/octet-stream")
    assert client.get("/v1/files").json()["data"] == [file]
    assert client.delete(f"/v1/files/{file_id}").json() == {
        "id": file_id,
        "object": "file",
        "deleted": True,
    }
    assert client.get(f"/v1/files/{file_id}").status_code == 404
    assert client.get(f"/v1/files/{file_id}/content").status_code == 404


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\notes.md", "notes.md"),
        ("..", "file"),
        ("", "file"),
        (".hidden.txt", "hidden.txt"),
        ("a\x00b\nc\u202e.txt", "ab c.txt"),
        ("\udcff.txt", "txt"),
        ("Zu\u0308rich.txt", "Z\u00fcrich.txt"),
        ("\u6771\u4eac.pdf", "\u6771\u4eac.pdf"),
        ("n" * 300 + ".jsonl.gz", "n" * 191 + ".jsonl.gz"),
    ],
)
def test_names_are_safe_to_show_and_store(given: str, name: str) -> None:
    assert clean_name(given) == name


def test_only_a_plain_suffix_reaches_the_disk() -> None:
    assert [suffix_of(name) for name in ("a.PDF", "a.tar.gz", "a", "a.b c", "a.\u00e9")] == [
        ".pdf",
        ".gz",
        "",
        "",
        "",
    ]


def test_a_name_with_a_path_stays_in_the_folder(serve: Callable[..., Serving]) -> None:
    serving = serve()
    with TestClient(create_app(serving)) as client:
        file_id = upload(client, "../../../escaped.txt", "Alba")
        assert client.get(f"/v1/files/{file_id}").json()["filename"] == "escaped.txt"
        other = upload(client, "../\u6771\u4eac Z\u00fcrich", "Alba")
        assert client.get(f"/v1/files/{other}").json()["filename"] == "\u6771\u4eac Z\u00fcrich"
    storage = serving.settings.storage
    assert storage is not None
    files = [
        one.relative_to(storage).as_posix()
        for one in (storage / "files").rglob("*")
        if one.is_file()
    ]
    assert sorted(files) == sorted(
        [
            f"files/{file_id}/content.txt",
            f"files/{file_id}/file.json",
            f"files/{other}/content",
            f"files/{other}/file.json",
        ]
    )
    assert not list(storage.parent.rglob("escaped*"))


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
            "expires_after",
        ),
    ],
)
def test_what_would_not_happen_is_refused_by_name(
    client: TestClient, data: dict[str, str], param: str
) -> None:
    reply = client.post("/v1/files", files={"file": ("a.txt", b"a")}, data=data)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    reply = client.post("/v1/files", data={"purpose": "assistants"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "file")
    assert client.get("/v1/files").json()["data"] == []


def test_files_are_listed_page_by_page(client: TestClient) -> None:
    ids = [upload(client, f"{n}.txt", str(n)) for n in range(3)]
    first = client.get("/v1/files", params={"limit": 2}).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    rest = client.get("/v1/files", params={"limit": 2, "after": first["last_id"]}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    oldest = client.get("/v1/files", params={"order": "asc", "limit": 1}).json()
    assert oldest["data"][0]["id"] == ids[0]
    for params, param in (({"after": "file-x"}, "after"), ({"limit": 0}, "limit")):
        reply = client.get("/v1/files", params=params)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_full_disk_is_said_and_leaves_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onegen_model.files.os.fsync", full)
    for path, body in (
        ("/v1/files", {"files": {"file": ("a.txt", b"a")}}),
        ("/v1/vector_stores", {"json": {}}),
    ):
        reply = client.post(path, **body)  # type: ignore[arg-type]
        assert (reply.status_code, reply.json()["error"]["code"]) == (507, "storage_failed")
        assert "No space left" in reply.json()["error"]["message"]
    monkeypatch.undo()
    assert client.get("/v1/files").json()["data"] == []
    assert len(client.get("/v1/vector_stores").json()["data"]) == 1


def test_a_body_that_is_too_large_is_refused(serve: Callable[..., Serving]) -> None:
    with TestClient(create_app(serve(max_body=2000)), raise_server_exceptions=False) as client:
        reply = client.post("/v1/files", files={"file": ("a.txt", b"a" * 3000)})
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
        assert client.get("/v1/files").json()["data"] == []


def test_without_a_folder_one_message_says_what_to_do(serve: Callable[..., Serving]) -> None:
    serving = serve(storage=None, with_index=False)
    with TestClient(create_app(serving), raise_server_exceptions=False) as client:
        for path in ("/v1/files", "/v1/vector_stores", "/v1/vector_stores/vs_1"):
            reply = client.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (501, "no_storage")
            assert "--storage DIR" in reply.json()["error"]["message"]
