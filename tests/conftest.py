# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running hospitals for the tests that cross modules.

A hospital is the demo's: trytond, Orthanc and the worklist updater on free
ports, with the demo's people and examinations in the database.
Each backend's database is made once in a run.
"""
import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from installation import TestInstallation  # noqa: E402
from postgresql import Cluster  # noqa: E402


@pytest.fixture(scope='session')
def postgresql_uri():
    "Where PostgreSQL is: the run's cluster, or one for this session"
    uri = os.environ.get('TEST_POSTGRESQL_URI')
    if uri:
        yield uri
    else:
        with Cluster() as cluster:
            yield cluster.uri


def start_hospital(tmp_path_factory, name, uri):
    root = tmp_path_factory.mktemp(f'hospital-{name}')
    installation = TestInstallation(root / 'state', uri)
    try:
        installation.start()
        yield installation
    finally:
        installation.stop()
        installation.keep_logs(name)


@pytest.fixture(scope='session')
def sqlite_hospital(tmp_path_factory):
    yield from start_hospital(tmp_path_factory, 'sqlite', 'sqlite://')


@pytest.fixture(scope='session')
def postgresql_hospital(tmp_path_factory, postgresql_uri):
    yield from start_hospital(
        tmp_path_factory, 'postgresql', postgresql_uri)


@pytest.fixture(params=['sqlite', 'postgresql'])
def hospital(request):
    "A running hospital on each of the databases"
    return request.getfixturevalue(f'{request.param}_hospital')
