"""Which package may import which, read from the source.

A new package needs a line in CORE, a new edge one more word in the line of its importer, and every
allowed edge must be used.
"""

import ast
import functools
import graphlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.imports import Import, walk_imports

ROOT = Path(__file__).parents[2]
PACKAGE = "onegen_model"

# Package or top-level module of the core -> what it may import of the core, besides itself.
# Data flows one way: plain data first, `model` above everything it assembles.
CORE = {
    "errors": "",
    "events": "",
    "forking": "errors",
    "files": "",
    "locks": "",
    "jsonl": "errors",
    "batches": "",
    "params": "errors transcript.grammar",
    "inputs": "errors events params",
    "request": "errors events inputs params",
    "network": "",
    "transcript": "citations errors events locks places",
    "engine": "errors events inputs network params request transcript",
    "places": "events",
    "citations": "events places",
    "progress": "",
    "spans": "",
    "retrieval": "batches errors events files jsonl locks network places progress",
    "documents": "errors events jsonl places progress retrieval.manifest",
    "indexing": "documents errors events jsonl linking.entities places progress retrieval",
    "generation": "engine.base errors events inputs params places request retrieval.protocol "
    "transcript",
    "checkpoint": "engine.probe errors files forking transcript",
    "linking": "engine errors events locks network places progress retrieval.names "
    "retrieval.protocol runtime transcript",
    "options": "errors params retrieval.protocol transcript",
    "runtime": "engine errors forking generation locks transcript",
    "model": "batches checkpoint engine.base events generation linking options params retrieval "
    "runtime transcript",
    "finetune": "",
    "finetune.settings": "errors",
    "finetune.loss": "network",
    "finetune.data": "checkpoint.presets errors events finetune.loss finetune.settings "
    "jsonl linking.entities network places retrieval.corpus retrieval.manifest spans transcript",
    "finetune.mining": "batches checkpoint errors events files finetune.data jsonl network "
    "retrieval transcript",
    "finetune.run": "checkpoint engine.probe errors finetune.data finetune.loss finetune.settings "
    "jsonl transcript",
    "evaluation": "",
    "evaluation.ask": "checkpoint documents errors events files generation indexing jsonl model "
    "params places retrieval transcript",
    "evaluation.score": "errors evaluation.ask transcript",
    "evaluation.documents": "errors evaluation.ask evaluation.score events jsonl model params "
    "places retrieval spans",
    "evaluation.linking": "errors evaluation.ask evaluation.documents.questions evaluation.score "
    "events files finetune.data jsonl linking model progress retrieval transcript",
    "synthesis": "errors evaluation.ask.pool evaluation.score.answer_metrics events "
    "finetune.mining.resumable_file model params places progress retrieval.index spans "
    "transcript.answer",
}
TOP = {"", "cli"}  # may import every module of the core; nothing imports them

# Package or module of the core -> the third-party packages it may import; others are free.
FREE_OF_ALL = (
    "errors events jsonl inputs batches params request engine.base engine.scripted "
    "retrieval.protocol"
)
THIRD_PARTY = dict.fromkeys(FREE_OF_ALL.split(), "") | {
    "files": "filelock",
    "network": "torch transformers",
    "transcript": "llguidance locks regex semantic_text_splitter transformers",
    "generation": "transformers",
    "checkpoint.default_base": "filelock platformdirs tokenizers torch tqdm transformers",
}
ONLY_IN = {
    "markitdown": {"documents.conversion"},
    "pdfplumber": {"documents.pdf"},
    "faiss": {"retrieval.rows"},
    "semantic_text_splitter": {"documents.splitting", "transcript.passage_fit"},
    "markdown_it": {"documents.splitting"},
}
NEVER_IN_CORE = (
    "benchmarks", "chromadb", "examples", "langchain", "llama_index", "onegen_integrations",
    "tests", "training",
)  # fmt: skip

# Folder outside the core -> the modules of the core whose public names it may import.
# benchmarks/ measures the inside, so it may look anywhere.
OUTSIDE = {
    "onegen_integrations": {"", "errors", "files"},  # the server keeps files
    "examples": {"", "errors", "evaluation", "finetune"},
    "training": {"", "checkpoint.default_base", "errors", "evaluation", "finetune"},
}


@dataclass(frozen=True)
class Source:
    path: Path

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def module(self) -> str:
        """The name inside the core: `engine.base`; "" for the package itself."""
        return self.name.removeprefix(PACKAGE).removeprefix(".")

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @functools.cache  # noqa: B019 (one per file)
    def imports(self) -> list[Import]:
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        return list(walk_imports(ast.parse(self.text), package))


def sources(folder: str) -> list[Source]:
    return [Source(path) for path in sorted((ROOT / folder).rglob("*.py"))]


CORE_SOURCES = sources(PACKAGE)
MODULES = {source.module for source in CORE_SOURCES}
each_core_source = pytest.mark.parametrize("source", CORE_SOURCES, ids=lambda s: s.name)


def target_module(found: Import) -> str | None:
    """The module of the core that is imported; None for one outside the core."""
    if found.module != PACKAGE and not found.module.startswith(f"{PACKAGE}."):
        return None
    module = found.module.removeprefix(PACKAGE).removeprefix(".")
    inner = ".".join(filter(None, [module, found.name]))
    return inner if inner in MODULES else module


def line_of(module: str, table: dict[str, str]) -> str | None:
    """The line of the table for a module: its own, or that of the nearest package around it."""
    while module and module not in table:
        module = module.rpartition(".")[0]
    return module or None


def is_inside(module: str, allowed: set[str]) -> bool:
    return any(module == entry or (entry and module.startswith(f"{entry}.")) for entry in allowed)


def misplaced(source: Source) -> list[str]:
    if source.module in TOP or source.module.startswith("cli."):
        return []
    line = line_of(source.module, CORE)
    if line is None:
        return [f"{source.name} has no line in CORE"]
    allowed = {line, *CORE[line].split()}
    return [
        f"{source.name}:{found.line} may not import {PACKAGE}.{module}"
        for found in source.imports()
        if (module := target_module(found)) is not None and not is_inside(module, allowed)
    ]


def foreign(source: Source) -> list[str]:
    line = line_of(source.module, THIRD_PARTY)
    allowed = None if line is None else THIRD_PARTY[line].split()
    problems = []
    for found in source.imports():
        top = found.module.partition(".")[0]
        if top == PACKAGE or top in sys.stdlib_module_names:
            continue
        if (
            top.startswith(NEVER_IN_CORE)
            or (allowed is not None and top not in allowed)
            or not is_inside(source.module, ONLY_IN.get(top, {source.module}))
        ):
            problems.append(f"{source.name}:{found.line} may not import {top}")
    return problems


@each_core_source
def test_a_module_imports_only_the_modules_it_may(source: Source) -> None:
    assert misplaced(source) == []


@pytest.mark.parametrize("line", CORE)
def test_every_allowed_edge_is_used(line: str) -> None:
    used = {
        module
        for source in CORE_SOURCES
        if line_of(source.module, CORE) == line
        for found in source.imports()
        if (module := target_module(found)) is not None
    }
    unused = [edge for edge in CORE[line].split() if not any(is_inside(r, {edge}) for r in used)]
    assert unused == []


@each_core_source
def test_a_module_imports_only_the_packages_it_may_use(source: Source) -> None:
    assert foreign(source) == []


def module_graph(folder: str) -> dict[str, set[str]]:
    """Module -> the modules of its folder that it imports, inside functions too."""
    modules = {source.name: source for source in sources(folder)}

    def targets(source: Source) -> Iterator[str]:
        for found in source.imports():
            inner = f"{found.module}.{found.name}"
            target = inner if inner in modules else found.module
            if not found.for_types and target in modules and target != source.name:
                yield target

    return {name: set(targets(source)) for name, source in modules.items()}


@pytest.mark.parametrize(
    "folder", [PACKAGE, "onegen_integrations", "benchmarks", "training", "examples"]
)
def test_no_modules_import_each_other_in_a_circle(folder: str) -> None:
    graphlib.TopologicalSorter(module_graph(folder)).prepare()


def test_no_packages_import_each_other_in_a_circle() -> None:
    # Two lines may share a package: `engine` and `engine.base` are one.
    def package(name: str) -> str:
        return name if name.startswith(("finetune.", "evaluation.")) else name.partition(".")[0]

    graph = {package(line): {package(edge) for edge in CORE[line].split()} for line in CORE}
    graphlib.TopologicalSorter({line: edges - {line} for line, edges in graph.items()}).prepare()


@pytest.mark.parametrize("folder", OUTSIDE)
def test_the_outside_uses_public_names_only(folder: str) -> None:
    problems = [
        f"{source.name}:{found.line} may not import {found.module} {found.name or ''}"
        for source in sources(folder)
        for found in source.imports()
        if (module := target_module(found)) is not None
        and (not is_inside(module, OUTSIDE[folder]) or (found.name or "").startswith("_"))
    ]
    assert problems == []


# The guard guarded: each of these would slip through if the walk above were blind.
@pytest.mark.parametrize(
    ("module", "code", "problem"),
    [
        ("request", "import torch", "may not import torch"),
        ("request", "def f():\n    from torch import nn", "may not import torch"),
        ("events", "if TYPE_CHECKING:\n    import numpy", "may not import numpy"),
        ("model", "from langchain_core.documents import Document", "may not import langchain_core"),
        ("retrieval.embedder", "import faiss", "may not import faiss"),
        ("events", "from onegen_model.errors import OneGenError", "may not import onegen_model."),
        ("events", "from onegen_model import errors", "may not import onegen_model.errors"),
        ("engine.base", "from ..errors import A\nfrom ..retrieval import B", ":2 may not import"),
        ("generation.driver", "from onegen_model.engine import cache", "may not import onegen_mo"),
        ("model", "from onegen_model import OneGenModel", "may not import onegen_model."),
        ("unheard_of", "", "has no line in CORE"),
    ],
)
def test_a_forbidden_import_is_seen(
    module: str, code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / PACKAGE / Path(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    path.write_text(code)
    (found,) = misplaced(Source(path)) + foreign(Source(path))
    assert problem in found


def test_a_circle_through_a_function_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.py").write_text("from folder import two")
    (tmp_path / "folder" / "two.py").write_text("def f():\n    from folder.one import g")
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(module_graph("folder")).prepare()
    Source.imports.cache_clear()
    (tmp_path / "folder" / "two.py").write_text("if TYPE_CHECKING:\n    from folder.one import G")
    graphlib.TopologicalSorter(module_graph("folder")).prepare()
