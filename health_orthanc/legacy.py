# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import ModelSQL, ModelView, Unique, fields

from .links import explorer_link, ohif_link, stone_link


class LegacyStudy(ModelSQL, ModelView):
    "Orthanc Study of GNU Health 4"
    __name__ = 'gnuhealth.orthanc.study'

    patient = fields.Many2One(
        'gnuhealth.orthanc.patient', "Patient", readonly=True)
    uuid = fields.Char("UUID", readonly=True, required=True)
    description = fields.Char("Description", readonly=True)
    date = fields.Date("Date", readonly=True)
    ident = fields.Char("ID", readonly=True)
    institution = fields.Char("Institution", readonly=True)
    ref_phys = fields.Char("Referring Physician", readonly=True)
    req_phys = fields.Char("Requesting Physician", readonly=True)
    requested_procedure_id = fields.Char(
        "RequestedProcedureID", readonly=True)
    instance_uid = fields.Char("InstanceUID", readonly=True)
    merge_id = fields.Char("Merge ID", readonly=True)
    imaging_test = fields.Many2One(
        'gnuhealth.imaging.test.result', "Study", readonly=True)
    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    ohif_viewer_link = fields.Function(
        fields.Char("OHIF Viewer"), 'get_link')
    stone_viewer_link = fields.Function(
        fields.Char("Stone Viewer"), 'get_link')
    orthanc_explorer_link = fields.Function(
        fields.Char("Orthanc Explorer"), 'get_link')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('uuid_unique', Unique(t, t.server, t.uuid),
                'health_orthanc.msg_legacy_uuid_unique'),
            ]

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    str(self.date or ''), self.description])) or self.uuid

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('description', *clause[1:])]

    def get_link(self, name):
        base_url = self.server.link_base_url if self.server else None
        if name == 'ohif_viewer_link':
            return ohif_link(base_url, self.instance_uid)
        elif name == 'stone_viewer_link':
            return stone_link(base_url, self.instance_uid)
        return explorer_link(base_url, 'study', self.uuid)
