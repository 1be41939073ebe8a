"""The commands of ``python -m voice_store``, a file a subject.

Each has ``add_commands``, which describes its commands to the parser; what they are run by takes the parsed
options and returns the exit status.
"""
