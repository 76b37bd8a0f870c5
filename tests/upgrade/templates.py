# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"Worklist templates as hospitals write them for GNU Health 5.0.4"

DUMP = """\
{% if my.urgent %}\\
# an urgent study
(0040,1003) SH [HIGH]
{% end %}\\
(0008,0005) CS [${SpecificCharacterSet}]
(0008,0050) SH [${AccessionNumber}]
(0008,0090) PN [$ReferringPhysicianName]
(0010,0010) PN [${PatientName}]
(0010,0020) LO [${my.patient.puid}]
(0010,0030) DA [${PatientBirthDate or ''}]
(0010,0040) CS [$PatientSex]
(0010,1010) AS [${PatientAge or ''}]
(0010,4000) LT [${my.comment or 'none'}]
(0020,000d) UI [${MergeID}]
(0032,1060) LO [${RequestedProcedureDescription}]
(0040,1001) SH [$RequestedProcedureID]
(0040,0100) SQ
(fffe,e000) -
{% choose Modality %}\\
{% when 'CT' %}(0008,0060) CS [CT]{% end %}\\
{% otherwise %}(0008,0060) CS [OT]{% end %}\\
{% end %}
(0040,0001) AE [${my.requested_test.aetitle or 'ANY'}]
(0040,0002) DA [${my.date.strftime('%Y%m%d')}]
(0040,0003) TM [$ScheduledProcedureStepStartTime]
(0040,0007) LO [${my.context and my.context.name or ''}]
(0040,0009) SH [$ScheduledProcedureStepID]
(fffe,e00d) -
(fffe,e0dd) -
"""

JSON = """\
{
{% for name, value in [('PatientName', PatientName),
        ('PatientID', PatientID)] %}\\
    "$name": "$value",
{% end %}\\
    "SpecificCharacterSet": "$SpecificCharacterSet",
    "AccessionNumber": "$AccessionNumber",
    "StudyInstanceUID": "$StudyInstanceUID",
    "PatientBirthDate": "$PatientBirthDate",
    "PatientSex": "${PatientSex if PatientSex != 'O' else ''}",
    "PatientAge": "$PatientAge",
    "RequestingService": "$RequestingService",
    "RequestedProcedureDescription": "$RequestedProcedureDescription",
    "RequestedProcedureID": "${RequestedProcedureID}",
    "Modality": "$Modality",
    "ScheduledProcedureStepStartDate": "$ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepID": "$ScheduledProcedureStepID"
}
"""
