"""How the worker lives: jobs that end, faults that end the worker, and the platform's loop around both."""
