# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"What the tests of the module share"
import datetime as dt

from sql import Table

from trytond.modules.health_imaging.tests.tools import (
    company_context, create_hospital, create_patient, create_professional,
    create_test)
from trytond.pool import Pool
from trytond.transaction import Transaction

STUDY_UID = '1.2.826.0.1.3680043.10.1.1'


class ImagingMixin:
    "A hospital with a server, a study and a result"

    def hospital(self):
        institution = create_hospital()
        Transaction().set_context(company_context())
        create_professional(
            "Cara", "Cordara", user=Transaction().user,
            institution=institution)
        self.patient = create_patient()
        self.test = create_test()

    def server(self, url='https://pacs.example.org/orthanc', **values):
        Server = Pool().get('gnuhealth.orthanc.config')
        server, = Server.create([{
                    'label': "PACS",
                    'domain': url,
                    'user': 'ana',
                    'password': 'a-test-password',
                    'validated': True,
                    **values,
                    }])
        return server

    def study(self, server, **values):
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        Instance = pool.get('gnuhealth.imaging_orthanc.series_instances')
        study, = Study.create([{
                    'server_config': server.id,
                    'orthanc_UID': 'orthanc-study',
                    'study_instance_UID': STUDY_UID,
                    'patient_name': 'BETZ^ANA',
                    'patient_id': 'TST001GNU',
                    'study_date': dt.date(2026, 3, 4),
                    'series_count': 1,
                    'instance_count': 2,
                    **values,
                    }])
        series, = Series.create([{
                    'study': study.id,
                    'orthanc_UID': 'orthanc-series',
                    'series_UID': STUDY_UID + '.2',
                    'series_number': '2',
                    'modality': 'CT',
                    'instance_count': 2,
                    }])
        Instance.create([{
                    'series': series.id,
                    'orthanc_UID': 'orthanc-' + name,
                    'sop_instance_UID': f'{STUDY_UID}.2.{number}',
                    'instance_number': number,
                    'image_position_patient': '0\\0\\5',
                    } for number, name in [(1, 'image'), (2, 'report')]])
        return Study(study.id)

    def result(self, patient=None):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = Request(
            patient=patient or self.patient, requested_test=self.test)
        request.save()
        Request.requested([request])
        result, = Request.create_results([request])
        return result

    def wizard(self, name, record=None):
        Wizard = Pool().get(name, type='wizard')
        if record is not None:
            Transaction().set_context(
                active_model=record.__name__, active_id=record.id,
                active_ids=[record.id])
        session_id, start, _ = Wizard.create()
        return Wizard, session_id

    def audit(self):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        return Audit.search([])

    def tasks(self, method):
        Queue = Pool().get('ir.queue')
        return sum(q.data['method'] == method for q in Queue.search([]))

    def secret(self, server):
        table = Table('gnuhealth_orthanc_config')
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.secret, where=table.id == server.id))
        return cursor.fetchone()[0]
