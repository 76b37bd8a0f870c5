# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A real Orthanc for scenarios, by proteus"
import atexit

from proteus import Model

from .orthanc import PASSWORD, USER, Orthanc


def start_orthanc(*files):
    "Start an Orthanc that holds the files, and return it"
    orthanc = Orthanc()
    # whatever becomes of the scenario
    atexit.register(orthanc.__exit__, None, None, None)
    orthanc.start()
    orthanc.store(*files)
    return orthanc


def add_server(orthanc):
    Server = Model.get('gnuhealth.orthanc.config')
    server = Server(
        label="PACS", domain=orthanc.url, user=USER, password=PASSWORD)
    server.save()
    server.click('check')
    return server
