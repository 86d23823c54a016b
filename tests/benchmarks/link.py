"""A folder served over HTTP through a link of so many Mbit/s, as storage at a distance is.

    python tests/benchmarks/link.py FOLDER 200

Prints the port on 127.0.0.1 and serves until its standard input is closed: it ends with the
process that started it, however that ends. All connections share the link. Only what a file
holds is counted, and there is no latency but that of the machine itself.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

BURST_SECONDS = 0.005
CHUNK = 32 * 1024


class Link:
    """Bytes pass one after the other; what was not used is lost, but for a short burst."""

    def __init__(self, mbit: float):
        self.rate = mbit * 1e6 / 8
        self.passed = float("-inf")
        self.lock = threading.Lock()

    def send(self, size: int, now: float) -> float:
        """When the last of `size` bytes that are offered at time `now` has passed."""
        with self.lock:
            # A sender that wakes a little late catches up: a timer is not exact.
            self.passed = max(self.passed, now - BURST_SECONDS) + size / self.rate
            return self.passed


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # a connection is kept for the next clip
    disable_nagle_algorithm = True  # a clip's last bytes do not wait for an acknowledgement

    def __init__(self, *arguments: object, link: Link, **options: object):
        self.link = link
        super().__init__(*arguments, **options)

    def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:
        while chunk := source.read(CHUNK):
            now = time.monotonic()
            time.sleep(max(self.link.send(len(chunk), now) - now, 0))
            outputfile.write(chunk)

    def log_message(self, *_: object) -> None:
        pass  # a line for each clip would drown what the benchmark says


class Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def served(folder: Path, mbit: float) -> Iterator[int]:
    """The port of a server for `folder`, in a process of its own."""
    command = [sys.executable, __file__, str(folder), str(mbit)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield int(process.stdout.readline())


def main() -> None:
    folder, mbit = sys.argv[1:]
    handler = partial(Handler, directory=folder, link=Link(float(mbit)))
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
