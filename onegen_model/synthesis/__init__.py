"""Questions with answers, made from the passages of an index and checked by asking them again."""
