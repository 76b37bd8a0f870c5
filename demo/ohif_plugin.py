# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orthanc Python plugin: serve the OHIF viewer at /ohif/.

Configuration: ``"PythonScript": ".../ohif_plugin.py"`` and
``"OHIF": {"Root": "/folder/of/the/build"}``, a build rebased to /ohif/.

Only files that were in the folder when Orthanc started are served, found by
name in a table: no request names a path in the file system. Orthanc has
checked the password before it calls.
"""
import json
import mimetypes
import os
import re

import orthanc

PREFIX = '/ohif'
ROOT = os.path.realpath(
    json.loads(orthanc.GetConfiguration())['OHIF']['Root'])
# a name with a content hash never changes its content
HASHED = re.compile(r'[0-9a-f]{16}')
TYPES = {'.js': 'text/javascript', '.wasm': 'application/wasm'}


def find_files():
    files = {}
    for folder, _, names in os.walk(ROOT):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                files[os.path.relpath(path, ROOT)] = path
    return files


FILES = find_files()


def content_type(name):
    return (TYPES.get(os.path.splitext(name)[1])
        or mimetypes.guess_type(name)[0]
        or 'application/octet-stream')


def serve(output, uri, **request):
    if request['method'] != 'GET':
        output.SendMethodNotAllowed('GET')
        return
    # Orthanc strips a trailing slash: /ohif and /ohif/ come as /ohif
    name = uri[len(PREFIX):].lstrip('/')
    if name not in FILES:
        if '.' in os.path.basename(name):
            output.SendHttpStatusCode(404)
            return
        # a page of the application, which routes in the browser
        name = 'index.html'
    output.SetHttpHeader('X-Content-Type-Options', 'nosniff')
    output.SetHttpHeader('Referrer-Policy', 'same-origin')
    output.SetHttpHeader('X-Frame-Options', 'SAMEORIGIN')
    output.SetHttpHeader('Cache-Control',
        'private, max-age=31536000, immutable' if HASHED.search(name)
        else 'no-cache')
    with open(FILES[name], 'rb') as file:
        output.AnswerBuffer(file.read(), content_type(name))


orthanc.RegisterRestCallback(PREFIX, serve)
orthanc.RegisterRestCallback(PREFIX + '/(.*)', serve)
