"""Tables and reports, from records alone."""
