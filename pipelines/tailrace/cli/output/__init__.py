"""What the commands print: text, tables, Markdown, JSON, progress and logs."""
