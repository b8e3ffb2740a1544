"""The process that reads file systems. It alone imports dissect, which is under the AGPL.

It is given no key, no environment and no open file but one socket, on which it asks for pieces of disks
(`vmtui/files/protocol.py`); it cannot write files. Whatever a hostile file system does to it, the program outside only sees an answer that
is wrong in form, late, or missing.
"""
