"""The process that reads file systems. It alone imports dissect, which is under the AGPL.

It has no file, no key and no network: only one socket, on which it asks for pieces of disks
(`vmtui/files/protocol.py`). Whatever a hostile file system does to it, the program outside only sees an answer that
is wrong in form, late, or missing.
"""
