"""Where runs are carried out: jobs, and the engines that do them, here or on other machines."""
