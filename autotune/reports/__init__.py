"""Reports: pure functions from a run record to text or a table. They see the record only, and need no torch."""
