# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool
from trytond.wizard import Button, StateTransition, StateView

from .client import OrthancClient, OrthancError
from .exceptions import ServerURLError, explain
from .server import check_url, get_timeouts, system_values

# The check is not to keep the user waiting.
READ_TIMEOUT = 10


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


class NewConnectSuccess(ModelView):
    "Orthanc Server Added"
    __name__ = 'gnuhealth.orthanc.new_connect.success'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    orthanc_name = fields.Char("Name", readonly=True)
    orthanc_version = fields.Char("Version", readonly=True)
    studies = fields.Integer("Studies", readonly=True)
    plugins = fields.Char("Plugins", readonly=True)


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
    success = StateView(
        'gnuhealth.orthanc.new_connect.success',
        'health_orthanc.orthanc_new_connect_success_view_form', [
            Button("Close", 'end', 'tryton-ok', default=True),
            ])
    error = StateView(
        'gnuhealth.orthanc.new_connect.error',
        'health_orthanc.orthanc_new_connect_error_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Back", 'start', 'tryton-back', default=True),
            ])

    def transition_connect(self):
        password = getattr(self.start, 'password', None)
        # What the wizard keeps between its pages is stored in clear.
        self.start.password = None
        label, url = self.start.label, self.start.domain.rstrip('/')
        self.start.user = getattr(self.start, 'user', None)
        self.start.proxy_domain = getattr(self.start, 'proxy_domain', None)
        try:
            check_url(url, label)
            check_url(self.start.proxy_domain, label)
            self._check_unique(label, url)
            with self._client(url, password) as client:
                system = client.system()
                statistics = client.statistics()
                plugins = client.plugins()
        except ServerURLError as error:
            self.error.message = error.message
            return 'error'
        except OrthancError as error:
            self.error.message = explain(error, label)
            return 'error'
        values = system_values(system, plugins)
        self.success.server = self._save_server(url, password, values)
        self.success.orthanc_name = values['orthanc_name']
        self.success.orthanc_version = values['orthanc_version']
        studies = statistics.get('CountStudies')
        self.success.studies = studies if isinstance(studies, int) else None
        self.success.plugins = values['plugins']
        return 'success'

    def _client(self, url, password):
        connect_timeout, read_timeout = get_timeouts()
        return OrthancClient(
            url, self.start.user or None, password or None,
            connect_timeout=connect_timeout,
            read_timeout=min(read_timeout, READ_TIMEOUT))

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

    def _save_server(self, url, password, values):
        "Store the server; an archived one with the same URL is taken up again"
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self._find('domain', url)
        values = {
            **values,
            'label': self.start.label,
            'domain': url,
            'proxy_domain': self.start.proxy_domain,
            'user': self.start.user,
            'password': password,
            'active': True,
            }
        if server:
            Server.write([server], values)
        else:
            server, = Server.create([values])
        return server

    def default_success(self, fields):
        return {
            'server': self.success.server.id,
            'orthanc_name': self.success.orthanc_name,
            'orthanc_version': self.success.orthanc_version,
            'studies': self.success.studies,
            'plugins': self.success.plugins,
            }

    def default_error(self, fields):
        return {'message': self.error.message}

    def default_start(self, fields):
        names = ['label', 'domain', 'proxy_domain', 'user']
        return {n: getattr(self.start, n, None) for n in names
            if getattr(self.start, n, None)}

    def end(self):
        return 'reload'
