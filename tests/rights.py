# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of rights share: the table rights.txt, a user for each of
its roles, calls as the dispatcher makes them, a record of each model."""
import datetime as dt
from contextlib import contextmanager
from pathlib import Path

from trytond.exceptions import UserError
from trytond.model import ModelStorage
from trytond.model.exceptions import AccessButtonError, AccessError
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc.tests.tools import ImagingMixin
from trytond.pool import Pool
from trytond.tools import is_instance_method
from trytond.transaction import Transaction, without_check_access

TABLE = Path(__file__).with_name('rights.txt')
MODULES = ('health_imaging', 'health_imaging_worklist', 'health_orthanc')
ROLES = {
    'imaging': 'health_imaging.group_health_imaging',
    'imgadm': 'health_imaging.group_health_imaging_admin',
    'doctor': 'health.group_health_doctor',
    'desk': 'health.group_health_frontdesk',
    'orthanc': 'health_orthanc.group_imaging_orthanc',
    'ortadm': 'health_orthanc.group_imaging_orthanc_admin',
    'health': 'health.group_health_admin',
    }
MODES = ('read', 'write', 'create', 'delete')


def read_table():
    """Return the table: {section: {name: {role: cell}}}."""
    sections, roles, section = {}, None, None
    for line in TABLE.read_text('utf-8').splitlines():
        line = line.split('#')[0].strip()
        if not line:
            continue
        if line.startswith('['):
            section = sections.setdefault(line.strip('[]'), {})
        elif roles is None:
            roles = line.split()
        else:
            *cells, name = line.split(None, len(roles))
            if name in section:
                raise ValueError(f"twice in the table: {name}")
            section[name] = dict(zip(roles, cells))
    return sections


def own_classes(type_):
    """Return the models, wizards or reports that the modules define.

    What they only extend is another module's.
    """
    pool = Pool()
    names = {}
    for module in MODULES:
        for class_ in pool.classes[type_][module]:
            names.setdefault(class_.__name__, module)
    others = {
        class_.__name__ for module, classes in pool.classes[type_].items()
        if module not in MODULES for class_ in classes}
    return {
        name: pool.get(name, type=type_) for name in sorted(names)
        if name not in others}


def stored_models():
    return {
        name: model for name, model in own_classes('model').items()
        if issubclass(model, ModelStorage)}


def pages():
    "The models that are pages of wizards only"
    return own_classes('model').keys() - stored_models().keys()


def own_records(model):
    "Return the records of the model that the modules bring, by XML id"
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    Model = pool.get(model)
    with without_check_access():
        return {
            f'{data.module}.{data.fs_id}': Model(data.db_id)
            for data in ModelData.search([
                    ('module', 'in', MODULES),
                    ('model', '=', model),
                    ], order=[('module', 'ASC'), ('fs_id', 'ASC')])}


@contextmanager
def undone():
    "Undo whatever is written inside"
    transaction = Transaction()
    cursor = transaction.connection.cursor()
    cursor.execute('SAVEPOINT rights')
    try:
        yield
    finally:
        transaction.cache.clear()
        cursor.execute('ROLLBACK TO SAVEPOINT rights')
        transaction.tasks.clear()
        transaction.delete_records.clear()


@contextmanager
def signed_in(user):
    "As that user, with the preferences that a client sends"
    User = Pool().get('res.user')
    with Transaction().set_user(user.id), Transaction().reset_context():
        preferences = User.get_preferences(context_only=True)
        with Transaction().set_context(preferences):
            yield preferences


def call(user, object_, method, *args, context=None):
    """Call a method as trytond's dispatcher does for that user."""
    rpc = object_.__rpc__[method]
    with signed_in(user) as preferences:
        args, kwargs, context, timestamp = rpc.convert(
            object_, *args, {**preferences, **(context or {})})
        with Transaction().set_context(context):
            function = rpc.decorate(getattr(object_, method))
            if (rpc.instantiate is not None
                    and is_instance_method(object_, method)):
                record = args.pop(0)
                return rpc.result(function(record, *args, **kwargs))
            return rpc.result(function(*args, **kwargs))


def complaint(user, object_, method, *args, context=None):
    "Return what the user is told instead of an answer, None if nothing"
    with undone():
        try:
            call(user, object_, method, *args, context=context)
        except Exception as error:
            return error


def refused(error):
    "The user may not do it; other complaints do not matter here"
    return type(error) in {AccessError, AccessButtonError} or (
        # reports have no error of their own
        type(error) is UserError and 'not allowed' in error.message)


def allows(*args, **kwargs):
    return not refused(complaint(*args, **kwargs))


class RightsMixin(ImagingMixin):
    "A hospital with a record of each model and a user for each role"

    def people(self):
        pool = Pool()
        Group = pool.get('res.group')
        ModelData = pool.get('ir.model.data')
        self.users = {
            role: create_user(f'right_{role}', group)
            for role, group in ROLES.items()}
        # Whoever else works with GNU Health, in all its groups at once
        named = {ModelData.get_id(*g.split('.')) for g in [
                *ROLES.values(), 'res.group_admin']}
        self.users['others'] = create_user('right_others')
        self.users['others'].groups = [
            g for g in Group.search([]) if g.id not in named]
        self.users['others'].save()
        self.users['nobody'] = create_user('right_nobody')

    def records(self):
        "Make a record of each model; return it by the model's name"
        pool = Pool()
        self.hospital()
        records = {}

        def make(model, **values):
            records[model], = pool.get(model).create([values])
            return records[model]

        server = self.server(validated=True)
        result = self.result()
        request = result.request
        patient = make(
            'gnuhealth.orthanc.patient', server=server.id, uuid='uuid',
            name='BETZ^ANA', ident='TST001GNU', patient=self.patient.id)
        study = self.study(
            server, orthanc_patient=patient.id, patient=self.patient.id,
            imaging_test=result.id)
        make('gnuhealth.orthanc.study', uuid='uuid', server=server.id,
            patient=patient.id, imaging_test=result.id,
            description='BETZ^ANA')
        Imaging = pool.get('gnuhealth.orthanc.patient_imaging')
        records[Imaging.__name__], = Imaging.search(
            [('study', '=', study.id)])
        make('gnuhealth.orthanc.study_line', study=study.id,
            request=request.id, result=result.id)
        make('gnuhealth.orthanc.viewer', server=server.id, name="Betz",
            template='{base_url}{study_uid}')
        make('gnuhealth.orthanc.sync.cursor', server=server.id)
        make('gnuhealth.orthanc.sync.run', server=server.id, kind='new',
            trigger='user')
        make('gnuhealth.orthanc.sync.quarantine', server=server.id,
            level='study', orthanc_id='id', reason='BETZ^ANA')
        Audit = pool.get('gnuhealth.orthanc.audit')
        Audit.note('view', [study])
        records['gnuhealth.orthanc.audit'], = Audit.search(
            [('event', '=', 'view')])
        make('gnuhealth.orthanc.download.link', study=study.id,
            user=Transaction().user, key_hash='hushed', format='archive',
            expires=dt.datetime(2099, 1, 1))
        page = make(
            'gnuhealth.orthanc.upload.page', server=server.id,
            user=Transaction().user, expires=dt.datetime.now())
        make('gnuhealth.orthanc.upload.page.file', page=page.id,
            state='stored')
        Template = pool.get('gnuhealth.imaging_worklist.worklist_template')
        template = Template.search([], limit=1)[0]
        self.test.imaging_worklist_template = template
        self.test.save()
        for record in [
                server, result, request, self.patient, study, study.series[0],
                study.series[0].instances[0], self.test, self.test.test_type,
                template, *request.worklist_attributes[:1]]:
            records[record.__name__] = record
        sequences = pool.get('gnuhealth.sequences')(1)
        for name in ['imaging_req_seq', 'imaging_test_sequence']:
            make(f'gnuhealth.sequences.{name}',
                **{name: sequences.get_multivalue(name).id})
        make('gnuhealth.imaging.test.result.event', result=result.id,
            kind='addendum', date=dt.datetime(2026, 3, 4), text="Betz",
            user=Transaction().user, professional=result.doctor.id)
        make('gnuhealth.imaging.configuration')
        make('gnuhealth.imaging.worklist.host', name='host')
        make('gnuhealth.imaging.worklist.log', request=request.id,
            date=dt.datetime(2026, 3, 4), event='worklist_status',
            reason='person')
        make('gnuhealth.imaging.worklist.configuration')
        return records
