"""What bench_table.py and peer_torch.py share: reading another's JSON and writing a file, whole or not at all."""
import contextlib
import errno
import os
import stat
import tempfile

NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)  # of another's JSON


def place(file):
    """Where `file` is to be written: what its links end in. Throws OSError if that cannot be."""
    target = os.path.realpath(file)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise OSError(errno.EINVAL, "what is there is no file")
    if not os.access(os.path.dirname(target), os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, "its folder is not there or cannot be written")
    return target


def write(file, text):
    """Puts the whole text into `file`, or throws OSError and leaves everything as it was."""
    target = place(file)
    fd, part = tempfile.mkstemp(dir=os.path.dirname(target))
    try:
        with open(fd, "w", encoding="utf-8") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise
