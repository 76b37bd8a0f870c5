# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Play the loop: order, worklist, pictures, synchronization, result.

The first time with an order for each script and modality, and with real
files as studies from before; later with one order. Each step is printed
with its time, and the end is a table of what came of every order.
"""
import datetime as dt
import os
import subprocess
import sys
from xmlrpc.client import Error

import pydicom.data
from proteus import Model, Wizard

from . import modality, people
from .hospital import connect
from .installation import SCRIPTS_LOGIN, VIEWER_LOGIN, Installation
from .process import LOOPBACK, ServiceError, wait_until
from .state import REPOSITORY, State
from .steps import Report
from .table import table

SYNCHRONIZER = (
    REPOSITORY / 'his-utils/scripts/imaging/sync_orthanc_server.py')
# pressing Request to the answer of C-FIND, and sending to the mirror
WORKLIST_LIMIT = 15
MIRROR_LIMIT = 30
# files that pydicom ships: CT, MR and ultrasound of other hospitals
EARLIER_FILES = (
    'CT_small.dcm', 'J2K_pixelrep_mismatch.dcm', 'MR_small.dcm',
    'examples_overlay.dcm', 'examples_rgb_color.dcm',
    'examples_ybr_color.dcm')
# the table shows the newest
ROWS = 20
HEADING = [
    "Order", "Patient", "Accession", "Study (images)", "Result",
    "Viewer link"]


class Loop:
    """The people, programs and devices around one installation."""

    def __init__(self, installation, report):
        self.installation = installation
        self.report = report
        self.Request = Model.get('gnuhealth.imaging.test.request')
        self.Study = Model.get('gnuhealth.imaging_orthanc.study')

    def place_order(self, ref, codes, urgent=False):
        """Order with the New order wizard, press Request; the requests."""
        patient, = Model.get('gnuhealth.patient').find(
            [('party.ref', '=', ref)])
        tests = Model.get('gnuhealth.imaging.test').find(
            [('code', 'in', codes)])
        last = max((r.id for r in self.Request.find(
                    [], order=[('id', 'DESC')], limit=1)), default=0)
        with self.report.step('') as note:
            wizard = Wizard('gnuhealth.patient.imaging.test.request')
            wizard.form.patient = patient
            wizard.form.urgent = urgent
            for test in tests:
                wizard.form.tests.append(test)
            wizard.execute('request')
            requests = self.Request.find([
                    ('id', '>', last),
                    ('patient', '=', patient.id),
                    ('state', '=', 'draft'),
                    ], order=[('id', 'ASC')])
            if len(requests) != len(codes):
                raise ServiceError(
                    f"The New order wizard made {len(requests)} requests "
                    f"for {len(codes)} tests.")
            self.Request.click(requests, 'requested')
            note.text = (
                f"Order {requests[0].request}: "
                + ', '.join(test.name for test in tests)
                + f" for {patient.rec_name} ({ref})"
                + (", urgent" if urgent else ""))
        return requests

    def ask(self, request):
        """Ask Orthanc's worklist as the test's station does."""
        test = request.requested_test
        items = modality.ask_worklist(
            LOOPBACK, self.installation.orthanc.dicom_port, test.aetitle,
            test.test_type.code)
        return next((item for item in items
                if item.StudyInstanceUID == request.merge_id), None)

    def find_item(self, request):
        with self.report.step('') as note:
            item = wait_until(
                lambda: self.ask(request), WORKLIST_LIMIT,
                f"The worklist item of {request.request_line}", pause=.5)
            note.text = (
                f"C-FIND by {request.requested_test.aetitle}: "
                f"{request.request_line}, {item.PatientName}")
        return item

    def take_pictures(self, request, item):
        aet = request.requested_test.aetitle
        with self.report.step('') as note:
            pictures = modality.take_pictures(item, aet)
            modality.send_pictures(
                pictures, LOOPBACK, self.installation.orthanc.dicom_port,
                aet)
            note.text = (
                f"C-STORE by {aet}: {len(pictures)} "
                f"image{'s'[:len(pictures) != 1]} for {request.request_line}")

    def store_earlier_studies(self):
        with self.report.step('') as note:
            for name in EARLIER_FILES:
                path = pydicom.data.get_testdata_file(name, download=False)
                with open(path, 'rb') as file:
                    self.installation.orthanc.post(
                        '/instances', file.read())
            note.text = f"Earlier studies: {len(EARLIER_FILES)} real files"

    def synchronize(self, requests):
        """Let the script of the PACS host mirror what is new."""
        with self.report.step(
                "Synchronized by sync_orthanc_server.py: each study is "
                "linked to its request"):
            installation = self.installation
            log = installation.state.log / 'synchronize.log'
            with open(log, 'ab') as output:
                code = subprocess.run([
                        str(installation.state.python), str(SYNCHRONIZER),
                        '-H', LOOPBACK,
                        '-p', str(installation.trytond.port),
                        '-d', installation.state.database,
                        '-u', SCRIPTS_LOGIN, '--password-file',
                        str(installation.updater.password_path)],
                    stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT).returncode
            if code:
                raise ServiceError(
                    f"The synchronization failed (log: {log}).")
            ids = [request.id for request in requests]
            wait_until(
                lambda: len(self.Study.find(
                        [('request', 'in', ids)])) >= len(ids),
                MIRROR_LIMIT, "Every study is linked to its request")

    def generate_results(self, requests):
        with self.report.step(
                f"Results generated: {len(requests)}"):
            for request in requests:
                Wizard('wizard.generate.result', [request])

    def items_gone(self, requests):
        """The worklist is done with a study that has arrived."""
        with self.report.step("The worklist items are gone"):
            wait_until(
                lambda: not any(self.ask(request) for request in requests),
                WORKLIST_LIMIT, "The worklist items go", pause=.5)

    def play(self):
        first = not self.Request.find([], limit=1)
        if first:
            self.store_earlier_studies()
            orders = people.FIRST_ORDERS
        else:
            number = len(self.Request.find([]))
            orders = [(
                    people.PATIENTS[number % len(people.PATIENTS)].ref,
                    [people.TESTS[number % len(people.TESTS)].code], False)]
        requests = [
            request for order in orders
            for request in self.place_order(*order)]
        for request in requests:
            self.take_pictures(request, self.find_item(request))
        self.synchronize(requests)
        self.generate_results(requests)
        self.items_gone(requests)

    def rows(self):
        """Rows for the newest requests; and those not as they should be."""
        rows, wrong, studies = [], [], {}
        requests = self.Request.find(
            [], order=[('id', 'DESC')], limit=ROWS)[::-1]
        for study in self.Study.find(
                [('request', 'in', [request.id for request in requests])]):
            studies.setdefault(study.request.id, []).append(study)
        for request in requests:
            found = studies.get(request.id, [])
            if not found:
                rows.append([
                        request.request_line, request.patient.rec_name,
                        request.request, f"({request.state})", '', ''])
            for study in found:
                result = study.imaging_test
                rows.append([
                        request.request_line, request.patient.rec_name,
                        study.accession_number,
                        f"{study.description} ({study.modalities}, "
                        f"{study.instance_count})",
                        result and result.number, study.ohif_viewer_link])
                if not (study.study_instance_UID == request.merge_id
                        and study.patient == request.patient
                        and study.accession_number == request.request
                        and (request.state != 'done'
                            or result in request.results)):
                    wrong.append(request.request_line)
        return rows, wrong


def main():
    sys.stdout.reconfigure(encoding='utf-8', errors='replace')
    report = Report(elapsed=float(os.environ.get('DEMO_ELAPSED') or 0))
    installation = Installation(State())
    started = dt.datetime.now()
    try:
        with connect(installation):
            loop = Loop(installation, report)
            loop.play()
            rows, wrong = loop.rows()
    except (ServiceError, modality.ModalityError) as error:
        return str(error)
    except (OSError, Error) as error:
        installation.state.log.joinpath('play.log').write_text(
            f"{started}: {error!r}\n")
        return f"The loop broke: {getattr(error, 'faultString', error)}"
    for line in ['', *table(HEADING, rows), '']:
        report.line(line)
    secrets = installation.secrets
    report.line(f"Web client   {installation.trytond.client_url}"
        f"   user admin, password {secrets['admin']}")
    report.line(f"Viewer       {installation.orthanc.url}ohif/"
        f"   user {VIEWER_LOGIN}, password {secrets['viewer']}")
    report.line(f"Worklist     findscu -W -aet CT_DEMO -aec "
        f"{installation.orthanc.aet} {LOOPBACK} "
        f"{installation.orthanc.dicom_port} -k PatientName "
        "-k \"ScheduledProcedureStepSequence[0].Modality\"")
    report.line(f"Ready after {report.elapsed:.0f} s. "
        "make demo-stop stops it, make demo-clean removes it.")
    if wrong:
        return f"Not linked as they should be: {', '.join(wrong)}."


if __name__ == '__main__':
    sys.exit(main())
