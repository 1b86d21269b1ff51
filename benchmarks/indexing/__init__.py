"""What indexing costs, and what it keeps when things go wrong."""
