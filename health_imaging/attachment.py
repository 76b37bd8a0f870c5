# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction, without_check_access

from .pictures import scale_down

THUMBNAIL = (480, 480)
# What is larger takes too long to scale while someone waits for a list
MAX_THUMBNAIL_SOURCE = 20_000_000


class Attachment(metaclass=PoolMeta):
    __name__ = 'ir.attachment'

    imaging_sequence = fields.Integer("Order of the images")
    thumbnail = fields.Function(
        fields.Binary("Image"), 'get_thumbnail')

    @classmethod
    def get_thumbnail(cls, attachments, name):
        """Return small pictures; None for what is no picture

        Lists ask for sizes first, which cost no decoding.
        """
        context = Transaction().context
        with Transaction().set_context({f'{cls.__name__}.data': 'size'}):
            sizes = {
                a.id: a.data or 0
                for a in cls.browse(attachments) if a.type == 'data'}
        thumbnails = dict.fromkeys(map(int, attachments))
        for id_, size in sizes.items():
            if not 0 < size <= MAX_THUMBNAIL_SOURCE:
                continue
            if context.get(f'{cls.__name__}.{name}') == 'size':
                # clients leave out what is larger than they like
                thumbnails[id_] = min(size, THUMBNAIL[0] * THUMBNAIL[1])
            else:
                # one at a time, since each may be large
                picture = scale_down(cls(id_).data, *THUMBNAIL)
                thumbnails[id_] = picture[0] if picture else None
        return thumbnails

    @classmethod
    def create(cls, vlist):
        attachments = super().create(vlist)
        cls._check_result_signed(attachments)
        return attachments

    @classmethod
    def write(cls, *args):
        attachments = [a for records in args[::2] for a in records]
        cls.check_access([a.id for a in attachments], mode='write')
        cls._check_result_signed(attachments)
        super().write(*args)
        cls._check_result_signed(attachments)

    @classmethod
    def delete(cls, attachments):
        cls.check_access([a.id for a in attachments], mode='delete')
        cls._check_result_signed(attachments)
        super().delete(attachments)

    @classmethod
    @without_check_access
    def _check_result_signed(cls, attachments):
        "The images of a signed result stay as they are"
        Result = Pool().get('gnuhealth.imaging.test.result')
        results = list({
                a.resource for a in cls.browse(attachments)
                if isinstance(a.resource, Result) and a.resource.id >= 0})
        # so that nobody signs what is being changed
        Result.lock(results)
        Result.check_not_signed(results)
