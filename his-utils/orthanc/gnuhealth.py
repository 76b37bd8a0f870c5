# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell GNU Health that something changed: a script of Orthanc's Python plugin.

Name this file as "PythonScript" in Orthanc's configuration and add

    "GnuHealth": {
      "Url": "https://gnuhealth.example.org/health/health_orthanc/changed",
      "Key": "${GNUHEALTH_NOTIFICATION_KEY}"
    }

The address and the key are those that "New Notification Key" of the server in
GNU Health shows. Nothing about a patient is sent. Many changes within a
second become one call.
"""
import json
import threading
import urllib.request

import orthanc

SETTINGS = json.loads(orthanc.GetConfiguration())['GnuHealth']
FOLLOWED = {
    orthanc.ChangeType.NEW_INSTANCE,
    orthanc.ChangeType.STABLE_STUDY,
    orthanc.ChangeType.DELETED,
    }
GATHER = .5
LONGEST_PAUSE = 60

changed = threading.Event()
stopped = threading.Event()


def on_change(change_type, level, resource):
    if change_type in FOLLOWED:
        changed.set()
    elif change_type == orthanc.ChangeType.ORTHANC_STOPPED:
        stopped.set()
        changed.set()


def tell():
    "Call GNU Health"
    request = urllib.request.Request(
        SETTINGS['Url'], b'{}', {
            'Authorization': 'Bearer ' + SETTINGS['Key'],
            'Content-Type': 'application/json',
            })
    with urllib.request.urlopen(request, timeout=10):
        pass


def work():
    pause = 0
    while changed.wait() and not stopped.wait(GATHER + pause):
        changed.clear()
        try:
            tell()
            pause = 0
        except (OSError, ValueError) as error:
            changed.set()
            pause = min(2 * pause + 1, LONGEST_PAUSE)
            orthanc.LogWarning(
                "GNU Health could not be told of changes: %s" % error)


orthanc.RegisterOnChangeCallback(on_change)
threading.Thread(target=work, daemon=True).start()
