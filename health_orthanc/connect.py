# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool
from trytond.pyson import Eval, PYSONEncoder
from trytond.wizard import Button, StateAction, StateTransition, StateView

from .client import (
    CertificateChanged, CertificateError, NoTLS, OrthancClient, OrthancError)
from .exceptions import CertificateFieldError, ServerURLError, explain
from .server import (
    ask_plugins, check_certificate, check_url, clean, contact_values, get_gate,
    is_plain, quick_timeouts)

# What is asked for on the first page, besides the password
NAMES = [
    'label', 'domain', 'proxy_domain', 'user', 'certificate_authority',
    'certificate_fingerprint']
PLUGINS = {
    'dicomweb': 'dicom-web',
    'ohif': 'ohif',
    'stone': 'stone-webviewer',
    'worklists': 'worklists',
    'authorization': 'authorization',
    }


class NewConnectStart(ModelView):
    "Init data for Orthanc connection"
    __name__ = 'gnuhealth.imaging_orthanc.orthanc_add_init_data'

    label = fields.Char("Label", required=True,
        help="The name of the server in GNU Health; no other may have it.")
    domain = fields.Char("URL", required=True,
        help="The full address of Orthanc's REST API, "
        "such as https://pacs.example.org/orthanc.")
    proxy_domain = fields.Char("Proxy URL",
        help="The address at which browsers reach Orthanc and its viewers, "
        "if it is another one.")
    user = fields.Char("Username")
    password = fields.Char("Password", strip=False)
    certificate_authority = fields.Text("Certificate Authority",
        help="The certificates of the only authorities to trust for this "
        "server, as PEM text. Empty: those that the machine trusts.")
    certificate_fingerprint = fields.Char("Accepted Certificate",
        help="SHA-256 fingerprint of the only certificate to accept from "
        "this server, whoever issued it.")

    @fields.depends('domain')
    def on_change_notify(self):
        notifications = list(super().on_change_notify())
        if is_plain(self.domain):
            notifications.append(('warning', gettext(
                        'health_orthanc.msg_server_plain_http')))
        return notifications


class NewConnectCertificate(ModelView):
    "Orthanc Server Certificate"
    __name__ = 'gnuhealth.orthanc.new_connect.certificate'

    reason = fields.Text("Reason", readonly=True)
    subject = fields.Char("Subject", readonly=True)
    issuer = fields.Char("Issuer", readonly=True)
    names = fields.Char("Host Names", readonly=True)
    not_before = fields.DateTime("Valid from", readonly=True)
    not_after = fields.DateTime("Valid until", readonly=True)
    fingerprint = fields.Char("SHA-256 Fingerprint", readonly=True)
    password = fields.Char("Password", strip=False,
        help="It was not sent to the server, and is not kept between pages: "
        "enter it again.")


class NewConnectSuccess(ModelView):
    "Orthanc Server Added"
    __name__ = 'gnuhealth.orthanc.new_connect.success'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    orthanc_name = fields.Char("Name", readonly=True)
    orthanc_version = fields.Char("Version", readonly=True)
    studies = fields.Integer("Studies", readonly=True)
    dicomweb = fields.Boolean("DICOMweb", readonly=True)
    ohif = fields.Boolean("OHIF", readonly=True)
    stone = fields.Boolean("Stone", readonly=True)
    worklists = fields.Boolean("Worklists", readonly=True)
    authorization = fields.Boolean("Authorization", readonly=True)
    plugins = fields.Char("Plugins", readonly=True)
    warnings = fields.Text("Warnings", readonly=True,
        states={
            'invisible': ~Eval('warnings'),
            })


class NewConnectError(ModelView):
    "Orthanc Server Not Added"
    __name__ = 'gnuhealth.orthanc.new_connect.error'

    message = fields.Text("Message", readonly=True)


class NewConnect(GuardedWizard):
    "Add Orthanc Server"
    __name__ = 'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect'

    start = StateView(
        'gnuhealth.imaging_orthanc.orthanc_add_init_data',
        'health_orthanc.view_orthanc_add_init_data', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Begin", 'connect', 'tryton-ok', default=True),
            ])
    connect = StateTransition()
    certificate = StateView(
        'gnuhealth.orthanc.new_connect.certificate',
        'health_orthanc.orthanc_new_connect_certificate_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Back", 'start', 'tryton-back', default=True),
            Button("Accept Certificate", 'accept', 'tryton-ok'),
            ])
    accept = StateTransition()
    success = StateView(
        'gnuhealth.orthanc.new_connect.success',
        'health_orthanc.orthanc_new_connect_success_view_form', [
            Button("Close", 'end', 'tryton-close'),
            Button("Synchronize", 'synchronize', 'tryton-refresh',
                default=True),
            ])
    synchronize = StateAction('health_orthanc.act_sync_run')
    error = StateView(
        'gnuhealth.orthanc.new_connect.error',
        'health_orthanc.orthanc_new_connect_error_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Back", 'start', 'tryton-back', default=True),
            ])
    password = None

    def _execute(self, state_name):
        """Take the password out of what was typed.

        What a wizard keeps between its pages is stored in clear, and sent
        back to the client.
        """
        for page in [self.start, self.certificate]:
            self.password = getattr(page, 'password', None) or self.password
            page.password = None
        return super()._execute(state_name)

    def transition_accept(self):
        self.start.certificate_fingerprint = self.certificate.fingerprint
        return self.transition_connect()

    def transition_connect(self):
        for name in NAMES:
            value = getattr(self.start, name, None)
            # whatever is called a value by a client
            setattr(self.start, name, str(value).strip() if value else None)
        label = self.start.label or ''
        url = (self.start.domain or '').rstrip('/')
        try:
            self._check(label, url)
            with self._client(url) as client:
                try:
                    facts = self._ask(client)
                except CertificateError as error:
                    if self._show_certificate(client, error):
                        return 'certificate'
                    raise
        except (ServerURLError, CertificateFieldError) as error:
            self.error.message = error.message
            return 'error'
        except OrthancError as error:
            self.error.message = explain(error, label)
            return 'error'
        self._show_success(url, facts)
        return 'success'

    def _check(self, label, url):
        check_url(url or '-', label, get_gate())
        check_url(self.start.proxy_domain, label)
        for name in ['certificate_authority', 'certificate_fingerprint']:
            check_certificate(name, getattr(self.start, name), label)
        self._check_unique(label, url)

    def _client(self, url):
        return OrthancClient(
            url, self.start.user, self.password, **quick_timeouts(),
            gate=get_gate(), authority=self.start.certificate_authority,
            fingerprint=self.start.certificate_fingerprint)

    def _ask(self, client):
        system, statistics = client.system(), client.statistics()
        # not everybody may ask for them
        plugins = ask_plugins(client)
        return plugins or [], contact_values(
            system, statistics, plugins, client.clock_difference())

    def _show_certificate(self, client, error):
        "Fill the page that shows the certificate, if there is one to accept"
        if isinstance(error, NoTLS):
            return False
        found = client.certificate()
        if not found:
            return False
        reason = (
            'changed' if isinstance(error, CertificateChanged)
            else error.reason)
        page = self.certificate
        page.reason = gettext(
            'health_orthanc.msg_certificate_' + reason,
            server=self.start.label)
        page.subject = clean(found.subject, 255)
        page.issuer = clean(found.issuer, 255)
        page.names = clean(', '.join(found.names), 255)
        page.not_before, page.not_after = found.not_before, found.not_after
        page.fingerprint = found.fingerprint
        return True

    def _show_success(self, url, facts):
        plugins, values = facts
        page = self.success
        page.server = server = self._save_server(url, values)
        page.orthanc_name = values['orthanc_name']
        page.orthanc_version = values['orthanc_version']
        page.studies = values.get('studies_there')
        page.plugins = values.get('plugins')
        for name, plugin in PLUGINS.items():
            setattr(page, name, plugin in plugins)
        page.warnings = '\n'.join(server.get_warnings()) or None

    def _find(self, name, value):
        Server = Pool().get('gnuhealth.orthanc.config')
        servers = Server.search([
                (name, '=', value),
                ('active', 'in', [True, False]),
                ], limit=1)
        return servers[0] if servers else None

    def _check_unique(self, label, url):
        same_url = self._find('domain', url)
        if same_url and same_url.active:
            raise ServerURLError(gettext(
                    'health_orthanc.msg_server_known',
                    server=same_url.label, url=url))
        same_label = self._find('label', label)
        if same_label and same_label != same_url:
            raise ServerURLError(gettext(
                    'health_orthanc.msg_server_label_unique'))

    def _save_server(self, url, values):
        "Store the server; an archived one with the same URL is taken up again"
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self._find('domain', url)
        values = {
            **values,
            **{name: getattr(self.start, name) for name in NAMES},
            'domain': url,
            'password': self.password,
            'active': True,
            }
        if server:
            # whether it is the one that it was is found out by comparing
            del values['signature'], values['replaced']
            Server.write([server], values)
        else:
            server, = Server.create([values])
        return server

    def do_synchronize(self, action):
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        server = self.success.server
        Run.submit([server], 'full', 'user')
        action['pyson_domain'] = PYSONEncoder().encode(
            [('server', '=', server.id)])
        return action, {}

    def default_success(self, fields):
        page = self.success
        return {
            'server': page.server.id,
            **{name: getattr(page, name) for name in [
                    'orthanc_name', 'orthanc_version', 'studies', 'plugins',
                    'warnings', *PLUGINS]},
            }

    def default_error(self, fields):
        return {'message': self.error.message}

    def default_certificate(self, fields):
        return {name: getattr(self.certificate, name) for name in [
                'reason', 'subject', 'issuer', 'names', 'not_before',
                'not_after', 'fingerprint']}

    def default_start(self, fields):
        return {name: value for name in NAMES
            if (value := getattr(self.start, name, None))}

    def end(self):
        return 'reload'
