"""The HTML page of a run: one file that needs no network. Python gives the figures, charts.js draws them."""
