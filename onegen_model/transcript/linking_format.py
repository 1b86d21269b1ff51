"""Strings of entity linking, in which the text is written again with its mentions marked.

    {prompt of the text}{text with <MENTION>surface</MENTION>[LK] in it}{end}

The hidden state at the link token is the embedding that finds the entity (OneGen, section 3.2);
nothing is inserted behind it. Without tags and link tokens what is written is the text itself.
"""

from dataclasses import dataclass, fields

from onegen_model.errors import InvalidInputError

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
    in place of that template. `after_link` is forced after the link token; it may be empty. `tags`
    says whether `open` and `close` are "tokens" that a checkpoint adds, or are written as "text".
    `lead` stands in front of the text where it is written again, and is tokenised with it.
    """

    system: str = "Mark the entities."
    prompt: str = ""
    open: str = "<MENTION>"
    close: str = "</MENTION>"
    link: str = "[LK]"
    after_link: str = ""
    tags: str = "tokens"
    lead: str = ""

    def __post_init__(self) -> None:
        """Raise InvalidInputError for a format that cannot be written."""
        if self.tags not in ("tokens", "text"):
            raise InvalidInputError(
                f"linking.tags is {self.tags!r}; expected 'tokens' or 'text'; change the template"
            )
        for name in ("open", "close", "link"):
            if not getattr(self, name):
                raise InvalidInputError(
                    f"linking.{name} is empty; expected a string; add it to the template"
                )
        if self.prompt and "{question}" not in self.prompt:
            raise InvalidInputError(
                f"linking.prompt is {self.prompt!r}; expected {{question}} in it; add it"
            )

    @property
    def added_tokens(self) -> dict[str, str]:
        """Each token, with the words whose mean its first row is."""
        names = [name for name in _DESCRIPTIONS if self.tags == "tokens" or "link" in name]
        named = {name: getattr(self, name) for name in names}
        return {token: _DESCRIPTIONS[name] for name, token in named.items() if token}

    def to_dict(self) -> dict[str, str]:
        """The JSON form; the fields that came later are in it only where they are set."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        later = {"tags": "tokens", "lead": ""}
        return {name: value for name, value in values.items() if later.get(name) != value}

    @property
    def emitted(self) -> str:
        """All text that is put around data."""
        tags = (self.open, self.close) if self.tags == "tokens" else ()
        return "\n".join((self.prompt, *tags, self.link, self.after_link))
