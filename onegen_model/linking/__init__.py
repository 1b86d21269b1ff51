"""Entity linking: a text is written again, its mentions are marked and their entities found."""
