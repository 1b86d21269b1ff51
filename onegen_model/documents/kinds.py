"""Kinds of files: by name, and by content where the name says nothing."""

import codecs
from pathlib import Path
from typing import Literal

# How a file becomes documents.
Kind = Literal["records", "text", "markdown", "rst", "code", "table", "converted"]

RECORDS = (".jsonl", ".jsonl.gz")
# The kinds that markitdown, or a library that it brings, converts in a process of its own.
CONVERTED = (".pdf", ".docx", ".pptx", ".xlsx", ".html", ".htm", ".xhtml", ".epub", ".ipynb")
PACKED = (".docx", ".pptx", ".xlsx", ".epub")

_NAMES: dict[Kind, str] = {
    "records": "jsonl",
    "converted": "pdf docx pptx xlsx html htm xhtml epub ipynb",
    "table": "csv tsv",
    "markdown": "md markdown mdown mkd mdx qmd rmd",
    "rst": "rst rest",
    "text": "txt text log tex bib srt vtt adoc asciidoc org textile wiki po pot eml diff patch",
    "code": "py pyi pyx js mjs cjs jsx ts mts tsx java kt kts scala groovy c h cc cpp cxx hh hpp "
    "hxx cs go rs rb php pl pm lua r jl swift m mm dart ex exs erl hrl hs ml mli clj cljs fs fsx "
    "vb f90 f95 f for pas asm s sh bash zsh fish ps1 bat cmd sql yaml yml toml json json5 jsonc "
    "xml xsd xsl xslt ini cfg conf properties env gradle cmake mk tf tfvars hcl proto graphql gql "
    "css scss sass less vue svelte nix dockerfile makefile",
}
_KIND_OF = {f".{suffix}": kind for kind, names in _NAMES.items() for suffix in names.split()}
_CODE_FILES = {"makefile", "dockerfile", "jenkinsfile", "vagrantfile", "gemfile", "rakefile"}
# Never read, even where the content looks like text.
_BINARY_NAMES = (
    "png jpg jpeg gif bmp tif tiff webp ico heic avif svg psd ai eps mp3 wav flac ogg m4a aac "
    "wma mp4 m4v mkv avi mov webm mpg mpeg zip gz tgz bz2 xz zst 7z rar tar jar war whl egg "
    "exe dll so dylib a o obj lib bin class pyc pyo wasm ttf otf woff woff2 eot db sqlite "
    "sqlite3 parquet feather arrow npy npz pt pth safetensors gguf onnx pkl pickle h5 hdf5 "
    "mat iso img dmg deb rpm apk msi doc xls ppt odt ods odp rtf pages numbers key msg mobi "
    "azw3 djvu ps"
)
_BINARY = frozenset(f".{suffix}" for suffix in _BINARY_NAMES.split())
EXPECTED = (
    "text, Markdown, rst, HTML, PDF, docx, pptx, xlsx, csv, epub, ipynb, jsonl, source code or "
    "another file of text"
)
_SAMPLE = 8192
# The bytes of texts of one byte a character: all but most control characters.
PRINTABLE = bytes(set(range(32, 256)) - {127} | set(b"\t\n\v\f\r\x1b"))
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def suffix_of(path: Path) -> str:
    """The last suffix in lower case, and both of a packed .jsonl."""
    name = path.name.lower()
    return ".jsonl.gz" if name.endswith(".jsonl.gz") else path.suffix.lower()


def has_known_suffix(name: str) -> bool:
    """Whether a name ends as that of a file does whose kind needs no look into it."""
    suffix = suffix_of(Path(name))
    return suffix in RECORDS or suffix in _KIND_OF or suffix in _BINARY


def kind_of(path: Path) -> Kind | None:
    """None for a file of unknown binary content; raises OSError for one that cannot be opened.

    Only a file whose name tells nothing is opened.
    """
    suffix = suffix_of(path)
    if suffix == ".jsonl.gz":
        return "records"
    if path.name.lower() in _CODE_FILES:
        return "code"
    if suffix in _KIND_OF:
        return _KIND_OF[suffix]
    if suffix in _BINARY or not _looks_like_text(path):
        return None
    return "text"


def _looks_like_text(path: Path) -> bool:
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    if sample.startswith(tuple(BYTE_ORDER_MARKS)):
        return True
    return not sample.translate(None, PRINTABLE)
