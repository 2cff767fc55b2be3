"""Studies: columns × blocks of seeds under one fair budget, planned, run, continued, compared."""
