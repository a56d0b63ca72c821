"""The stages of a job, as the programs share them; flags live here."""
