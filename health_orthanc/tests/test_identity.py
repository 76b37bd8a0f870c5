# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest
from unittest.mock import patch
from urllib.parse import urlsplit

from trytond.modules.health_orthanc import identity
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

from .mirror import SyncMixin
from .orthanc import Orthanc, study
from .proxy import proxy


class IdentityTestCase(SyncMixin, unittest.TestCase):
    "Test another Orthanc behind the same URL"

    def swap(self, faulty, orthanc):
        faulty.target = urlsplit(orthanc.url).netloc

    def present(self, server):
        return self.studies(server, missing_since=None)

    @with_transaction()
    def test_swapped(self):
        "The run stops before anything is marked; a person decides"
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        Run = pool.get('gnuhealth.orthanc.sync.run')
        self.orthanc.store(*study(), *study())
        for files in [[], [*study()]]:
            with self.subTest(files=len(files)), \
                    Orthanc(Name="Another") as other, \
                    proxy(self.orthanc.url) as faulty:
                other.store(*files)
                server = self.server(faulty.url)
                self.assertRun(self.sync(server), new=2)
                self.swap(faulty, other)
                for kind in ['new', 'full', 'reconcile']:
                    Server.write([server], {'validated': True})
                    run = self.sync(server, kind)
                    self.assertEqual(run.state, 'failed')
                    self.assertIn("Another Orthanc", run.message)
                    self.assertIn(server.rec_name, run.message)
                    self.assertEqual(len(self.present(server)), 2)
                server = Server(server.id)
                self.assertTrue(server.replaced)
                self.assertFalse(server.validated)
                self.assertIn("Another Orthanc", server.problems)
                # neither a run, the scheduler nor a check goes on by itself
                self.assertIn("not validated", self.sync(server).message)
                runs = Run.search([], count=True)
                Run.synchronize_servers()
                self.assertEqual(Run.search([], count=True), runs)
                Server.check_connection([server])
                server = Server(server.id)
                self.assertTrue(server.replaced)
                self.assertFalse(server.validated)
                # the old one comes back
                self.swap(faulty, self.orthanc)
                Server.check_connection([server])
                server = Server(server.id)
                self.assertTrue(server.validated)
                self.assertFalse(server.replaced)
                self.assertRun(self.sync(server), missing=0, new=0)
                # the new one is accepted
                self.swap(faulty, other)
                Server.check_connection([server])
                Server.accept_replacement([Server(server.id)])
                Server.check_connection([server])
                server = Server(server.id)
                self.assertTrue(server.validated)
                self.assertRun(
                    self.sync(server), missing=2, new=len(files))
                self.assertEqual(len(self.present(server)), len(files))
                Audit = pool.get('gnuhealth.orthanc.audit')
                self.assertTrue(Audit.search([
                            ('event', '=', 'replace'),
                            ('server_config', '=', server.id)]))
                Server.write([server], {'active': False})

    @with_transaction()
    def test_moved(self):
        "An archive that is renamed, moved or restored is the same one"
        files = [*study(), *study()]
        self.orthanc.store(*files)
        Server = Pool().get('gnuhealth.orthanc.config')
        with Orthanc(Name="New Name") as other, \
                proxy(self.orthanc.url) as faulty:
            other.store(files[0])
            server = self.server(faulty.url)
            self.assertRun(self.sync(server), new=2)
            self.swap(faulty, other)
            self.assertRun(self.sync(server), missing=1)
            server = Server(server.id)
            self.assertEqual(server.orthanc_name, "New Name")
            self.assertFalse(server.replaced)
            Server.check_connection([server])
            self.assertTrue(Server(server.id).validated)

    @with_transaction()
    def test_same_name(self):
        "Another archive with the same name and ports is told by its log"
        self.orthanc.store(*study(), *study(), *study())
        with Orthanc() as other, proxy(self.orthanc.url) as faulty, \
                patch.object(identity, 'FEW', 3), \
                patch.object(identity, '_FACTS', ['Name']):
            other.store(*study())
            server = self.server(faulty.url)
            self.assertRun(self.sync(server), new=3)
            self.swap(faulty, other)
            self.assertEqual(self.sync(server).state, 'failed')
            self.assertEqual(len(self.present(server)), 3)

    @with_transaction()
    def test_emptied(self):
        "An archive that lost all and goes on with its log is the same one"
        self.orthanc.store(*study(), *study(), *study())
        server = self.server()
        with patch.object(identity, 'FEW', 3):
            self.assertRun(self.sync(server), new=3)
            with self.orthanc.client() as client:
                for id_ in client.ids('study'):
                    client.delete('study', id_)
            self.orthanc.store(*study())
            self.assertRun(self.sync(server), missing=3, new=1)

    @with_transaction()
    def test_requests(self):
        "To recognize an archive costs one request, whatever it holds"
        self.orthanc.store(*study(), *study(), *study())
        with proxy(self.orthanc.url) as faulty, \
                patch.object(identity, 'FEW', 1):
            server = self.server(faulty.url)
            self.sync(server)
            faulty.asked = 0
            self.sync(server)
            self.assertEqual(faulty.asked, 3)
