# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Orthanc tells a real GNU Health what was stored and deleted."""
import time

from proteus import Model, Wizard

from demo.hospital import connect
from demo.services import wait_until
from demo.state import REPOSITORY
from trytond.modules.health_orthanc.tests.orthanc import (
    PASSWORD, USER, Orthanc, study)
from trytond.modules.health_orthanc.tests.proxy import proxy

SCRIPT = REPOSITORY / 'his-utils' / 'orthanc' / 'gnuhealth.lua'
# A loaded machine is slow; how long it took is printed.
LIMIT = 60


class Told:
    "What GNU Health knows of the server, and what it cost"

    def __init__(self, server, calls):
        self.server = server
        self.calls = calls

    def studies(self, missing):
        return Model.get('gnuhealth.imaging_orthanc.study').find([
                ('server_config', '=', self.server.id),
                ('missing_since', '!=' if missing else '=', None)])

    def runs(self):
        return Model.get('gnuhealth.orthanc.sync.run').find([
                ('server', '=', self.server.id)])

    def after(self, work, missing):
        "Return calls and runs until GNU Health shows what was done"
        calls, runs = self.calls.asked, len(self.runs())
        work()
        started = time.monotonic()
        wait_until(lambda: self.studies(missing), LIMIT,
            "GNU Health shows what Orthanc tells")
        print(f'{"deleted" if missing else "stored"}: shown after '
            f'{time.monotonic() - started:.1f} s')
        wait_until(
            lambda: all(run.state == 'done' for run in self.runs()), LIMIT,
            "The synchronization ends")
        return self.calls.asked - calls, len(self.runs()) - runs


def test_told(hospital):
    "A stored study is shown and a deleted one marked, by a call and a run"
    gnuhealth = f'http://127.0.0.1:{hospital.trytond.port}'
    orthanc = Orthanc(LuaScripts=[str(SCRIPT)])
    with connect(hospital), proxy(gnuhealth) as calls:
        server = Model.get('gnuhealth.orthanc.config')(
            label="Tells", domain=orthanc.url, user=USER, password=PASSWORD)
        server.save()
        key = Wizard('gnuhealth.orthanc.notification_key', [server])
        path = key.form.address.split('/', 3)[3]
        orthanc.options['GnuHealth'] = {
            'Url': f'{calls.url}/{path}', 'Key': key.form.key}
        with orthanc:
            server.click('check')
            wait_until(
                lambda: server.reload() or server.validated, LIMIT,
                "GNU Health finds the server")
            told = Told(server, calls)
            assert told.after(
                lambda: orthanc.store(*study()), missing=False) == (1, 1)
            calls_, runs = told.after(orthanc.clear, missing=True)
            # instance, series and study go, maybe at the turn of a second
            assert 1 <= calls_ <= 2
            assert runs == 1
            server.reload()
            server.click('remove_config_server')
