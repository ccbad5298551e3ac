"""A chat endpoint on the loopback interface, for tests of what asks one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

Reply = tuple[int, bytes, dict[str, str]]


class Endpoint:
    """A server on the loopback interface that gives prepared replies in turn, the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.requests.append({"path": self.path, **json.loads(body)})
                endpoint.headers.append(dict(self.headers))
                status, content, headers = endpoint.replies[min(len(endpoint.requests), len(endpoint.replies)) - 1]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def says(self, content: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.replies.append((status, content.encode("utf-8"), headers or {}))

    def completes(self, content: str) -> None:
        self.says(json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
