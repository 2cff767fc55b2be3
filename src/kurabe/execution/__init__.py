"""Where runs are carried out: jobs, and the engine that does them on this machine."""
