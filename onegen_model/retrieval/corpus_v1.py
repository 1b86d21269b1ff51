"""Version 1 of a saved index: read as a corpus of one shard, and never written.

Its manifest names two files with their sizes and digests, because their names hold none.
"""

import re
from typing import Any

INDEX_FORMAT = "onegen-passage-index"
OWN_FILE = re.compile(
    r"vectors-[0-9a-f]{12}\.npy|passages-[0-9a-f]{12}\.jsonl|manifest\.json\.[0-9a-f]{12}"
)


def parse_index(plain: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of its EmbeddingSpec and of its ShardFiles.

    Raises TypeError, KeyError or ValueError for any other data.
    """
    kinds = {"fingerprint": str, "dimension": int, "passages": int, "files": dict}
    for name, kind in kinds.items():
        if not isinstance(plain[name], kind):
            raise TypeError(name)
    vectors, passages = plain["files"]
    spec = {
        "fingerprint": plain["fingerprint"],
        "dimension": plain["dimension"],
        "max_passage_tokens": None,
        "dtype": None,
        "stored_as": "float32",
        "shard_size": 2048,
    }
    shard = {
        "passages": passages,
        "vectors": vectors,
        "count": plain["passages"],
        "sums": tuple(str(plain["files"][name]["sha256"]) for name in (passages, vectors)),
    }
    return spec, shard
