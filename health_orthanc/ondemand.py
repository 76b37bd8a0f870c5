# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of large archives, which are read when their series is opened."""
from contextlib import nullcontext
from itertools import groupby

from trytond import backend
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction, without_check_access

from .exceptions import OrthancServerError, SeriesGoneError
from .mapping import members
from .pages import pages_of_resources
from .pagewriter import PageWriter
from .picture import asking
from .rows import forget, update_rows


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    images_on_demand = fields.Boolean("Fetch Images on Demand",
        help="Synchronize studies and series only, and the images of a series "
        "when it is first opened.")

    @classmethod
    def default_images_on_demand(cls):
        return False


class Series(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study_series'

    images_pending = fields.Boolean("Images not Fetched", readonly=True)
    no_images = fields.Function(
        fields.Text("No Images",
            states={
                'invisible': ~Eval('no_images'),
                }),
        'get_no_images')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'fetch_images': {
                    'invisible': ~Eval('no_images'),
                    'depends': ['no_images'],
                    },
                })

    @classmethod
    def default_images_pending(cls):
        return False

    @classmethod
    def get_no_images(cls, series, name):
        return {
            s.id: gettext(
                'health_orthanc.msg_images_pending', series=s.rec_name)
            if s.images_pending and not s.missing_since else None
            for s in series}

    @classmethod
    def read(cls, ids, fields_names):
        """Fetch the images of the series that a form shows

        A form, and no list, asks for the images together with why there are
        none.
        """
        rows = super().read(ids, fields_names)
        if (len(ids) != 1 or not {'instances', 'no_images'} <= set(
                    fields_names)
                or not rows[0]['no_images']):
            return rows
        transaction = Transaction()
        # what only reads is undone
        writing = (transaction.new_transaction() if transaction.readonly
            else nullcontext())
        try:
            with writing:
                with without_check_access():
                    cls._fetch_images(cls.browse(ids))
                return super().read(ids, fields_names)
        except (OrthancServerError, SeriesGoneError) as error:
            rows[0]['no_images'] = error.message
        except backend.DatabaseOperationalError:
            # Somebody else writes the series: the button is there.
            if not transaction.readonly:
                raise
        return rows

    @classmethod
    @ModelView.button
    def fetch_images(cls, series):
        cls._fetch_images(series)

    @classmethod
    def _fetch_images(cls, series):
        "Read from Orthanc the images that are pending"
        series = sorted(
            (s for s in series if s.images_pending and not s.missing_since),
            key=lambda s: s.server_config.id)
        for server, group in groupby(series, lambda s: s.server_config):
            wanted = {s.orthanc_UID: s for s in group}
            writer = PageWriter(server.id, on_demand=True)
            # nothing is locked while Orthanc is asked
            with asking(server) as client:
                pages = list(cls._pages_of_images(client, wanted))
            for page in pages:
                update_rows(cls, ['images_pending'], [
                        [wanted.pop(one['ID']).id, False]
                        for one in page.series if one.get('ID') in wanted])
                writer.write(page)
            if wanted:
                raise SeriesGoneError(gettext(
                        'health_orthanc.msg_series_gone',
                        series=', '.join(s.rec_name for s in wanted.values()),
                        server=server.rec_name))
        forget(cls, [s.id for s in series])

    @staticmethod
    def _pages_of_images(client, wanted):
        for page in pages_of_resources(
                client, [('series', id_) for id_ in wanted], on_demand=True):
            # The other series wait for the next synchronization.
            page.read = frozenset(
                id_ for one in page.series
                for id_ in members(one, 'Instances'))
            page.instances = client.bulk_content([
                    id_ for one in page.series if one.get('ID') in wanted
                    for id_ in members(one, 'Instances')],
                'instance', metadata=True)
            yield page
