"""`onegen chat`: questions and commands, line by line."""

import contextlib
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.ask import Session, open_session
from onegen_model.cli.options import did_you_mean
from onegen_model.cli.printable import printable
from onegen_model.cli.saved_chats import (
    SavedChat,
    Turn,
    read_chat,
    require_same_model,
    save_chat,
)
from onegen_model.cli.system_errors import explain_os_error
from onegen_model.errors import InvalidInputError, OneGenError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel


@dataclass(slots=True)
class Chat:
    """The turns since the last /new; `file` is where they were saved or resumed from."""

    session: Session
    turns: list[Turn] = field(default_factory=list)
    file: Path | None = None

    def ask(self, question: str) -> None:
        """Answer, and keep the turn unless Ctrl-C ended it."""
        answer = self.session.answer(question, self.turns[-1].answer if self.turns else None)
        if answer is None:
            _say("cancelled; the conversation continues without this question")
        else:
            self.turns.append(Turn(question, answer))

    def begin_anew(self, _: str) -> None:
        self.turns.clear()
        self.file = None  # It keeps the turns before.

    def show_sources(self, _: str) -> None:
        if not self.turns:
            _say("There is no answer yet; expected one; ask a question first")
            return
        retrievals = self.turns[-1].answer.retrievals
        self.session.display.sources([one for item in retrievals for one in item.passages])

    def save(self, name: str) -> None:
        file = Path(os.path.expanduser(name)) if name else self.file
        if file is None or not self.turns:
            what = "No file is given" if self.turns else "There is no turn to save"
            raise InvalidInputError(f"{what}; expected one; write /save FILE after an answer")
        save_chat(file, self.session.model.fingerprint, self.turns)
        self.file = file
        _say(f"saved; continue with `onegen chat --resume {file}` and the same --index")

    def help(self, _: str) -> None:
        for name, (text, _run) in _COMMANDS.items():
            sys.stderr.write(f"  {name:12}{text}\n")


# Name and argument -> what it does, and the function.
_COMMANDS: dict[str, tuple[str, Callable[[Chat, str], None]]] = {
    "/sources": ("shows the passages of the last answer, whole", Chat.show_sources),
    "/new": ("begins a new conversation", Chat.begin_anew),
    "/save FILE": ("writes the conversation; --resume FILE continues it", Chat.save),
    "/help": ("shows these commands", Chat.help),
    "/quit": ("leaves, as Ctrl-D does", lambda _chat, _argument: None),
}


def run_chat(options: Namespace, load_model: "LoadModel") -> int:
    file = Path(options.resume) if options.resume else None
    saved = None if file is None else read_chat(file)
    session = open_session(options, load_model)
    chat = Chat(session)
    if saved is not None and file is not None:
        chat = _resumed(session, saved, file)
    for line in _read_lines():
        if line.split()[0] == "/quit":
            break
        try:
            _carry_out(chat, line)
        except (OneGenError, OSError) as error:
            if options.debug or isinstance(error, BrokenPipeError):
                raise
            _say(f"error: {explain_os_error(error) if isinstance(error, OSError) else error}")
    return 0


def _resumed(session: Session, saved: SavedChat, file: Path) -> Chat:
    require_same_model(saved, session.model.fingerprint, file)
    count = len(saved.turns)
    _say(f"continues {file} after {count} question{'' if count == 1 else 's'}")
    return Chat(session, list(saved.turns), file)


def _carry_out(chat: Chat, line: str) -> None:
    """A question, or a command: one word behind a slash (and `/etc/hosts` is a question)."""
    word, argument = [*line.split(maxsplit=1), ""][:2]
    if not re.fullmatch(r"/\w*", word):
        chat.ask(line)
        return
    commands = {name.partition(" ")[0]: run for name, (_, run) in _COMMANDS.items()}
    if word in commands:
        commands[word](chat, argument)
        return
    similar = did_you_mean(word, [*commands])
    _say(f"There is no command {word}{similar or '; /help lists the commands'}")


def _read_lines() -> Iterator[str]:
    """Lines until the end of input."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (gives `input` editing and a history)
        sys.stderr.write("Ask a question; /help lists the commands, /quit or Ctrl-D leaves\n")
    while True:
        try:
            line = input("> " if is_terminal else "").strip()
        except EOFError:
            if is_terminal:
                sys.stderr.write("\n")
            return
        except KeyboardInterrupt:
            sys.stderr.write("\n/quit or Ctrl-D leaves\n")
            continue
        except UnicodeDecodeError:
            _say("error: The line is not UTF-8; expected text; try again")
            continue
        if line:
            yield line


def _say(text: str) -> None:
    sys.stderr.write(f"onegen: {printable(text)}\n")
