"""The API, and a server with an archive for the gate, as fixtures."""

import pytest
from drawn_pages import SizeReader


@pytest.fixture
def server(tmp_path):
    """Start applications in this process; the clients are closed at the end of the test."""
    from api_server import start_client

    made = []

    def start(reader=None, **settings):
        made.append(start_client(reader or SizeReader(), data=tmp_path / "data", **settings))
        return made[-1]

    yield start
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def archive():
    from gate_server import make_archive

    return make_archive()


@pytest.fixture
def gate(tmp_path):
    from gate_server import Server

    started = Server(tmp_path).start()
    yield started
    started.kill()
