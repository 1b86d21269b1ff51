"""Routes that need no package of their own."""
