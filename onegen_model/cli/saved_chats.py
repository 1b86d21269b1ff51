"""Chats on the disk: JSON with every turn, and the fingerprint of the model that answered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onegen_model.errors import InvalidInputError
from onegen_model.files import write_atomically

if TYPE_CHECKING:
    from onegen_model.transcript.answer import Answer

_FORMAT = 1
_EXPECTED = "expected a file that /save has written"


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: "Answer"


@dataclass(frozen=True, slots=True)
class SavedChat:
    """The turns of one conversation; `fingerprint` names the model that wrote the answers."""

    fingerprint: str
    turns: tuple[Turn, ...]


def save_chat(path: Path, fingerprint: str, turns: Sequence[Turn]) -> None:
    """Write a new file, or one in the place of another saved chat.

    Raises InvalidInputError where something else is there, and OSError.
    """
    if "\0" in str(path):
        raise InvalidInputError(
            f"{str(path)!r} holds a NUL character; expected the name of a file; choose another"
        )
    if path.exists() and not _is_chat(path):
        raise InvalidInputError(
            f"{path} exists and is no saved chat; expected a new name, because nothing else is "
            "replaced; choose another"
        )
    plain = [asdict(turn) for turn in turns]
    content = {"onegen_chat": _FORMAT, "fingerprint": fingerprint, "turns": plain}
    write_atomically(path, json.dumps({**content, "sha256": _digest(content)}) + "\n")


def read_chat(path: Path) -> SavedChat:
    """Raises InvalidInputError for a damaged or foreign file, and OSError."""
    try:
        content = json.loads(path.read_bytes())
        version, digest = content.pop("onegen_chat"), content.pop("sha256")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is no saved chat; {_EXPECTED}; check the path") from error
    if version != _FORMAT:
        raise InvalidInputError(
            f"{path} has the format {version!r}; expected {_FORMAT}; use the release of onegen "
            "that wrote it"
        )
    # Imported here: only a chat that is resumed needs it.
    from pydantic import TypeAdapter, ValidationError

    from onegen_model.transcript.answer import Answer

    try:
        if digest != _digest({"onegen_chat": version, **content}):
            raise ValueError("its content has changed")
        answers = TypeAdapter(Answer)
        turns = tuple(
            Turn(str(turn["question"]), answers.validate_python(turn["answer"]))
            for turn in content["turns"]
        )
        return SavedChat(str(content["fingerprint"]), turns)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InvalidInputError(
            f"{path} is damaged; {_EXPECTED}, unchanged; take a copy of it"
        ) from error


def require_same_model(chat: SavedChat, fingerprint: str, path: Path) -> None:
    """Raise InvalidInputError for a chat of another model: its tokens mean something else here."""
    if chat.fingerprint != fingerprint:
        raise InvalidInputError(
            f"{path} was written with another model ({chat.fingerprint[:12]}…); expected the one "
            f"that is loaded ({fingerprint[:12]}…); name the first one with --model"
        )


def _is_chat(path: Path) -> bool:
    try:
        read_chat(path)
    except InvalidInputError:
        return False
    return True


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
