"""Adapters to other libraries' interfaces, one file each. Each imports its library when it is used."""
