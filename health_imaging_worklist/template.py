# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from collections import namedtuple
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache

from pydicom.charset import python_encoding

from trytond import backend
from trytond.i18n import gettext
from trytond.model import DeactivableMixin, ModelSQL, ModelView, fields
from trytond.modules.health_imaging.access import GuardedView
from trytond.modules.health_imaging.upgrade import health_imaging_first
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.tools import file_open
from trytond.transaction import inactive_records

from . import dataset, sandbox
from .attributes import Adapted
from .conformance import Finding, codec
from .exceptions import CharsetError, TemplateError



class Item(namedtuple(
            'Item', 'text dataset findings station json', defaults=[None])):
    """A rendered worklist item

    It has its text, its pydicom Dataset (None if the text is no dataset), the
    findings on it, the AE title of its station, and the dataset in the DICOM
    JSON model.
    """
    __slots__ = ()

    @property
    def has_errors(self):
        return any(f.severity == 'error' for f in self.findings)


# The template that is being checked stands in for the one of the study
_checked = ContextVar('checked_worklist_template', default=None)

# Parsing costs more than all the rest of an item
parse = lru_cache(maxsize=256)(sandbox.Template)


class WorklistTemplate(DeactivableMixin, ModelSQL, GuardedView):
    "Worklist Template"
    __name__ = 'gnuhealth.imaging_worklist.worklist_template'
    _history = True

    name = fields.Char("Name", required=True)
    template_type = fields.Selection([
            ('dump2dcm', "dump2dcm"),
            ('json', "json"),
            ], "Template Type", sort=False,
        help="dump2dcm: the text is a dump as dcmtk's dump2dcm reads it.\n"
        "json: the text is a JSON object of DICOM keywords.")
    charset = fields.Char(
        "Charset",
        help="The Specific Character Set (0008,0005) of the items: "
        "ISO_IR 192 (UTF-8), ISO_IR 100, GBK, ...\n"
        "Separate several by backslashes.")
    value_mode = fields.Selection([
            ('standard', "Standard"),
            ('gnuhealth5', "GNU Health 5.0"),
            ], "Values", required=True, sort=False,
        help="Standard: dates and times in the institution's time zone; "
        "items with errors are not published.\n"
        "GNU Health 5.0: dates and times in UTC as GNU Health 5.0 gave them; "
        "errors are shown as warnings.")
    shipped_text = fields.Selection([
            ('standard', "Standard"),
            ('compact', "Compact"),
            ], "Shipped text", sort=False,
        help="The text that comes with the module.\n"
        "Standard: all attributes.\n"
        "Compact: those that each item must have, for consoles that refuse "
        "what they do not know.")
    template = fields.Text(
        "Template", required=True,
        help="The text of an item, in the text syntax of Genshi.")
    comment = fields.Text("Comment")
    sample = fields.Function(
        fields.Many2One(
            'gnuhealth.imaging.test.request', "Sample request",
            help="The request with which the template is checked.\n"
            "Leave empty to use a made-up one."),
        'get_sample', setter='set_sample')
    check_findings = fields.Function(
        fields.Text("Check"), 'on_change_with_check_findings')
    check_text = fields.Function(
        fields.Text("Sample text"), 'on_change_with_check_text')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order.insert(0, ('name', 'ASC'))
        cls._buttons.update({
                'load_shipped': {
                    'invisible': ~Eval('template_type'),
                    'depends': ['template_type'],
                    },
                })

    @classmethod
    def __register__(cls, module):
        health_imaging_first()
        # Templates made with GNU Health 5.0 keep their values
        if backend.TableHandler.table_exist(cls._table):
            table_h = cls.__table_handler__(module)
            table_h.add_column(
                'value_mode', 'VARCHAR', default=lambda: 'gnuhealth5')
        super().__register__(module)

    @staticmethod
    def default_template_type():
        return 'dump2dcm'

    @staticmethod
    def default_charset():
        return 'ISO_IR 192'

    @staticmethod
    def default_value_mode():
        return 'standard'

    @staticmethod
    def default_shipped_text():
        return 'standard'

    @classmethod
    def default_template(cls):
        return cls.shipped(cls.default_template_type())

    @fields.depends('template_type', 'template', 'shipped_text')
    def on_change_template_type(self):
        texts = [
            self.shipped(t, kind)
            for t in ('dump2dcm', 'json') for kind in ('standard', 'compact')]
        if self.template_type and self.template in [None, '', *texts]:
            self.template = self.shipped(
                self.template_type, self.shipped_text)

    @fields.depends(methods=['on_change_template_type'])
    def on_change_shipped_text(self):
        self.on_change_template_type()

    @classmethod
    def get_sample(cls, templates, name):
        "The sample is chosen while the form is open, and not kept"
        return {t.id: None for t in templates}

    @classmethod
    def set_sample(cls, templates, name, value):
        pass

    @fields.depends(
        'template', 'template_type', 'charset', 'value_mode', 'sample')
    def on_change_with_check_findings(self, name=None):
        lines = [finding_line(f) for f in self._checked_item().findings]
        return '\n'.join(lines) or gettext(
            'health_imaging_worklist.msg_template_checked')

    @fields.depends(
        'template', 'template_type', 'charset', 'value_mode', 'sample')
    def on_change_with_check_text(self, name=None):
        return self._checked_item().text

    def _checked_item(self):
        "Return the item of the sample"
        Request = Pool().get('gnuhealth.imaging.test.request')
        if self.sample and self._may_use(self.sample):
            with stand_in(self):
                (_, items), = Request._worklist_rendered([self.sample])
            return items[0]
        return self.render(Request.get_worklist_sample_data(self))

    @classmethod
    def _may_use(cls, sample):
        """Return whether the user may render the request

        A template can read whatever the request leads to: only those who may
        save it may try it with a real patient.
        """
        ModelAccess = Pool().get('ir.model.access')
        access = ModelAccess.get_access([cls.__name__])[cls.__name__]
        Request = Pool().get('gnuhealth.imaging.test.request')
        return access['write'] and bool(
            Request.search([('id', '=', sample.id)]))

    @fields.depends('charset')
    def autocomplete_charset(self):
        text = (self.charset or '').upper()
        return [
            c for c in python_encoding if c and codec(c) and text in c]

    @classmethod
    def create(cls, vlist):
        vlist = [v.copy() for v in vlist]
        for values in vlist:
            if 'template' not in values:
                values['template'] = cls.shipped(
                    values.get('template_type')
                    or cls.default_template_type(),
                    values.get('shipped_text'))
        return super().create(vlist)

    @classmethod
    def validate_fields(cls, templates, field_names):
        super().validate_fields(templates, field_names)
        for template in templates:
            template.check_template(field_names)
            template.check_charset(field_names)

    def check_template(self, field_names=None):
        if field_names and 'template' not in field_names:
            return
        try:
            parse(self.template)
        except sandbox.SandboxError as e:
            raise TemplateError(gettext(
                    'health_imaging_worklist.msg_template_refused',
                    template=self.rec_name, line=e.line,
                    reason=sandbox_reason(e))) from e

    def check_charset(self, field_names=None):
        if (field_names and not field_names & {'charset', 'value_mode'}
                or self.value_mode != 'standard'):
            return
        for charset in (self.charset or '').split('\\'):
            if codec(charset) is None:
                raise CharsetError(gettext(
                        'health_imaging_worklist.msg_charset_unknown',
                        template=self.rec_name, charset=charset))

    @staticmethod
    def shipped(template_type, kind=None):
        "Return the text of a template that comes with the module"
        path = 'health_imaging_worklist/templates/%s_%s.txt' % (
            kind or 'standard', template_type)
        with file_open(path, encoding='utf-8') as file:
            return file.read()

    @classmethod
    @ModelView.button
    def load_shipped(cls, templates):
        "Move to the text and the values of the shipped template"
        for template in templates:
            template.template = cls.shipped(
                template.template_type, template.shipped_text)
            template.value_mode = 'standard'
            if codec(template.charset or '') is None:
                template.charset = cls.default_charset()
        cls.save(templates)

    @classmethod
    def paths(cls):
        "Return what the templates read of the request, as dotted paths"
        paths = set()
        with inactive_records():
            for template in cls.search([]):
                with suppress(sandbox.SandboxError):
                    paths |= parse(template.template or '').paths('my')
        return paths

    def render(self, data):
        """Return the item that the data give

        Nothing is raised: what fails is an error among the findings.
        """
        findings = [
            Finding('warning', name, value.code, '')
            for name, value in data.items() if isinstance(value, Adapted)]
        station = data.get('ScheduledStationAETitle') or ''
        try:
            rendered = parse(self.template or '').render(
                data, sandbox.ESCAPES[self.template_type or 'dump2dcm'])
        except sandbox.SandboxError as e:
            findings.append(Finding(
                    'error', '', 'template',
                    '%s: %s' % (e.line, sandbox_reason(e))))
            return Item(None, None, findings, station)
        findings.extend(
            Finding('warning', source, 'replaced', '')
            for _, source in rendered.replaced)
        try:
            result, noticed = dataset.parse(
                rendered.text, self.template_type)
        except dataset.DatasetError as e:
            findings.append(Finding(
                    'error', '', 'text', dataset_reason(e)))
            return Item(rendered.text, None, findings, station)
        findings = noticed + dataset.check(result) + findings
        try:
            json = dataset.to_json(result)
        except dataset.DatasetError as e:
            findings.append(Finding(
                    'error', e.detail, 'text', dataset_reason(e)))
            return Item(rendered.text, None, findings, station)
        if self.value_mode == 'gnuhealth5':
            findings = [f._replace(severity='warning') for f in findings]
        return Item(rendered.text, result, findings, station, json)


@contextmanager
def stand_in(template):
    "Use the template for requests, whatever their study says"
    token = _checked.set(template)
    try:
        yield
    finally:
        _checked.reset(token)


def template_of(request):
    return _checked.get() or request.requested_test.imaging_worklist_template


def sandbox_reason(error):
    return gettext(
        'health_imaging_worklist.msg_sandbox_%s' % error.code,
        detail=error.detail)


def dataset_reason(error):
    reason = gettext(
        'health_imaging_worklist.msg_dataset_%s' % error.code,
        detail=error.detail)
    if error.line:
        return '%s: %s' % (error.line, reason)
    return reason


def finding_line(finding):
    "Return what a person reads of a finding: severity, fact and remedy"
    return gettext(
        'health_imaging_worklist.msg_%s' % finding.severity,
        finding=gettext(
            'health_imaging_worklist.msg_finding_%s' % finding.code,
            attribute=finding.attribute, detail=finding.detail))
