# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill a new database of GNU Health 5.0.4 as a hospital did for years, and
write down what its own modules read of it.

    python -m upgrade.hospital trytond.conf DATABASE expected.json

Run by the interpreter that has PyPI's modules of version 5.0.4.
"""
import datetime as dt
import sys

from upgrade import snapshot, templates

PNG = bytes.fromhex(
    '89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55'
    '0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082')
FIRST_DAY = dt.datetime(2021, 3, 27, 23, 30, 12, 345678)
PEOPLE = [
    # PUID, given, family, gender, born, prefix, suffix
    ('GNU777ORG', "Ana", "Betz", 'f', dt.date(1985, 10, 4), None, None),
    ('CHN001GNU', "三", "张", 'm', dt.date(1990, 1, 2), 'Dr', None),
    ('DEU002GNU', "Jörg", "Müller-Lüdenscheidt", 'm', dt.date(1970, 5, 6),
        'Mr', "jun."),
    ('BAB003GNU', "Baby", "Newborn", 'f', dt.date(2021, 3, 26), None, None),
    ('MON004GNU', "Month", "Old", 'm', dt.date(2021, 1, 3), None, None),
    ('DAY005GNU', "Day", "Born", 'nd', dt.date(2021, 3, 27), None, None),
    ('NOB006GNU', "No", "Birthday", 'u', None, None, None),
    ('OTH007GNU', "Kim", "O'Neill \"X\" [Y]", 'nb', dt.date(1921, 2, 28),
        'Miss', "MD"),
    ('LON008GNU', "Very " * 8 + "Long", "Name-" * 12 + "End", 'other',
        dt.date(2000, 2, 29), None, None),
    ('THA009GNU', "สมชาย", "ใจดี", 'm',
        dt.date(1999, 12, 31), None, None),
    ]
SERVERS = [
    # label, domain, proxy, user, password, validated, last change
    ("Main", 'http://pacs.example.org:8042', 'https://view.example.org/',
        'gnuhealth', 'päss word', True, 4711),
    ("Second", 'http://second.example.org/orthanc/', None, 'x', 'y', False,
        -1),
    ("Second, no slash", 'http://second.example.org/orthanc', '', 'x', ' y ',
        None, None),
    ]
GONE = 'http://gone.example.org:8042/'


def get(name):
    from trytond.pool import Pool
    return Pool().get(name)


def xml_id(module, name):
    return get('ir.model.data').get_id(module, name)


def execute(statement, *values):
    "What no form lets in, but years of imports and scripts left behind"
    from trytond.transaction import Transaction
    Transaction().connection.cursor().execute(statement, values)


def create(name, *values):
    return get(name).create([dict(v) for v in values])


def change(record, **values):
    "Change what was shipped, which only scripts can"
    from trytond.transaction import Transaction
    with Transaction().set_user(0):
        record.__class__.write([record], values)


def make_institution():
    currency, = create('currency.currency', {
            'name': "Euro", 'symbol': '€', 'code': 'EUR',
            'numeric_code': '978'})
    party, = create('party.party', {
            'name': "Hospital of the “Good” [Old] Times",
            'is_institution': True})
    company, = create('company.company', {
            'party': party.id, 'currency': currency.id,
            'timezone': 'Europe/Madrid'})
    institution, = create('gnuhealth.institution', {
            'party': party.id, 'code': 'OLD', 'institution_type': 'hospital',
            'public_level': 'public'})
    user = get('res.user')(1)
    user.companies = [company]
    user.company = company
    user.save()
    return company, institution


def make_person(ref, given, family, gender, born, prefix, suffix, **values):
    party, = create('party.party', {
            'ref': ref, 'name': given, 'lastname': family, 'gender': gender,
            'dob': born, 'is_person': True, 'fed_country': None, **values})
    names = get('gnuhealth.person_name').search([
            ('party', '=', party.id), ('use', '=', 'official')])
    get('gnuhealth.person_name').write(
        names, {'prefix': prefix, 'suffix': suffix})
    return party


def make_people(institution):
    patients, doctors = [], []
    for person in PEOPLE:
        party = make_person(*person, is_patient=True)
        found = get('gnuhealth.patient').search([('party', '=', party.id)])
        patients += found or create(
            'gnuhealth.patient', {'party': party.id})
    for number, prefix in enumerate(['Dr', None, None]):
        party = make_person(
            f'DOC00{number}GNU', f"Doctor{number}", "Cordara^Ruiz", 'f',
            dt.date(1960, 1, 1), prefix, None, is_healthprof=True,
            internal_user=None if number else 1)
        doctors += create('gnuhealth.healthprofessional', {
                'party': party.id, 'code': f'L{number}',
                'institution': institution.id if number < 2 else None})
    specialty, = create('gnuhealth.specialty', {
            'name': "Radiology & imaging", 'code': 'RADIMG'})
    create('gnuhealth.hp_specialty', {
            'healthprof': doctors[0].id, 'specialty': specialty.id,
            'mainsp': True})
    return patients, doctors


def make_catalogue():
    Template = get('gnuhealth.imaging_worklist.worklist_template')
    worklists = create(
        Template.__name__,
        {'name': "Shipped dump", 'template': Template.default_template()},
        {'name': "Shipped json", 'template_type': 'json',
            'template': Template.default_template(), 'charset': 'ISO_IR 192'},
        {'name': "Own dump", 'template': templates.DUMP,
            'charset': 'ISO_IR 100', 'comment': "Bought\n2019"},
        {'name': "Own json", 'template_type': 'json',
            'template': templates.JSON, 'charset': None})
    type_, = create('gnuhealth.imaging.test.type', {
            'code': ' CT ', 'name': "Own type"})
    ct, *_ = get('gnuhealth.imaging.test.type').search(
        [('code', '=', 'CT')], order=[('id', 'ASC')])
    product = xml_id('health_imaging', 'product_product_ctscancharges')
    tests = []
    for number, (name, worklist, aetitle) in enumerate([
                ("CT head", worklists[0], 'CT1'),
                ("MR knee", worklists[1], 'MR-1'),
                ("Thorax “p.a.” [2 views]", worklists[2],
                    'ALL_16_CHARS_AET'),
                ("An examination with a name " * 6, worklists[0], None),
                ("Ultraschall", worklists[3], None),
                ("On no worklist", None, None),
                ]):
        tests += create('gnuhealth.imaging.test', {
                'code': f'T{number}', 'name': name.strip(),
                'test_type': (type_ if number % 2 else ct).id,
                'product': product, 'aetitle': aetitle,
                'imaging_worklist_template': worklist and worklist.id,
                'active': number != 4})
    # what an administrator changed of what was shipped
    shipped, *_ = get('gnuhealth.imaging.test.type').search(
        [('code', '=', 'XR')])
    change(shipped, code='DX', name="X-ray, as we call it")
    template = get('product.template')(
        xml_id('health_imaging', 'product_template_mricharges'))
    change(template, name="Magnet")
    return tests


def make_requests(patients, doctors, tests):
    Request = get('gnuhealth.imaging.test.request')
    pathology, = create('gnuhealth.pathology', {
            'name': "Fracture of the skull, “open”", 'code': 'S02.9X'})
    orders = []
    for number in range(150):
        date = FIRST_DAY + dt.timedelta(hours=7 * number)
        orders.append([{
                    'patient': patients[number % len(patients)].id,
                    'doctor': doctors[number % len(doctors)].id,
                    'requested_test': tests[
                        (number + line) % len(tests)].id,
                    'date': date, 'urgent': number % 5 == 0,
                    'context': pathology.id if number % 3 == 0 else None,
                    'comment': number % 4 == 0 and
                    f"Line of {number}\n\n“Line” [three] 漢字" or None,
                    'request': f'ORD{number:04}' if number % 2 else None,
                    } for line in range(1 + number % 4)])
    requests = []
    for order in orders:
        requests += Request.create(order)
    sent = [r for r in requests if r.id % 3]
    Request.requested(sent)
    # 5.0.4 gives a copy the merge id of its original
    requests += Request.copy(requests[-2:])
    table = '"gnuhealth_imaging_test_request"'
    # older than the worklist module
    execute(f'UPDATE {table} SET merge_id = NULL, worklist_status = NULL, '
        'show_worklist_text = NULL WHERE id <= 40')
    execute(f'UPDATE {table} SET urgent = NULL WHERE id IN (3, 4, 50)')
    execute(f'UPDATE {table} SET state = NULL, request = NULL, '
        'request_line = NULL WHERE id = 5')
    execute(f"UPDATE {table} SET worklist_status = 'canceled' "
        'WHERE id IN (60, 61, 62)')
    execute(f'UPDATE {table} SET request = %s, request_line = %s, '
        'merge_id = %s WHERE id = 63', "TAB\tand\nline", 'x' * 300, "old id")
    execute('UPDATE "gnuhealth_imaging_test" SET aetitle = %s WHERE id = %s',
        "TOO LONG FOR AN AE TITLE\t", tests[3].id)
    return sent


def make_results(sent):
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    Wizard = Pool().get('wizard.generate.result', type='wizard')
    Result = get('gnuhealth.imaging.test.result')
    for request in sent[::2]:
        session, _, _ = Wizard.create()
        with Transaction().set_context(
                active_model=request.__name__, active_id=request.id,
                active_ids=[request.id]):
            Wizard.execute(session, {}, 'open_')
        Wizard.delete(session)
    results = Result.search([], order=[('id', 'ASC')])
    for number, result in enumerate(results):
        result.comment = f"Nothing to see\tin {number}\nSigned: nobody"
        result.report_style = [
            'default', 'no_images', 'no_image_comments'][number % 3]
    Result.save(results)
    table = '"gnuhealth_imaging_test_result"'
    execute(f'UPDATE {table} SET request = NULL, request_date = NULL, '
        '"order" = NULL WHERE id IN (2, 3)')
    execute(f'UPDATE {table} SET patient = NULL, report_style = NULL, '
        'number = NULL, merge_id = NULL WHERE id = 3')
    execute(f'UPDATE {table} SET "order" = %s WHERE id = 4', "a\nb\tc")
    return results


def make_servers():
    names = ['label', 'domain', 'proxy_domain', 'user', 'password',
        'validated', 'last_changed_index']
    return create('gnuhealth.orthanc.config', *(
            dict(zip(names, server)) for server in SERVERS))


def make_studies(patients, results):
    Study = get('gnuhealth.imaging_orthanc.study')
    urls = [server[1] for server in SERVERS] + [GONE, GONE.rstrip('/')]
    dates = ['20240229', '', None, '20240230', '2024-02-06', '19990101',
        'unknown\tdate']
    for number in range(120):
        url = urls[number % len(urls)]
        result = results[number] if number % 3 == 0 else None
        study, = create(Study.__name__, {
                'server': url, 'orthanc_UID': f'study-{number}',
                'study_instance_UID': (
                    result and result.merge_id or f'1.2.3.{number}'),
                'merge_id': result and result.merge_id or None,
                'merge_comment': "by hand" if number % 30 == 3 else None,
                'patient_name': "X^Y\\" if number % 7 == 0 else "X^Y",
                'patient_id': PEOPLE[number % len(PEOPLE)][0],
                'date': None, 'institution': "Inst\\itute",
                'performing_physician_name': '',
                'imaging_test': result and result.id,
                'patient': result and result.patient and result.patient.id
                or (patients[0].id if number % 4 == 0 else None),
                'notes': f"Note\n{number}" if number % 5 == 0 else None,
                'series': [('create', [{
                                'orthanc_UID': f'series-{number}-{s}',
                                'series_UID': f'1.2.3.{number}.{s}',
                                'series_number': str(s) if s else '',
                                'series_description': "Axial [T1]",
                                'modality': 'MR' if s else 'OT',
                                'notes': f"Seen {s}" if number == 7 else None,
                                'instances': [('create', [{
                                                'orthanc_UID':
                                                f'instance-{number}-{s}-{i}',
                                                'sop_instance_UID':
                                                f'1.2.3.{number}.{s}.{i}',
                                                'instance_number': i or None,
                                                'image_position_patient':
                                                '1, 2, 3',
                                                } for i in range(2)])],
                                } for s in range(3)])],
                })
        execute('UPDATE "gnuhealth_imaging_orthanc_study" SET date = %s '
            'WHERE id = %s', dates[number % len(dates)], study.id)
    return Study.search([], order=[('id', 'ASC')])


def make_duplicates(studies):
    """The same resource twice, with something of its own in each row.

    Two studies whose server was written with and without a slash; series
    and instances that two synchronizations at a time brought.
    """
    first, second = studies[3], studies[5]
    for study, url, uid in [
            (first, SERVERS[0][1], 'double'),
            (second, SERVERS[0][1] + '/', 'double')]:
        execute('UPDATE "gnuhealth_imaging_orthanc_study" SET server = %s, '
            '"orthanc_UID" = %s, notes = %s, merge_comment = %s '
            'WHERE id = %s', url, uid, f"Note of {study.id}",
            f"Comment of {study.id}", study.id)
    execute('UPDATE "gnuhealth_imaging_orthanc_study_series" '
        'SET "orthanc_UID" = %s, notes = %s WHERE id = %s',
        'same', "first", first.series[0].id)
    execute('UPDATE "gnuhealth_imaging_orthanc_study_series" '
        'SET "orthanc_UID" = %s, notes = %s WHERE id = %s',
        'same', "second", second.series[0].id)
    # an empty twin in one study
    twin = studies[10]
    series, other = twin.series[:2]
    execute('UPDATE "gnuhealth_imaging_orthanc_study_series" '
        'SET "orthanc_UID" = %s WHERE id = %s', series.orthanc_UID, other.id)
    for one, another in zip(series.instances, other.instances):
        execute('UPDATE "gnuhealth_imaging_orthanc_series_instances" '
            'SET "orthanc_UID" = %s WHERE id = %s',
            one.orthanc_UID, another.id)


def make_legacy(patients, servers, results):
    "What GNU Health 4 left"
    people = create('gnuhealth.orthanc.patient', *({
                'uuid': f'patient-{number}', 'name': "Old^Patient",
                'ident': PEOPLE[number % len(PEOPLE)][0],
                'bd': dt.date(1950, 1, 1) if number % 2 else None,
                'patient': patients[number % 3].id if number % 3 else None,
                'server': servers[number % 2].id if number % 4 else None,
                } for number in range(20)))
    create('gnuhealth.orthanc.study', *({
                'uuid': f'legacy-{number // 2}' if number % 4 == 0
                else f'legacy-of-{number}',
                'patient': people[number % 20].id,
                'server': servers[number % 2].id if number % 4 else None,
                'description': "Old\u00a0study", 'date': dt.date(2018, 1, 1),
                'ident': str(number), 'instance_uid': f'1.9.{number}',
                'institution': '', 'ref_phys': "A^B", 'req_phys': None,
                'requested_procedure_id': f'P{number}', 'merge_id': None,
                'imaging_test': results[number].id if number % 5 == 0
                else None,
                } for number in range(30)))


def make_attachments(results, studies):
    requests = get('gnuhealth.imaging.test.request').search([], limit=5)
    series = get('gnuhealth.imaging_orthanc.study_series').search(
        [], limit=3)
    servers = get('gnuhealth.orthanc.config').search([])
    Attachment, Note = get('ir.attachment'), get('ir.note')
    for number, result in enumerate(results[:60]):
        Attachment.create([{
                    'name': f'{name}-{number}.png', 'type': 'data',
                    'data': PNG + str(number).encode(),
                    'description': ["", None, "From GNU Health camera",
                        "Seen\tfrom\nabove"][number % 4],
                    'resource': str(result),
                    } for name in ('a', 'b')])
    for record in [*requests, *studies[:12], *series, *servers]:
        Attachment.create([{
                    'name': 'letter', 'type': 'link',
                    'link': 'http://example.org/letter',
                    'resource': str(record)}])
        Note.create([{'message': "Mind this\none", 'resource': str(record)}])


def referred_by(names):
    from trytond.model import ModelSQL
    return {
        field.get_target().__name__ for name in names
        for field in get(name)._fields.values()
        if field._type in {'many2one', 'one2many'}
        and issubclass(field.get_target(), ModelSQL)} | {
        'gnuhealth.person_name', 'product.product', 'product.template'}


def make_groups(company):
    "Own groups, rights, rules, views, reports, searches and users"
    from trytond.pyson import PYSONEncoder
    models = {m.model: m.id for m in get('ir.model').search([])}
    radiographers, secretaries = create('res.group',
        {'name': "Radiographers"}, {'name': "Secretaries"})
    imaging = [name for name in models
        if name.startswith(('gnuhealth.imaging', 'gnuhealth.orthanc'))
        and name in snapshot.own_models()]
    create('ir.model.access', *({
                'model': models[name], 'group': group.id,
                'perm_read': True, 'perm_write': group == radiographers,
                'perm_create': group == radiographers, 'perm_delete': False,
                } for name in sorted(imaging)
            for group in (radiographers, secretaries)))
    # and may see what these models refer to
    create('ir.model.access', *({
                'model': models[name], 'group': group.id, 'perm_read': True,
                'perm_write': False, 'perm_create': False,
                'perm_delete': False,
                } for name in sorted(referred_by(imaging) - set(imaging))
            for group in (radiographers, secretaries)))
    notes, = get('ir.model.field').search([
            ('model.model', '=', 'gnuhealth.imaging_orthanc.study'),
            ('name', '=', 'notes')])
    create('ir.model.field.access', {
            'field': notes.id, 'group': secretaries.id,
            'perm_read': False, 'perm_write': False, 'perm_create': False,
            'perm_delete': False})
    create('ir.model.button-res.group', {
            'button': xml_id(
                'health_imaging', 'image_generateresults_button'),
            'group': radiographers.id})
    create('ir.ui.menu-res.group', {
            'menu': xml_id('health_orthanc', 'orthanc_menu'),
            'group': radiographers.id})
    create('ir.rule.group', {
            'name': "Only the main server",
            'model': models['gnuhealth.imaging_orthanc.study'],
            'global_p': False, 'default_p': False, 'perm_read': True,
            'perm_write': True, 'perm_create': True, 'perm_delete': True,
            'groups': [('add', [secretaries.id])],
            'rules': [('create', [{'domain': PYSONEncoder().encode(
                                [('server', '=', SERVERS[0][1])])}])]})
    # an administrator opened what was shipped closed
    access = get('ir.model.access')(xml_id(
            'health_imaging', 'access_health_imaging_test_request_doctor'))
    change(access, perm_delete=False)
    group = get('res.group')(
        xml_id('health_imaging', 'group_health_imaging'))
    change(group, name="Radiology")
    groups = [
        xml_id(*name.split('.')) for name in [
            'health_imaging.group_health_imaging',
            'health_imaging.group_health_imaging_admin',
            'health_orthanc.group_imaging_orthanc',
            'health_orthanc.group_imaging_orthanc_admin',
            'health.group_health_doctor', 'health.group_health_admin']]
    groups += [radiographers.id, secretaries.id]
    users = create('res.user', *({
                'name': f"User {group}", 'login': f'user{group}',
                'password': f'a good password {group}',
                'companies': [('add', [company.id])], 'company': company.id,
                'groups': [('add', [group])],
                } for group in groups))
    create('ir.ui.view_search', *({
                'name': "Old ones", 'user': user.id,
                'model': 'gnuhealth.imaging_orthanc.study',
                'domain': PYSONEncoder().encode([
                        ('server', 'ilike', '%second%'),
                        ('date', '<', '20240101')]),
                } for user in users))
    report, = create('ir.action.report', {
            'name': "Our own letter", 'report_name': 'hospital.letter',
            'model': 'gnuhealth.imaging.test.result',
            'template_extension': 'txt', 'extension': 'txt',
            'report_content_custom':
            b"{% for r in records %}${r.number} ${r.order} "
            b"${r.orthanc_studies[0].server if r.orthanc_studies else ''}"
            b"{% end %}"})
    create('ir.action.keyword', {
            'keyword': 'form_print', 'action': report.action.id,
            'model': 'gnuhealth.imaging.test.result,-1'})
    create('ir.action.act_window', {
            'name': "Studies of the second server",
            'res_model': 'gnuhealth.imaging_orthanc.study',
            'domain': PYSONEncoder().encode(
                [('server', '=', SERVERS[1][1])]),
            'order': PYSONEncoder().encode(
                [('server', 'ASC'), ('date', 'DESC')])})
    create('ir.ui.view', {
            'model': 'gnuhealth.imaging_orthanc.study', 'type': 'tree',
            'data': '<tree><field name="server"/><field name="date"/>'
            '<field name="patient_name"/><field name="merge_id"/></tree>'},
        {'model': 'gnuhealth.imaging.test.request',
            'inherit': xml_id(
                'health_imaging', 'view_imaging_test_request_form'),
            'data': '<data><xpath expr="//field[@name=\'comment\']" '
            'position="after"><label name="merge_id"/>'
            '<field name="merge_id"/></xpath></data>'})
    create('ir.export', {
            'name': "Studies", 'user': users[0].id,
            'resource': 'gnuhealth.imaging_orthanc.study',
            'export_fields': [('create', [
                        {'name': 'server'}, {'name': 'date'},
                        {'name': 'series/server'}])]})


def make_sequences(company):
    Sequence = get('ir.sequence')
    request = Sequence(
        xml_id('health_imaging', 'seq_gnuhealth_imaging_test_request'))
    change(request, prefix='IM', padding=6, number_next_internal=70000)
    result, = create('ir.sequence', {
            'name': "Our own results", 'prefix': 'R/', 'suffix': '/x',
            'padding': 4, 'number_next_internal': 4242,
            'number_increment': 2,
            'sequence_type': xml_id(
                'health_imaging', 'seq_type_gnuhealth_imaging_test')})
    configuration = get('gnuhealth.sequences')(1)
    configuration.imaging_test_sequence = result
    configuration.save()


def make_translations():
    spanish, = get('ir.lang').search([('code', '=', 'es')])
    spanish.translatable = True
    spanish.save()
    from trytond.transaction import Transaction
    Test = get('gnuhealth.imaging.test')
    with Transaction().set_context(language='es'):
        test = Test(Test.search([('code', '=', 'T0')])[0].id)
        test.name = "Cabeza"
        test.save()


def make():
    from trytond.transaction import Transaction
    company, institution = make_institution()
    with Transaction().set_context(company=company.id):
        patients, doctors = make_people(institution)
        tests = make_catalogue()
        sent = make_requests(patients, doctors, tests)
        results = make_results(sent)
        servers = make_servers()
        studies = make_studies(patients, results)
        make_legacy(patients, servers, results)
        make_attachments(results, studies)
        make_duplicates(studies)
        make_groups(company)
        make_sequences(company)
        make_translations()


def main():
    configuration, database, path = sys.argv[1:]
    with snapshot.opened(
            database, configuration, readonly=False,
            _lock_tables=['gnuhealth_sequences']) as t:
        make()
        t.commit()
    with snapshot.opened(database, configuration):
        snapshot.save(path, models=snapshot.read(),
            worklist=snapshot.worklist(), openable=snapshot.openable())


if __name__ == '__main__':
    main()
