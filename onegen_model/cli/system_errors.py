"""Errors of the file system, in the form of all errors."""

import os


def explain_os_error(error: OSError) -> str:
    """What; expected; what to do."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return f"The system reports: {reason}; expected no such error; solve it and try again"
    what = f"{os.fsdecode(error.filename)} cannot be used ({reason})"
    if isinstance(error, PermissionError):
        return f"{what}; expected permission for it; change its permissions or choose another path"
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return f"{what}; expected an existing file or folder of the right kind; check the path"
    return f"{what}; expected a path that can be read and written; check the path and its disk"
