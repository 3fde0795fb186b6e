"""Prefect servers: real ones in processes of their own, each with its home, and the temporary one of a script."""

from __future__ import annotations

import os
import tempfile

# Read when prefect is imported.
os.environ |= {
    "PREFECT_HOME": tempfile.mkdtemp(prefix="functionfuse-prefect-"),
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A server writes down what became of tasks once a second, and not one event at a time.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
    "RAY_AUTH_MODE": "disabled",
}

from contextlib import contextmanager
from pathlib import Path

import certifi
import pytest
from prefect_servers import one_connection, running_server

# Each client of Prefect reads the certificates that it trusts, and each task in another process has two clients.
ONE_CERTIFICATE = Path(os.environ["PREFECT_HOME"], "one.pem")
ONE_CERTIFICATE.write_text(certifi.contents().split("\n\n")[1])
os.environ["PREFECT_API_SSL_CERT_FILE"] = str(ONE_CERTIFICATE)


@contextmanager
def _settings(api_url):
    """Let this process use a server, in threads too; without the heartbeat, whose end takes a second of every run."""
    import prefect.context
    from prefect.events.worker import EventsWorker
    from prefect.settings import (
        PREFECT_API_DATABASE_CONNECTION_URL,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    before = prefect.context.GLOBAL_SETTINGS_CONTEXT
    settings = {
        PREFECT_API_URL: api_url,
        PREFECT_API_DATABASE_CONNECTION_URL: one_connection(os.environ["PREFECT_HOME"]),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(settings):
        prefect.context.GLOBAL_SETTINGS_CONTEXT = prefect.context.SettingsContext.get()
        try:
            yield
        finally:
            EventsWorker.drain_all(timeout=30)  # else it looks for the server when this process ends, for minutes
            prefect.context.GLOBAL_SETTINGS_CONTEXT = before


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """A real server, as ``prefect server start`` starts it; one for all modules, as that takes ten seconds."""
    home = tmp_path_factory.mktemp("server")
    with running_server(home, database=one_connection(home)) as server:
        yield server


@pytest.fixture(scope="module")
def server(running):
    """The server, and this process uses it."""
    with _settings(running.api_url):
        yield running


@pytest.fixture(scope="module")
def ephemeral():
    """No server: Prefect starts a temporary one by itself."""
    with _settings(None):
        yield
