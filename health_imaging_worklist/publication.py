# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"What the PACS hosts ask for; doc/reference.rst is the contract"
from trytond.i18n import gettext
from trytond.pool import Pool, PoolMeta
from trytond.rpc import RPC
from trytond.transaction import without_check_access

from .dataset import NOT_XML
from .exceptions import WorklistAnswerError
from .versions import SOURCES, request_versions, short_digest

# What one call may ask for
MAX_REQUESTS = 1000


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__rpc__.update({
                'worklist_state': RPC(readonly=False),
                'worklist_fetched': RPC(readonly=False),
                'worklist_items': RPC(),
                'worklist_items_of': RPC(),
                })

    @classmethod
    def worklist_domain(cls, done=False):
        return [
            ('state', 'in', ['requested', 'done'] if done else ['requested']),
            ('worklist_status', '=', 'todo'),
            ('requested_test.imaging_worklist_template', '!=', None),
            ]

    @classmethod
    def worklist_sources(cls):
        """Return the paths of what items are made of

        A path starts at the request and names links, the last one perhaps
        a translated field.
        """
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        with without_check_access():
            return SOURCES | Template.paths()

    @classmethod
    def worklist_state(cls, host, digest=None, done=False):
        "Return what is on the worklist, by id and version"
        Host = Pool().get('gnuhealth.imaging.worklist.host')
        cls._check_host()
        versions = cls._worklist_versions(cls.worklist_domain(done))
        Host.note(host)
        lines = [
            '%d %s' % (id_, version)
            for id_, version in sorted(versions.items())]
        current = short_digest(lines)
        return {
            'digest': current,
            'count': len(lines),
            'versions': None if digest == current else '\n'.join(lines),
            }

    @classmethod
    def worklist_fetched(cls, host, published, failed):
        "Note what the host made of the worklist"
        Host = Pool().get('gnuhealth.imaging.worklist.host')
        cls._check_host()
        Host.note(host, published=int(published), failed=int(failed))

    @classmethod
    def _check_host(cls):
        "Hosts log in as somebody who may change requests"
        Access = Pool().get('ir.model.access')
        Access.check(cls.__name__, 'write')

    @classmethod
    def worklist_items(cls, after=None, limit=500, done=False):
        "Return a page of what is on the worklist, in the order of the ids"
        cls._check_host()
        limit = max(1, min(int(limit), MAX_REQUESTS))
        domain = cls.worklist_domain(done)
        if after is not None:
            domain.append(('id', '>', after))
        requests = cls.search(
            domain, order=[('id', 'ASC')], limit=limit + 1)
        page = requests[:limit]
        return {
            'items': cls._worklist_answer(page),
            'next': page[-1].id if len(requests) > limit else None,
            }

    @classmethod
    def worklist_items_of(cls, ids, done=False):
        "Return the items of those of the requests that are on the worklist"
        cls._check_host()
        if len(ids) > MAX_REQUESTS:
            raise WorklistAnswerError(gettext(
                    'health_imaging_worklist.msg_items_too_many',
                    count=len(ids), limit=MAX_REQUESTS))
        requests = cls.search(
            [cls.worklist_domain(done), ('id', 'in', list(map(int, ids)))],
            order=[('id', 'ASC')])
        return {'items': cls._worklist_answer(requests)}

    @classmethod
    def _worklist_versions(cls, domain):
        Configuration = Pool().get('ir.configuration')
        return request_versions(
            cls.search(domain, query=True, order=[]),
            cls.worklist_sources(), Configuration.get_language())

    @classmethod
    def _worklist_answer(cls, requests):
        if not requests:
            return []
        versions = cls._worklist_versions(
            [('id', 'in', [r.id for r in requests])])
        answer = []
        for request, items in cls._worklist_rendered(requests):
            for number, item in enumerate(items):
                answer.append(request._worklist_answer_item(
                        item, number, versions[request.id]))
        return answer

    def _worklist_answer_item(self, item, number, version):
        template = self.requested_test.imaging_worklist_template
        problems = {'error': [], 'warning': []}
        for finding in item.findings:
            problems[finding.severity].append({
                    'attribute': _sendable(finding.attribute),
                    'code': finding.code,
                    })
        answer = {
            'key': '%d-%d' % (self.id, number) if number else str(self.id),
            'id': self.id,
            'line': self.request_line,
            'station': item.station,
            'uid': self.merge_id,
            'version': version,
            'type': template.template_type or 'dump2dcm',
            'charset': _sendable(template.charset),
            'errors': problems['error'],
            'warnings': problems['warning'],
            'text': None,
            'dataset': None,
            }
        if not problems['error']:
            answer['text'] = item.text
            answer['dataset'] = item.json
        return answer


def _sendable(text):
    return NOT_XML.sub('?', text or '')
