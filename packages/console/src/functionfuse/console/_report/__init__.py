"""The report of a run: its record as plain data (the view), and a page that draws it."""
