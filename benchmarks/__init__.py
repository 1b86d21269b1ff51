"""What is measured against what; each module is a command that prints tables and writes JSON."""
