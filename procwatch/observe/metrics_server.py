"""Serve the metrics on a port; needs the extra `metrics` (prometheus-client)."""

import threading
from collections.abc import Callable, Iterator
from typing import Any


class MetricsServer:
    """Answers GET /metrics with what `render` returns, on one address and port."""

    def __init__(self, render: Callable[[], str], host: str, port: int) -> None:
        """Bind at once. Raises OSError when the port is taken, ImportError without the extra."""
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(render))
        self._server: Any
        self._thread: threading.Thread
        # prometheus-client listens on every address unless it is told one.
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2.0)


class _Collector:
    def __init__(self, render: Callable[[], str]) -> None:
        self._render = render

    def collect(self) -> Iterator[Any]:
        from prometheus_client.parser import text_string_to_metric_families

        yield from text_string_to_metric_families(self._render())
