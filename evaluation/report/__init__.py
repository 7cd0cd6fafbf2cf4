"""The report of a run: `build_report` makes report.json's content, `write_report` writes it and its HTML rendering."""
