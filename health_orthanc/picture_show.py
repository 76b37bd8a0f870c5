# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wizards: look at frames and windows, and add pictures to the report."""
import json
from functools import cached_property

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.transaction import check_access, without_check_access
from trytond.wizard import Button, StateTransition, StateView

from . import preview
from .exceptions import (
    NoPictureError, NoResultError, OrthancServerError, PictureChoiceError)
from .link_wizard import Link
from .picture import asking, check_choice, may_link

FULL = 'full'


class AttachPictures(Link):
    "Add to RPT"
    __name__ = 'gnuhealth.orthanc.picture.attach'
    start_state = 'attach'

    attach = StateTransition()

    @cached_property
    def record(self):
        "The study that has to be linked before its pictures are added"
        studies = {i.series.study for i in self.records}
        if len(studies) == 1:
            return studies.pop()
        raise PictureChoiceError(
            gettext('health_orthanc.msg_picture_one_study'))

    def transition_attach(self):
        return 'start' if self._attach() else 'end'

    def default_start(self, fields):
        self._check_linker()
        return super().default_start(fields)

    def transition_link(self):
        self._check_linker()
        super().transition_link()
        if self._attach():
            # the patient alone was linked
            self._refuse()
        return 'end'

    @check_access
    def _attach(self):
        "Return something if there is no result to add the pictures to"
        Instance = Pool().get('gnuhealth.imaging_orthanc.series_instances')
        return Instance.attach_image_to_imaging_test_report(
            Instance.browse([i.id for i in self.records]))

    def _check_linker(self):
        if not may_link():
            self._refuse()

    @without_check_access
    def _refuse(self):
        raise NoResultError(gettext(
                'health_orthanc.msg_find_no_gnuhealth_imaging_test',
                study=self.record.rec_name))


class PictureShow(ModelView):
    "Picture"
    __name__ = 'gnuhealth.orthanc.picture.show'

    study = fields.Many2One(
        'gnuhealth.imaging_orthanc.study', "Study", readonly=True)
    series = fields.Many2One(
        'gnuhealth.imaging_orthanc.study_series', "Series", readonly=True)
    number = fields.Char("Instance Number", readonly=True)
    frame = fields.Integer(
        "Frame", states={
            'invisible': ~(Eval('frames', 1) > 1),
            })
    frames = fields.Integer(
        "Frames", readonly=True, states={
            'invisible': ~(Eval('frames', 1) > 1),
            })
    window = fields.Selection('get_windows', "Window", sort=False)
    # what get_windows offers, as JSON, so that nobody asks Orthanc for it
    windows = fields.Text("Windows", readonly=True)
    image = fields.Binary("Image", readonly=True, states={
            'invisible': ~Eval('image'),
            })
    message = fields.Text("Message", readonly=True, states={
            'invisible': ~Eval('message'),
            })

    @fields.depends('windows')
    def get_windows(self):
        try:
            return [
                (str(key), str(name))
                for key, name in json.loads(self.windows or '[]')]
        except (TypeError, ValueError):
            return []


class Picture(AttachPictures):
    "Picture"
    __name__ = 'gnuhealth.orthanc.picture'
    start_state = 'show'

    show = StateView(
        'gnuhealth.orthanc.picture.show',
        'health_orthanc.picture_show_view_form', [
            Button("Close", 'end', 'tryton-close'),
            Button("First", 'first', 'tryton-arrow-up', states={
                    'invisible': ~(Eval('frames', 1) > 1),
                    'readonly': ~(Eval('frame', 1) > 1),
                    }),
            Button("Previous", 'previous', 'tryton-arrow-left', states={
                    'invisible': ~(Eval('frames', 1) > 1),
                    'readonly': ~(Eval('frame', 1) > 1),
                    }),
            Button("Next", 'next_', 'tryton-arrow-right', states={
                    'invisible': ~(Eval('frames', 1) > 1),
                    'readonly': Eval('frame', 1) >= Eval('frames', 1),
                    }),
            Button("Show", 'redraw', 'tryton-refresh', default=True),
            Button("Add to RPT", 'attach', 'tryton-attach', states={
                    'invisible': ~Eval('image'),
                    }),
            ])
    first = StateTransition()
    previous = StateTransition()
    next_ = StateTransition()
    redraw = StateTransition()

    @cached_property
    def instance(self):
        Instance = Pool().get('gnuhealth.imaging_orthanc.series_instances')
        return Instance(self.records[0].id)

    @property
    def frame(self):
        return getattr(self.show, 'frame', None) or 1

    @without_check_access
    def default_show(self, fields):
        instance = self.instance
        values = {
            'study': instance.series.study.id,
            'series': instance.series.id,
            'number': instance.rec_name,
            'frame': self.frame,
            'frames': getattr(self.show, 'frames', None) or 1,
            'windows': getattr(self.show, 'windows', None),
            'window': getattr(self.show, 'window', None) or FULL,
            'message': getattr(self, '_message', None),
            }
        try:
            if not values['windows']:
                values.update(self._open())
            if values['frame'] not in range(1, values['frames'] + 1):
                values['message'] = gettext(
                    'health_orthanc.msg_picture_frame',
                    frames=values['frames'])
                values['frame'] = 1
            values['image'] = instance.fetch_picture(
                *self._choice(values['frame'], values['window']))
            instance.note_look()
        except (NoPictureError, OrthancServerError) as error:
            values['message'] = error.message
        return values

    def _open(self):
        "Ask Orthanc for the frames and windows of the file"
        instance = self.instance
        with asking(instance.series.study.server_config) as client:
            tags = client.instance_tags(instance.orthanc_UID)
        windows = [[FULL, gettext('health_orthanc.msg_window_full')]]
        found = [
            ('file', w.explanation or gettext(
                    'health_orthanc.msg_window_file'), w)
            for w in preview.windows(tags)]
        if preview.has_presets(tags):
            found += [
                (name, gettext(f'health_orthanc.msg_window_{name}'), w)
                for name, w in preview.PRESETS.items()]
        for name, label, window in found:
            text = preview.window_text(*window[:2])
            windows.append([f'{name}:{text}', f'{label} ({text})'])
        return {
            'frames': preview.count_frames(tags),
            'windows': json.dumps(windows),
            'window': windows[1][0] if found and found[0][0] == 'file'
            else FULL,
            }

    def _choice(self, frame, window):
        "Return frame and window as the instance takes them"
        if window == FULL:
            return check_choice(frame, None)
        name, _, text = window.partition(':')
        label = dict(self.show.__class__(
                windows=getattr(self.show, 'windows', None)).get_windows())
        center, _, width = text.partition('/')
        return check_choice(frame, [
                center, width, label.get(window, '').rpartition(' (')[0]])

    def transition_first(self):
        return self._turn(1)

    def transition_previous(self):
        return self._turn(self.frame - 1)

    def transition_next_(self):
        return self._turn(self.frame + 1)

    def transition_redraw(self):
        return self._turn(self.frame)

    def _turn(self, frame):
        self.show.frame = frame
        # made anew: nothing of it is kept in the session
        self.show.image = None
        return 'show'

    def transition_attach(self):
        self.show.image = None
        return 'start' if self._attach() else 'show'

    def transition_link(self):
        super().transition_link()
        return 'show'

    @check_access
    def _attach(self):
        Instance = Pool().get('gnuhealth.imaging_orthanc.series_instances')
        instance = Instance(self.instance.id)
        action = Instance.attach_image_to_imaging_test_report(
            [instance], *self._choice(self.frame, self.show.window))
        if not action:
            with without_check_access():
                self._message = gettext(
                    'health_orthanc.msg_picture_added',
                    result=instance.series.study.imaging_test.rec_name)
        return action
