# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of an instance, and how it comes into the report."""
from contextlib import contextmanager

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction, without_check_access

from . import preview
from .client import BadAnswer, NotFound, OrthancError
from .exceptions import (
    NoPictureError, NoResultError, OrthancServerError, PictureChoiceError,
    explain)
from .secrets import SecretError

# Pictures that are added at once: each is fetched while the user waits
MAX_CHOSEN = 50
# Clients leave out pictures of more bytes than a million
MAX_SIZE = 900_000
PNG = b'\x89PNG\r\n\x1a\n'


@contextmanager
def asking(server):
    "Yield a client of the server; what goes wrong becomes a sentence"
    try:
        with server.get_client() as client:
            yield client
    except (SecretError, OrthancError) as error:
        raise OrthancServerError(explain(error, server)) from None


def may_link():
    "Tell whether the user may link studies to results"
    pool = Pool()
    Action = pool.get('ir.action.wizard')
    User = pool.get('res.user')
    groups = Action.get_groups('gnuhealth.orthanc.link')
    return bool(groups & set(User.get_groups()))


def check_choice(frame, window):
    """Return frame and window as they came from a client, if they make sense

    A window is a sequence of center, width and, if it has one, its name.
    """
    made = None
    if isinstance(window, (list, tuple)):
        made = preview.make_window(*window)
    if (type(frame) is not int or not 0 < frame < 2 ** 31
            or (window is not None and not made)):
        raise PictureChoiceError(
            gettext('health_orthanc.msg_picture_choice'))
    return frame, made


class Attachment(metaclass=PoolMeta):
    __name__ = 'ir.attachment'

    orthanc_picture = fields.Char(
        "Picture of Orthanc", readonly=True,
        help="Which image, frame and window the picture shows.")


class Instance(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.series_instances'

    image = fields.Function(
        fields.Binary("Image",
            states={
                'invisible': Bool(Eval('no_picture')),
                }),
        'get_image')
    no_picture = fields.Function(
        fields.Text("No Picture",
            states={
                'invisible': ~Eval('no_picture'),
                }),
        'get_no_picture')
    attached = fields.Function(
        fields.Boolean("In Report"), 'get_attached')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'open_picture': {},
                # also for what is attached, so that it can be among those
                # selected
                'attach_image_to_imaging_test_report': {},
                })

    @classmethod
    def read(cls, ids, fields_names):
        """Read the picture together with why there is none

        A form asks for both, with the size instead of the picture. It gets
        the picture at once, so that it is fetched once.
        """
        if len(ids) != 1 or not {'image', 'no_picture'} <= set(fields_names):
            return super().read(ids, fields_names)
        with Transaction().set_context({f'{cls.__name__}.image': 'size'}):
            rows = super().read(ids, fields_names)
        with without_check_access():
            rows[0].update(cls(ids[0])._look())
        return rows

    def _look(self):
        cast = type(self).image._field.cast
        try:
            image, reason = cast(self.fetch_picture()), None
        except (NoPictureError, OrthancServerError) as error:
            image, reason = None, error.message
        else:
            self.note_look()
        return {'image': image, 'no_picture': reason}

    @classmethod
    def get_image(cls, instances, name):
        """Fetch the pictures from Orthanc, None for what has no picture.

        Clients ask for the size first: it is estimated, so that nothing is
        fetched for what is not shown.
        """
        if Transaction().context.get(f'{cls.__name__}.{name}') == 'size':
            return {
                i.id: min((i.rows or 512) * (i.columns or 512), MAX_SIZE)
                for i in instances}
        cast = cls.image._field.cast
        images = {}
        for instance in instances:
            try:
                images[instance.id] = cast(instance.fetch_picture())
            except NoPictureError:
                images[instance.id] = None
            else:
                instance.note_look()
        return images

    @classmethod
    def get_no_picture(cls, instances, name):
        "Tell nothing: only read() asks Orthanc, for a single picture"
        return dict.fromkeys([i.id for i in instances])

    @classmethod
    def get_attached(cls, instances, name):
        taken = cls._pictures_of({
                i.series.study.imaging_test for i in instances
                if i.series.study.imaging_test})
        uids = {(result, key.split('#')[0]) for result, key in taken}
        return {
            i.id: (str(i.series.study.imaging_test), i.sop_instance_UID)
            in uids for i in instances}

    @classmethod
    def _pictures_of(cls, results):
        "Return which pictures which results have"
        Attachment = Pool().get('ir.attachment')
        if not results:
            return set()
        return {
            # before, the name alone told which picture it is
            (str(a.resource), a.orthanc_picture
                or f'{a.name[:-len(".png")]}#1#')
            for a in Attachment.search([
                    ('resource', 'in', [str(r) for r in results]),
                    ['OR',
                        ('orthanc_picture', '!=', None),
                        ('name', 'like', '%.png'),
                        ],
                    ])}

    def fetch_picture(self, frame=1, window=None):
        """Return the picture of a frame as PNG, made by Orthanc

        Frames start at 1.
        """
        reason = self._no_pixels(self.sop_class_UID)
        if reason:
            raise NoPictureError(reason)
        with asking(self.series.study.server_config) as client:
            return self._fetch(client, frame, window)

    def _fetch(self, client, frame, window):
        try:
            content = client.preview(
                self.orthanc_UID, frame - 1 if frame > 1 else None,
                window and window[:2])
            if not content.startswith(PNG):
                # such as a proxy's page to log in
                raise BadAnswer("no PNG")
            return content
        except NotFound:
            reason = gettext(
                'health_orthanc.msg_picture_gone', instance=self.rec_name)
        except BadAnswer as error:
            if error.status is None:
                raise
            reason = self._why_no_picture(client)
        raise NoPictureError(reason)

    def _no_pixels(self, sop_class):
        kind = preview.kind(sop_class)
        if kind:
            return gettext(
                f'health_orthanc.msg_no_picture_{kind}',
                instance=self.rec_name)

    def _why_no_picture(self, client):
        try:
            metadata = client.instance_metadata(self.orthanc_UID)
        except OrthancError:
            metadata = {}
        sop_class = metadata.get('SopClassUid') or self.sop_class_UID
        compression = preview.compression(metadata.get('TransferSyntax'))
        reason = self._no_pixels(sop_class)
        if reason:
            return reason
        if compression:
            return gettext(
                'health_orthanc.msg_no_picture_compression',
                instance=self.rec_name, compression=compression)
        if sop_class:
            return gettext(
                'health_orthanc.msg_no_picture_kind',
                instance=self.rec_name, kind=preview.kind_name(sop_class))
        return gettext('health_orthanc.msg_no_picture', instance=self.rec_name)

    def note_look(self):
        "Note in the audit that the user looks at pictures of the series"
        Audit = Pool().get('gnuhealth.orthanc.audit')
        transaction = Transaction()
        if transaction.readonly:
            # what only reads is undone
            with transaction.new_transaction():
                Audit.note_look(type(self)(self.id).series)
        else:
            Audit.note_look(self.series)

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_picture')
    def open_picture(cls, instances):
        pass

    @classmethod
    @ModelView.button
    def attach_image_to_imaging_test_report(
            cls, instances, frame=1, window=None):
        """Add the pictures to the result of their study, each one once

        The studies without result are offered to be linked.
        """
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Audit = pool.get('gnuhealth.orthanc.audit')
        Result = pool.get('gnuhealth.imaging.test.result')
        if len(instances) > MAX_CHOSEN:
            raise PictureChoiceError(gettext(
                    'health_orthanc.msg_picture_too_many', max=MAX_CHOSEN))
        frame, window = check_choice(frame, window)
        instances = sorted(instances, key=lambda i: (
                i.series.id, i.instance_number or 0, i.id))
        unlinked = {
            i.series.study for i in instances
            if not i.series.study.imaging_test}
        if unlinked:
            return cls._offer_link(unlinked)
        results = {i.series.study.imaging_test for i in instances}
        Result.lock(list(results))
        Result.check_not_signed(list(results))
        taken = cls._pictures_of(results)
        for instance in instances:
            study = instance.series.study
            key = instance.picture_key(frame, window)
            if (str(study.imaging_test), key) in taken:
                continue
            # one at a time, since each may be large
            Attachment.create([{
                        'name': instance.picture_name(frame, window),
                        'type': 'data',
                        'data': instance.fetch_picture(frame, window),
                        'description': instance.picture_caption(frame, window),
                        'resource': str(study.imaging_test),
                        'orthanc_picture': key,
                        }])
            Audit.note(
                'attach', [study], series=instance.series,
                detail='\n'.join([
                        instance.sop_instance_UID,
                        *instance._choice(frame, window)]))

    @classmethod
    def _offer_link(cls, studies):
        "Return the action that links the study, for those who may"
        pool = Pool()
        Action = pool.get('ir.action')
        ModelData = pool.get('ir.model.data')
        study, *others = studies
        if study.request:
            raise NoResultError(gettext(
                    'health_orthanc.msg_attach_result_first',
                    study=study.rec_name, request=study.request.rec_name))
        if others or not may_link():
            raise NoResultError(gettext(
                    'health_orthanc.msg_find_no_gnuhealth_imaging_test',
                    study=study.rec_name))
        return Action.get_action_id(
            ModelData.get_id('health_orthanc', 'wizard_attach_pictures'))

    def picture_key(self, frame=1, window=None):
        "Return what tells the picture from all others of a result"
        text = preview.window_text(*window[:2]) if window else ''
        return f'{self.sop_instance_UID}#{frame}#{text}'

    def picture_name(self, frame=1, window=None):
        parts = [self.sop_instance_UID]
        if frame > 1:
            parts.append(f'frame {frame}')
        if window:
            parts.append(preview.window_text(*window[:2]).replace('/', ' '))
        return ', '.join(parts) + '.png'

    def picture_caption(self, frame=1, window=None):
        lines = [self.series.rec_name]
        for message, value in [
                ('msg_label_instance_number', self.instance_number),
                ('msg_label_image_position', self.image_position_patient),
                ]:
            if value is not None:
                lines.append(
                    gettext('health_orthanc.' + message) + f' {value}')
        return '\n'.join(lines + self._choice(frame, window))

    def _choice(self, frame, window):
        lines = []
        if frame > 1 or (self.number_of_frames or 1) > 1:
            lines.append(gettext('health_orthanc.msg_label_frame')
                + f' {frame}')
        if window:
            text = preview.window_text(*window[:2])
            if window.explanation:
                text = f'{window.explanation} ({text})'
            lines.append(gettext('health_orthanc.msg_label_window')
                + f' {text}')
        return lines
