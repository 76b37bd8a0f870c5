# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send files to a server: what the wizard and the page have in common."""
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction, without_check_access

from .client import (
    BadAnswer, Full, OrthancError, Refused, Timeout, Unreachable)
from .dicomscan import Refusal, scan
from .engine import Synchronization
from .exceptions import ReadOnlyServerError, UploadError, explain
from .secrets import SecretError

__all__ = [
    'Expected', 'Outcome', 'Sender', 'count', 'explain_refusal', 'record']

# How often, and how many seconds apart, a server that is synchronized is
# tried before what was sent waits for its next synchronization
TRIES, PAUSE = 20, .5


def explain_refusal(refusal):
    "Return the sentence that tells a user why a file was not sent"
    return gettext('health_orthanc.msg_file_' + refusal.code, **refusal.values)


@dataclass
class Outcome:
    """What became of a file

    Attributes
    ----------
    state : str
        stored, known, skipped, refused, or differs: not sent, since it does
        not agree with what was expected.
    study : str or None
        Orthanc's identifier of the study.
    differences : list of (str, str, str)
        Which fact differs, what the file says, and what was expected.
    """
    name: str
    state: str
    reason: str = None
    study: str = None
    study_uid: str = None
    differences: list = field(default_factory=list)


class Expected:
    """Whose files are expected

    Parameters
    ----------
    patient, request, result : record or None
        A result stands for its request.
    """

    def __init__(self, patient=None, request=None, result=None):
        with without_check_access():
            if result:
                request = request or result.request
                patient = patient or result.patient
            if request:
                patient = request.patient
            self.request, self.patient = request, patient
            self.facts = {}
            if patient:
                self.facts['patient_id'] = (patient.party.ref or '').strip()
            if request:
                self.facts['accession_number'] = request.request
                # without the worklist there is none
                self.facts['study_uid'] = getattr(request, 'merge_id', None)

    def differences(self, facts):
        "Return which facts differ, what the file says and what is expected"
        result = []
        for name, expected in self.facts.items():
            found = (getattr(facts, name) or '').strip()
            if not found and (
                    name == 'accession_number' or not facts.complete):
                continue
            if expected and found != expected:
                result.append((name, found, expected))
        return result


class Sender:
    """Sends files to a server, one by one, over one connection

    Once the server fails to answer nothing more is sent.
    """

    def __init__(self, server, expected=None):
        self.server = server
        self.expected = expected or Expected()
        try:
            self.client = server.get_client()
        except (SecretError, OrthancError) as error:
            raise UploadError(explain(error, server)) from None
        self.given_up = None

    def __enter__(self):
        try:
            check_writable(self.server, self.client)
        except OrthancError as error:
            self.given_up = explain(error, self.server)
        return self

    def __exit__(self, type, value, traceback):
        self.client.close()

    def send(self, name, content, across=False):
        """Send one file and return what became of it

        Parameters
        ----------
        content : bytes or Refusal
        across : bool
            Send it though it differs from what is expected.
        """
        outcome = examine(name, content, self.expected)
        if outcome.state == 'differs' and across:
            outcome.state = 'ready'
        if outcome.state == 'ready':
            if self.given_up:
                outcome.state, outcome.reason = 'refused', self.given_up
            else:
                self._store(outcome, content)
        return outcome

    def _store(self, outcome, content):
        try:
            answers, again = self._post(content)
        except BadAnswer:
            outcome.state = 'refused'
            outcome.reason = gettext('health_orthanc.msg_upload_no_dicom')
            return
        except OrthancError as error:
            outcome.state = 'refused'
            outcome.reason = explain(error, self.server)
            if isinstance(error, (Unreachable, Refused, Full)):
                self.given_up = outcome.reason
            return
        statuses = {a.get('Status') for a in answers}
        if 'Success' in statuses or (again and 'AlreadyStored' in statuses):
            # the first try may have come through
            outcome.state = 'stored'
        elif 'AlreadyStored' in statuses:
            outcome.state = 'known'
        else:
            outcome.state = 'refused'
            outcome.reason = gettext('health_orthanc.msg_upload_filtered')
            return
        outcome.study = next(
            (a['ParentStudy'] for a in answers
                if isinstance(a.get('ParentStudy'), str)), None)

    def _post(self, content):
        "Store it, once more if the link dropped"
        try:
            return self.client.store(content), False
        except Timeout:
            raise
        except Unreachable:
            time.sleep(PAUSE)
            return self.client.store(content), True


def examine(name, content, expected):
    "Return the outcome of a file that is not sent, or that is ready"
    if isinstance(content, Refusal):
        return _refused(name, content)
    try:
        facts = scan(content)
    except Refusal as refusal:
        return _refused(name, refusal)
    outcome = Outcome(name, 'ready', study_uid=facts.study_uid)
    outcome.differences = expected.differences(facts)
    if outcome.differences:
        outcome.state = 'differs'
        outcome.reason = describe_differences(outcome.differences)
    return outcome


def _refused(name, refusal):
    state = 'skipped' if refusal.code == 'index' else 'refused'
    return Outcome(name, state, explain_refusal(refusal))


def describe_differences(differences):
    return ' '.join(gettext(
            'health_orthanc.msg_upload_differs_' + name,
            found=found or '-', expected=expected)
        for name, found, expected in differences)


def check_writable(server, client):
    """Raise ReadOnlyServerError if nothing may be changed on the server

    Raises OrthancError if it does not answer.
    """
    if client.system().get('ReadOnly') is True:
        raise ReadOnlyServerError(gettext(
                'health_orthanc.msg_server_stores_nothing',
                server=server.rec_name))


def count(outcomes):
    "Return how many were stored, already there, skipped and refused"
    states = Counter(o.state for o in outcomes)
    return {
        'stored': states['stored'],
        'known': states['known'],
        'skipped': states['skipped'],
        'refused': states['refused'] + states['differs'],
        }


def record(server, outcomes, expected, reason=None):
    """Note who uploaded what, and have it synchronized and linked

    The audit has an entry for each study, or one if nothing was stored.
    """
    pool = Pool()
    Audit = pool.get('gnuhealth.orthanc.audit')
    Run = pool.get('gnuhealth.orthanc.sync.run')
    by_study = defaultdict(list)
    for outcome in outcomes:
        if outcome.study:
            by_study[outcome.study, outcome.study_uid].append(outcome)
    with without_check_access():
        target = expected.request or expected.patient
        rest = [o for o in outcomes if not o.study]
        if rest or not by_study:
            by_study[None, None] = rest
        for (_, study_uid), some in by_study.items():
            detail = [gettext(
                    'health_orthanc.msg_upload_counts', **count(some))]
            if target:
                detail.insert(0, target.rec_name)
            Audit.log_server(
                'upload', server, study_uid=study_uid,
                patient=expected.patient.id if expected.patient else None,
                reason=reason, detail='\n'.join(detail))
        studies = [study for study, _ in by_study if study]
        if studies:
            Run.read_studies(server, studies, expected, reason)


class Run(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.sync.run'

    @classmethod
    def read_studies(cls, server, studies, expected, reason=None):
        "Queue a run that reads the studies, and then links what is expected"
        run, = cls.create([{
                    'server': server.id,
                    'kind': 'new',
                    'trigger': 'user',
                    }])
        cls.__queue__.execute_studies(
            [run], studies,
            expected.request.id if expected.request else None,
            expected.patient.id if expected.patient else None, reason)

    @classmethod
    def execute_studies(
            cls, runs, studies, request=None, patient=None, reason=None):
        """Task: read the studies and link them.

        Whatever is read is committed page by page. If the server is not
        free for long, its next synchronization reads them.
        """
        for run in runs:
            for _ in range(TRIES):
                synchronization = Synchronization(run.id, studies=studies)
                if synchronization.execute():
                    break
                time.sleep(PAUSE)
            else:
                cls.cancel([run])
                cls.notify(run.server)
                continue
            if synchronization.commit:
                # what other transactions wrote is seen from here on
                Transaction().commit()
            messages = cls._link_uploaded(
                run.server, studies, request, patient, reason)
            if messages:
                cls.write([cls(run.id)], {'message': '\n'.join(messages)})

    @classmethod
    def _link_uploaded(cls, server, studies, request, patient, reason):
        "Link what the rules did not, and return what forbids it"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Request = pool.get('gnuhealth.imaging.test.request')
        Patient = pool.get('gnuhealth.patient')
        if not request and not patient:
            return []
        request = request and Request(request)
        patient = request.patient if request else Patient(patient)
        messages = []
        studies = Study.search([
                ('server_config', '=', server.id),
                ('orthanc_UID', 'in', studies),
                ('not_ours_since', '=', None),
                ])
        # all at once, since a lock restarts the transaction
        Study.lock(studies)
        for study in studies:
            linked = study.request or study.imaging_test
            if linked or (not request and study.patient):
                continue
            if (study.link_origin == 'person'
                    and study.patient not in {None, patient}):
                # whoever sends files does not see it, nor undo it
                messages.append(gettext(
                        'health_orthanc.msg_study_linked',
                        study=study.rec_name, record=study.patient.rec_name))
                continue
            try:
                study.link_to(patient, request, reason)
            except UserError as error:
                messages.append(error.message)
        return messages
