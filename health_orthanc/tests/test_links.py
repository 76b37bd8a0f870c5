# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest
from urllib.parse import parse_qs, unquote, urlsplit

from trytond.modules.health_orthanc.links import (
    TemplateError, check_template, expand, ohif_link, without_credentials)

BASE = 'https://pacs.example.org/orthanc/'
STUDY, SERIES = '1.2.826.0.1', '1.2.826.0.1.2'
ID = '6b9e19d9-62094390-5f9ddb01-4a191ae7-9766b715'
WEASIS = (
    'weasis://$dicom:rs --url "{base_url}dicom-web" -r "studyUID={study_uid}"')


class LinksTestCase(unittest.TestCase):
    "Test the addresses of viewers"

    def reason(self, template, level='study'):
        try:
            check_template(template, level)
        except TemplateError as error:
            return error.reason

    def test_check(self):
        "Test templates that are taken and that are refused"
        for template, reason in [
                ('{base_url}ohif/viewer?StudyInstanceUIDs={study_uid}', None),
                ('{base_url}/viewer/{orthanc_id}', None),
                ('https://v.example.org/oviyam2/viewer.html?studyUID='
                    '{study_uid}&serverName=PACS', None),
                ('http://v.example.org:8080/?urls=[{base_url}studies/'
                    '{orthanc_id}/archive]&names=[a.zip]', None),
                ('HTTPS://v.example.org/{study_uid}?token={token}', None),
                ('http://[::1]:80/{study_uid}', None),
                (WEASIS, None),
                (WEASIS + ' -H "Authorization: Bearer {token}"', None),
                ('weasis://%24dicom%3Ars%20-r%20{study_uid}', None),
                ('https://v.example.org/', 'no_uid'),
                ('{base_url}', 'no_uid'),
                ('https://v.example.org/?t={token}', 'no_uid'),
                ('javascript:alert("{study_uid}")', 'address'),
                ('JavaScript:alert("{study_uid}")', 'address'),
                ('java\tscript:alert({study_uid})', 'address'),
                ('data:text/html,{study_uid}', 'address'),
                ('vbscript:{study_uid}', 'address'),
                ('file:///etc/passwd?{study_uid}', 'address'),
                ('ftp://v.example.org/{study_uid}', 'address'),
                ('//v.example.org/{study_uid}', 'address'),
                ('/viewer/{study_uid}', 'address'),
                ('viewer/{study_uid}', 'address'),
                ('https:{study_uid}', 'address'),
                ('https://{study_uid}', 'address'),
                ('https://{study_uid}.example.org/', 'address'),
                ('https://v.example.org{base_url}/{study_uid}', 'address'),
                ('https://v.example.org:x/{study_uid}', 'address'),
                ('https://v.example.org\\@evil.example/{study_uid}',
                    'address'),
                ('https:///{study_uid}', 'address'),
                ('{base_url}a\n{study_uid}', 'address'),
                ('{base_url}a\u202e{study_uid}', 'address'),
                ('{study_uid}', 'address'),
                ('{token}://{study_uid}', 'address'),
                ('https://ana:secret@v.example.org/{study_uid}',
                    'credentials'),
                ('https://ana@v.example.org/{study_uid}', 'credentials'),
                ('{base_url}?u=https://a:b@v.example.org&s={study_uid}',
                    'credentials'),
                ('{base_url}?u=https%3A%2F%2Fa%3Ab%40v.example.org&s='
                    '{study_uid}', 'credentials'),
                ('{base_url}?u=https%253A%252F%252Fa%253Ab%2540v.x&s='
                    '{study_uid}', 'credentials'),
                ('{base_url}?study={study_uid}&password=x', 'credentials'),
                ('{base_url}?study={study_uid}&PWD=x', 'credentials'),
                (WEASIS + ' -H "Authorization: Basic YTpi"', 'credentials'),
                ('{base_url}{study_uid}?{patient_name}', 'placeholder'),
                ('{base_url}{study_uid.__class__}', 'placeholder'),
                ('{base_url}{study_uid!r}', 'placeholder'),
                ('{base_url}{study_uid:>9}', 'placeholder'),
                ('{base_url}{STUDY_UID}', 'placeholder'),
                ('{base_url}{study_uid}{', 'placeholder'),
                ('{base_url}{study_uid}}', 'placeholder'),
                ('{base_url}{{study_uid}}', 'placeholder'),
                ('{base_url}{}{study_uid}', 'placeholder'),
                ('{base_url}{study_uid}/{series_uid}', 'series_uid'),
                ]:
            with self.subTest(template=template):
                self.assertEqual(self.reason(template), reason)

    def test_check_series(self):
        "Test templates of viewers that open series"
        for template, reason in [
                ('{base_url}{series_uid}', None),
                ('{base_url}{study_uid}/{series_uid}', None),
                ('{base_url}{orthanc_id}', None),
                ('{base_url}{study_uid}', 'no_uid'),
                ]:
            with self.subTest(template=template):
                self.assertEqual(self.reason(template, 'series'), reason)

    def test_expand(self):
        "Test what templates make"
        for template, url in [
                ('{base_url}v?s={study_uid}', BASE + 'v?s=' + STUDY),
                ('{base_url}/v/{study_uid}', BASE + 'v/' + STUDY),
                ('https://v.example.org/{study_uid}/{series_uid}#x',
                    f'https://v.example.org/{STUDY}/{SERIES}#x'),
                ('{base_url}{study_uid}?token={token}',
                    f'{BASE}{STUDY}?token=a%2B%2F%3D%3D'),
                ('{base_url}{orthanc_id} "x"', f'{BASE}{ID}%20%22x%22'),
                ]:
            with self.subTest(template=template):
                self.assertEqual(expand(
                        template, BASE, STUDY, SERIES, ID, 'a+/=='), url)

    def test_nested(self):
        "Test an address within an address"
        url = expand(
            'https://volview.example.org/?urls={base_url}/studies/'
            '{orthanc_id}/archive', BASE, STUDY, orthanc_id=ID)
        self.assertEqual(parse_qs(urlsplit(url).query), {
                'urls': [f'{BASE}studies/{ID}/archive']})

    def test_weasis(self):
        "Test that Weasis gets its commands as one encoded part"
        command = (
            f'$dicom:rs --url "{BASE}dicom-web" -r "studyUID={STUDY}"')
        for template in [
                WEASIS,
                'Weasis://' + WEASIS.partition('//')[2].replace(
                    '$', '%24').replace(' ', '%20').replace('"', '%22')]:
            with self.subTest(template=template):
                url = expand(template, BASE, STUDY)
                scheme, _, rest = url.partition('://')
                self.assertEqual(scheme, 'weasis')
                self.assertRegex(rest, r'\A[\w.%~-]+\Z')
                self.assertEqual(unquote(rest), command)

    def test_values(self):
        "Test that what is no identifier gets into no address"
        for study_uid in [
                None, '', '1.2/3', '1.2&x=y', '1' * 65, '1.2"', '1.2 ',
                'javascript', '１.２', '1.2\n', '../..']:
            with self.subTest(study_uid=study_uid):
                self.assertIsNone(expand('{base_url}{study_uid}', BASE,
                        study_uid))
                self.assertIsNone(ohif_link(BASE, study_uid))
        for orthanc_id in [None, '', 'a/b', 'a?b', 'é', 'a"b', 'a\n']:
            with self.subTest(orthanc_id=orthanc_id):
                self.assertIsNone(expand('{base_url}{orthanc_id}', BASE,
                        STUDY, orthanc_id=orthanc_id))
        self.assertIsNone(expand('{base_url}{series_uid}', BASE, STUDY))
        self.assertIsNone(
            expand('{base_url}{study_uid}{token}', BASE, STUDY))

    def test_without_credentials(self):
        "Test that no link has the password of an old address"
        for url, clean in [
                ('https://a:b@pacs.example.org/o',
                    'https://pacs.example.org/o'),
                ('https://a:b@c@pacs.example.org:1', 'https://pacs.example'
                    '.org:1'),
                (BASE, BASE), ('', ''), ('http://[x', ''),
                ]:
            with self.subTest(url=url):
                self.assertEqual(without_credentials(url), clean)
