# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.modules import health_imaging
from trytond.modules.health_imaging import packages
from trytond.pool import Pool

packages.check(health_imaging)

from . import (  # noqa: E402
    audit, authorize, condition, connect, delete, download, identity, ir,
    legacy, link_wizard, linking, matching, notify, ondemand, order_study,
    party, patient, picture, picture_show, result, routes, series, server,
    study, study_line, sync, timeline, upload, uploader, uploadpage,
    uploadroutes, viewer)

__all__ = ['register', 'routes', 'uploadroutes']


def register():
    Pool.register(
        server.OrthancServer,
        patient.OrthancPatient,
        patient.Patient,
        party.Party,
        legacy.LegacyStudy,
        study.Study,
        series.Series,
        series.Instance,
        ondemand.Server,
        ondemand.Series,
        picture.Attachment,
        picture.Instance,
        result.Result,
        audit.Audit,
        sync.Cursor,
        sync.Run,
        sync.Quarantine,
        sync.Server,
        sync.Study,
        identity.Server,
        condition.Server,
        notify.Server,
        notify.Run,
        uploader.Run,
        notify.NotificationKeyShow,
        sync.FullSynchronizeStart,
        sync.GetNewStudiesStart,
        matching.Study,
        matching.Request,
        matching.Patient,
        linking.Study,
        study_line.StudyLine,
        study_line.Study,
        study_line.Result,
        timeline.Imaging,
        timeline.Patient,
        link_wizard.Result,
        link_wizard.LinkProposal,
        link_wizard.LinkStart,
        order_study.OrderStudyStart,
        picture_show.PictureShow,
        ir.Cron,
        connect.NewConnectStart,
        connect.NewConnectCertificate,
        connect.NewConnectSuccess,
        connect.NewConnectError,
        delete.Study,
        delete.Series,
        delete.DeleteAsk,
        delete.DeleteFailed,
        viewer.Viewer,
        viewer.Server,
        authorize.Server,
        viewer.OpenViewerAsk,
        download.Study,
        download.DownloadLink,
        download.DownloadAsk,
        upload.UploadStart,
        upload.UploadMismatchLine,
        upload.UploadMismatch,
        upload.UploadFile,
        upload.UploadDone,
        uploadpage.UploadPage,
        uploadpage.UploadPageFile,
        uploadpage.Run,
        uploadpage.UploadPageStart,
        module='health_orthanc', type_='model')
    Pool.register(
        connect.NewConnect,
        delete.Delete,
        delete.Remove,
        link_wizard.Link,
        order_study.OrderStudy,
        picture_show.AttachPictures,
        picture_show.Picture,
        viewer.OpenViewer,
        download.Download,
        upload.Upload,
        uploadpage.OpenUploadPage,
        notify.NotificationKey,
        sync.FullSynchronize,
        sync.GetNewStudies,
        module='health_orthanc', type_='wizard')
    Pool.register(
        audit.AuditMessages,
        module='health_orthanc', type_='report')
