"""Strings of entity linking, in which the text is written again with its mentions marked.

    {prompt of the text}{text with <MENTION>surface</MENTION>[LK] in it}{end}

The hidden state at the link token is the embedding that finds the entity (OneGen, section 3.2);
nothing is inserted behind it. Without tags and link tokens what is written is the text itself.
"""

from dataclasses import dataclass

# A new row starts as the mean of the rows of these words.
_DESCRIPTIONS = {
    "open": " start of a name",
    "close": " end of the name",
    "link": " search for the entity of this name",
    "after_link": " continue",
}


@dataclass(frozen=True, slots=True)
class LinkingFormat:
    """The strings around a text and its mentions.

    `system` is the system message of the chat template; `prompt` surrounds the text (`{question}`)
    in place of that template. `after_link` is forced after the link token; it may be empty. Tags
    that the tokenizer has no token for are written as text.
    """

    system: str = "Mark the entities."
    prompt: str = ""
    open: str = "<MENTION>"
    close: str = "</MENTION>"
    link: str = "[LK]"
    after_link: str = ""

    @property
    def added_tokens(self) -> dict[str, str]:
        """Each token, with the words whose mean its first row is."""
        named = {name: getattr(self, name) for name in _DESCRIPTIONS}
        return {token: _DESCRIPTIONS[name] for name, token in named.items() if token}

    @property
    def emitted(self) -> str:
        """All text that is put around data."""
        return "\n".join((self.prompt, self.open, self.close, self.link, self.after_link))
