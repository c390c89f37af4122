"""The report generator: run files in, one self-contained HTML page and one Markdown summary out."""
