# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who works and who is ill in the demo: made-up people in many scripts."""
import datetime as dt
from collections import namedtuple

Country = namedtuple('Country', 'code code3 number name')
Person = namedtuple('Person', 'ref given family sex birth country')
# template: the type of the worklist template the test is bound to
Test = namedtuple('Test', 'code name modality aet template')

COUNTRIES = [
    Country('BR', 'BRA', '076', "Brazil"),
    Country('CN', 'CHN', '156', "China"),
    Country('DE', 'DEU', '276', "Germany"),
    Country('EG', 'EGY', '818', "Egypt"),
    Country('ES', 'ESP', '724', "Spain"),
    Country('SN', 'SEN', '686', "Senegal"),
    Country('TH', 'THA', '764', "Thailand"),
    Country('UA', 'UKR', '804', "Ukraine"),
    Country('VN', 'VNM', '704', "Viet Nam"),
    ]
HOSPITAL = "Hospital Demo San Telmo"
TIMEZONE = 'Europe/Madrid'

# the first one is the administrator's
DOCTORS = [
    Person('ESP901DOC', "Cara", "Cordara", 'f', dt.date(1975, 3, 9), 'ES'),
    Person('SEN902DOC', "Aminata", "Diallo", 'f', dt.date(1981, 7, 21), 'SN'),
    Person('DEU903DOC', "Jürgen", "Weiß", 'm', dt.date(1969, 11, 2), 'DE'),
    ]
PATIENTS = [
    Person('ESP001GNU', "Íñigo", "Gómez Peña", 'm',
        dt.date(1961, 4, 17), 'ES'),
    Person('UKR002GNU', "Олена", "Шевчук", 'f', dt.date(1988, 8, 24), 'UA'),
    Person('EGY003GNU', "ليلى", "حسن", 'f', dt.date(1993, 1, 5), 'EG'),
    Person('CHN004GNU', "小雨", "林", 'f', dt.date(2015, 6, 1), 'CN'),
    Person('THA005GNU', "สมชาย", "ใจดี", 'm', dt.date(1955, 12, 5), 'TH'),
    Person('DEU006GNU', "Jörg", "Müller", 'm', dt.date(1970, 5, 6), 'DE'),
    Person('VNM007GNU', "Thị Hồng", "Nguyễn", 'f',
        dt.date(1979, 9, 2), 'VN'),
    Person('BRA008GNU', "João", "Conceição", 'm',
        dt.date(2001, 10, 12), 'BR'),
    ]
TESTS = [
    Test('DEMO-CT-HEAD', "CT head", 'CT', 'CT_DEMO', 'dump2dcm'),
    Test('DEMO-MR-BRAIN', "MR brain", 'MR', 'MR_DEMO', 'json'),
    Test('DEMO-US-ABDOMEN', "Ultrasound abdomen", 'US', 'US_DEMO',
        'dump2dcm'),
    Test('DEMO-DX-CHEST', "Chest X-ray PA", 'DX', 'DX_DEMO', 'json'),
    ]
# PUID, tests of one order, urgent: every script, every modality, and an
# order of two lines
FIRST_ORDERS = [
    ('ESP001GNU', ['DEMO-CT-HEAD', 'DEMO-DX-CHEST'], False),
    ('UKR002GNU', ['DEMO-MR-BRAIN'], False),
    ('EGY003GNU', ['DEMO-US-ABDOMEN'], False),
    ('CHN004GNU', ['DEMO-DX-CHEST'], True),
    ('THA005GNU', ['DEMO-CT-HEAD'], False),
    ]
