"""What the process ends with."""

EXIT_OK = 0
EXIT_FAILED = 1
"""The server could not start, or died: the port is taken, the folder cannot be written."""
EXIT_CONFIGURATION = 2
"""The environment, or a command's argument, is wrong; starting again without changing it is useless."""
EXIT_SCHEMA = 3
"""The tables of the database are of another version, or another program's: `passerelle migrate` comes first."""
