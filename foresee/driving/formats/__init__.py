"""One module per file format, and what they share: bytes, tables, rows, companion files, maps."""
