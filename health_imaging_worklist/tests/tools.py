# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"What the tests of the worklist need on top of the small hospital"
import datetime as dt
from contextlib import contextmanager

from trytond.modules.health_imaging.tests.tools import (
    company_context, create_hospital, create_patient, create_professional,
    create_test)
from trytond.pool import Pool
from trytond.transaction import Transaction

# Winter time in Madrid: 23:30 UTC is 00:30 of the next day
DATE = dt.datetime(2024, 1, 31, 23, 30)


class WorklistMixin:
    "A hospital with a study on the worklist"

    def hospital(self):
        self.institution = create_hospital()
        Transaction().set_context(company_context())
        self.doctor = create_professional(
            "Cara", "Cordara", user=Transaction().user,
            institution=self.institution)
        self.patient = create_patient()
        self.dump, self.json = (
            self.template(t) for t in ('dump2dcm', 'json'))
        self.ct = create_test(
            aetitle='CT1', imaging_worklist_template=self.dump)
        self.mr = create_test(
            'MRKNEE', "MR knee", 'mri', aetitle='MR1',
            imaging_worklist_template=self.json)

    def template(self, template_type):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        Template = pool.get('gnuhealth.imaging_worklist.worklist_template')
        return Template(ModelData.get_id(
                'health_imaging_worklist',
                'worklist_template_%s' % template_type))

    def draft(self, **values):
        Request = Pool().get('gnuhealth.imaging.test.request')
        values.setdefault('patient', self.patient)
        values.setdefault('requested_test', self.ct)
        values.setdefault('date', DATE)
        values.setdefault('scheduled_date', values['date'])
        request = Request(**values)
        request.save()
        return request

    def request(self, **values):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = self.draft(**values)
        Request.requested([request])
        return request


class _Counted:
    "A connection or a cursor that notes what is executed"

    def __init__(self, wrapped, executed):
        self._wrapped = wrapped
        self._executed = executed

    def __getattr__(self, name):
        return getattr(self._wrapped, name)

    def __iter__(self):
        return iter(self._wrapped)

    def cursor(self, *args, **kwargs):
        return _Counted(
            self._wrapped.cursor(*args, **kwargs), self._executed)

    def execute(self, statement, *args):
        self._executed.append(statement)
        return self._wrapped.execute(statement, *args)


@contextmanager
def statements():
    "Collect the statements that are executed"
    executed = []
    transaction = Transaction()
    connection = transaction.connection
    transaction.connection = _Counted(connection, executed)
    try:
        yield executed
    finally:
        transaction.connection = connection


def forget():
    "Forget the records that were read"
    for cache in list(Transaction().cache.values()):
        cache.clear()
