# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogues of translations, locale/<language>.po in each module.

As a program (`make locale`) it brings them up to date: texts that are new
come in without translation, those that are gone leave. It prints how many
of each catalogue wait for a translator.
"""
import os
import sys
from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parent.parent
MODULES = ('health_imaging', 'health_imaging_worklist', 'health_orthanc')
LANGUAGES = ('ar', 'de', 'es', 'fr', 'pt_BR', 'ru', 'zh_CN')


def path(module, language):
    return ROOT / module / 'locale' / f'{language}.po'


def load(module, language):
    "Return the catalogue of the module; an empty one where there is none"
    file = path(module, language)
    if not file.exists():
        return polib.POFile()
    return polib.pofile(str(file), encoding='utf-8')


def key(entry):
    return entry.msgctxt, entry.msgid


def template(module):
    """Return the texts that the module shows, in the current transaction.

    Returns
    -------
    polib.POFile
        Entries without translation.
    """
    from trytond.pool import Pool
    from trytond.transaction import Transaction

    pool = Pool()
    Translation = pool.get('ir.translation')
    Collect = pool.get('ir.translation.set', type='wizard')
    session, _, _ = Collect.create()
    with Transaction().set_context(active_test=False):
        Collect(session).transition_set_()
    found = polib.POFile(wrapwidth=78)
    found.metadata = {'Content-Type': 'text/plain; charset=utf-8'}
    exported = Translation.translation_export('en', module)
    for entry in polib.pofile(exported.decode('utf-8')):
        if entry.msgid.strip():
            found.append(polib.POEntry(
                    msgctxt=entry.msgctxt, msgid=entry.msgid))
    return found


def updated(texts, catalogue):
    "Return the texts with the catalogue's translations of them"
    known = {key(e): e for e in catalogue if not e.obsolete}
    result = polib.POFile(wrapwidth=78)
    result.metadata = texts.metadata
    for entry in texts:
        old = known.get(key(entry))
        result.append(polib.POEntry(
                msgctxt=entry.msgctxt, msgid=entry.msgid,
                msgstr=old.msgstr if old else ''))
    return result


def main():
    os.environ.setdefault('TRYTOND_DATABASE_URI', 'sqlite://')
    os.environ.setdefault('DB_NAME', ':memory:')
    from trytond.tests.test_tryton import activate_module, with_transaction

    @with_transaction()
    def update():
        waiting = 0
        for module in MODULES:
            texts = template(module)
            for language in LANGUAGES:
                file = path(module, language)
                file.parent.mkdir(exist_ok=True)
                result = updated(texts, load(module, language))
                result.save(str(file))
                left = len(result.untranslated_entries())
                waiting += left
                print(f'{file.relative_to(ROOT)}: {len(result)} texts, '
                    f'{left} without translation')
        return waiting

    activate_module(MODULES)
    return bool(update())


if __name__ == '__main__':
    sys.exit(main())
