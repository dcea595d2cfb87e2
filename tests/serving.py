"""A web server of a test's own, with real bytes over real sockets."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(contents, pause=0.0):
    """Serve contents by path; yields the address and the list of paths asked for. What is a number is a status.

    With a pause, content trickles in ten pieces, each after the pause; of a tuple only half is sent.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = contents.get(self.path, 404)
            if isinstance(found, int):
                self.send_error(found)
                return
            content, cut = (found[0], True) if isinstance(found, tuple) else (found, False)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            content = content[: len(content) // 2] if cut else content
            size = len(content) // 10 + 1
            for start in range(0, len(content), size):
                time.sleep(pause)
                try:
                    self.wfile.write(content[start : start + size])
                except OSError:
                    return

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
